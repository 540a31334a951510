"""Where a repository is asked for, and over which kind of connection.

Owns the rules of trust between hosts: mirrors first, TLS always except where the traffic stays on this host
or the operator listed the registry, no step down from TLS. It must never open a connection.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import httpx

from sockwarden.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB: Final = "docker.io"

_API_HOSTS: Final = MappingProxyType({HUB: "registry-1.docker.io"})
"""Docker Hub's name in references is not the host that speaks the registry API."""


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """One repository of one registry: ``docker.io`` and ``library/docker``."""

    domain: str
    path: str

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What the operator says of registries.

    ``plain_http`` are the ``host[:port]`` that are asked without TLS though they are not on this host.
    ``mirrors`` gives for a registry the base URL that is asked before it. All hosts are in lower case.
    """

    plain_http: frozenset[str] = frozenset()
    mirrors: Mapping[str, str] = field(default_factory=dict)
    request_seconds: float = 10.0
    parallel_per_registry: int = 4

    def __post_init__(self) -> None:
        for registry, base in self.mirrors.items():
            try:
                trusted_url(base, after="https" if base.startswith("https:") else "http", settings=self)
            except RegistryError as error:
                raise RegistryError(f"the mirror of {registry} cannot be used: {error}", remedy=error.remedy) from error


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to ask. ``credentials_for`` is the registry whose stored credentials may go there."""

    base: str
    credentials_for: str

    @property
    def host(self) -> str:
        """Return the name that stands in messages."""
        return self.base.partition("://")[2].partition("/")[0]


def endpoints_of(domain: str, settings: RegistrySettings) -> tuple[Endpoint, ...]:
    """Return the places to ask for a repository of ``domain``, in order: its mirror, then the registry itself."""
    host = _API_HOSTS.get(domain, domain).lower()
    scheme = "http" if may_be_plain(host, settings) else "https"
    origin = Endpoint(f"{scheme}://{host}", domain)
    mirror = settings.mirrors.get(domain.lower())
    if mirror is None:
        return (origin,)
    base = mirror.rstrip("/")
    # A mirror is another party: it gets its own credentials and never those of the registry it stands for.
    return (Endpoint(base, httpx.URL(base).netloc.decode("ascii")), origin)


def is_loopback(host: str) -> bool:
    """Is this host name, without a port, certain to lead back to this machine?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def may_be_plain(netloc: str, settings: RegistrySettings) -> bool:
    """May ``host[:port]`` be spoken to without TLS?"""
    netloc = netloc.lower()
    host, bracket, _ = netloc.rpartition("]")
    name = host + bracket if bracket else netloc.partition(":")[0]
    return is_loopback(name) or netloc in settings.plain_http


def trusted_url(text: str, *, after: str, settings: RegistrySettings) -> httpx.URL:
    """Return ``text`` as a URL that may be asked after a step over the scheme ``after``.

    Raises:
        RegistryError: it is no absolute http(s) URL, carries a user name, or leaves TLS.
    """
    try:
        url = httpx.URL(text)
        netloc = url.netloc.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise RegistryError("the registry named an address that is not a URL") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise RegistryError("the registry named an address that is neither http nor https")
    if url.userinfo:
        raise RegistryError("the registry named an address with a user name in it")
    if url.scheme == "http" and (after != "http" or not may_be_plain(netloc, settings)):
        raise RegistryError(
            f"{netloc} would be asked without TLS",
            remedy="serve it over https, or list it among the registries that are asked over plain http",
        )
    return url.copy_with(fragment=None)
