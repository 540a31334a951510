"""Documents that people write, read with the place of every fault: JSON policy and TOML configuration."""
