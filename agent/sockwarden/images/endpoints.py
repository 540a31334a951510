"""Where a repository is asked for, and over which kind of connection.

Owns the rules of trust between hosts: mirrors first, TLS always except where the traffic stays on this host
or the operator listed the registry, no step down from TLS. A registry with a folder of certificates speaks TLS
wherever it is. (The engine tries https without any check and then http on loopback: we check, or do without.)
It must never open a connection.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import httpx

from sockwarden.errors import RegistryError
from sockwarden.images.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB: Final = "docker.io"

_API_HOSTS: Final = MappingProxyType({HUB: "registry-1.docker.io"})
"""Docker Hub's name in references is not the host that speaks the registry API."""

MAX_URL_CHARS: Final = 8192
"""Signed addresses of storage services have about two thousand characters."""

# RFC 3986, narrowed to what registries use: httpx reads URLs more or less strictly from version to version.
_WEB: Final = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?:[A-Za-z0-9._\-]+|\[([^\]]*)\])(?::[0-9]{1,5})?")
_REST: Final = re.compile(r"[\x21-\x7e]*")


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
    ``certificates`` are the CAs and client certificates of single registries.
    """

    plain_http: frozenset[str] = frozenset()
    mirrors: Mapping[str, str] = field(default_factory=dict)
    request_seconds: float = 10.0
    parallel_per_registry: int = 4
    certificates: Certificates = field(default_factory=Certificates)

    def __post_init__(self) -> None:
        for registry, base in self.mirrors.items():
            try:
                url = _web_url(base)
                if url.scheme == "http" and not _is_near(_netloc(url), self.plain_http):
                    raise _without_tls(url)
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
    return _is_near(netloc, settings.plain_http) and not settings.certificates.listed(netloc)


def trusted_url(text: str, *, after: str, settings: RegistrySettings) -> httpx.URL:
    """Return ``text`` as a URL that may be asked after a step over the scheme ``after``.

    Raises:
        RegistryError: it is no absolute http(s) URL, carries a user name, or leaves TLS.
    """
    url = _web_url(text)
    if url.scheme == "http" and (after != "http" or not may_be_plain(_netloc(url), settings)):
        raise _without_tls(url)
    return url.copy_with(fragment=None)


def _web_url(text: str) -> httpx.URL:
    found = _WEB.fullmatch(text)
    if found is None:
        raise RegistryError("the registry named an address that is neither http nor https")
    if "@" in found[1]:
        raise RegistryError("the registry named an address with a user name in it")
    if len(text) > MAX_URL_CHARS or not _is_authority(found[1]) or not _REST.fullmatch(found[2]):
        raise RegistryError("the registry named an address that is not a URL")
    return httpx.URL(text)


def _netloc(url: httpx.URL) -> str:
    return url.netloc.decode("ascii")


def _without_tls(url: httpx.URL) -> RegistryError:
    return RegistryError(
        f"{_netloc(url)} would be asked without TLS",
        remedy="serve it over https, or list it among the registries that are asked over plain http",
    )


def _is_near(netloc: str, plain_http: frozenset[str]) -> bool:
    """Is this ``host[:port]`` on this machine, or listed?"""
    netloc = netloc.lower()
    host, bracket, _ = netloc.rpartition("]")
    name = host + bracket if bracket else netloc.partition(":")[0]
    return is_loopback(name) or netloc in plain_http


def _is_authority(text: str) -> bool:
    """Is this a host name or an address, with at most a port?"""
    found = _AUTHORITY.fullmatch(text)
    if found is None or found[1] is None:
        return found is not None
    try:
        ipaddress.IPv6Address(found[1])
    except ValueError:
        return False
    return True
