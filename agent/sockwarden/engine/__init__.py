"""Asking the Docker Engine behind the gateway."""
