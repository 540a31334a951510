"""sockwarden: the warden of docker.sock on plain Linux build hosts."""

__version__ = "0.1.0"
