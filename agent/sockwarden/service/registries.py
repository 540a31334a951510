"""The client of registries that a configuration describes, the same for the daemon and for the commands.

Never: a question to a registry.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sockwarden.images.certificates import Certificates
from sockwarden.images.credentials import DockerConfig
from sockwarden.images.endpoints import RegistrySettings
from sockwarden.images.registry import RegistryClient

if TYPE_CHECKING:
    from sockwarden.config import RegistryConfig


def registry_settings(config: RegistryConfig) -> RegistrySettings:
    """Return what the operator says of registries, as the client takes it."""
    return RegistrySettings(
        config.plain_http,
        dict(config.mirrors),
        config.timeout_seconds,
        certificates=Certificates(Path(config.certs_dir)),
    )


def registry_client(config: RegistryConfig) -> RegistryClient:
    """Return a client with the credentials of ``docker login``."""
    return RegistryClient(registry_settings(config), DockerConfig(Path(config.docker_config)))
