"""The Docker Engine API as data and pure functions: targets, routes, commands, bodies, references, texts."""
