"""Network addresses as operators write them: what we listen on, the host of a registry, the base of a mirror.

Every function here raises ``ValueError`` with the reason alone; the caller knows the place and the remedy.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_PORT: Final = re.compile(r"[0-9]{1,5}")

# RFC 1123, section 2.1: labels of letters, digits and inner hyphens. Underscores are no host names.
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

MAX_HOST_CHARACTERS: Final = 253
"""The longest name that DNS can carry (RFC 1035, section 2.3.4, without the length octets)."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A TCP address to listen on. ``host`` has no brackets; port 0 lets the kernel pick one."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not (self.host and 0 <= self.port <= 65535):
            raise AssertionError(f"not an address: {self.host!r}, {self.port}")

    def __str__(self) -> str:
        """Return the address as it is written in the configuration."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Return the address that ``HOST:PORT`` or ``[IPV6]:PORT`` says.

    A missing host is refused: it would listen on every interface, and nobody sees that in a diff.

    Raises:
        ValueError: with the reason.
    """
    host, port = _split_port(text)
    if port is None:
        raise ValueError("the port is missing")
    if not host:
        raise ValueError("the host is missing")
    return ListenAddress(host, port)


def registry_host(text: str) -> str:
    """Return the ``HOST[:PORT]`` of a registry in lower case.

    Raises:
        ValueError: with the reason.
    """
    host, _ = _split_port(text)
    if not host:
        raise ValueError("the host is missing")
    return text.lower()


def base_url(text: str) -> str:
    """Return the base URL of a mirror without its final slash.

    Raises:
        ValueError: with the reason.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("it holds characters that are not allowed in a URL")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError("the URL has a broken IPv6 host") from error
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must start with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong here")
    registry_host(parts.netloc)
    if "?" in text or "#" in text:
        raise ValueError("it has a query or a fragment")
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether ``HOST[:PORT]`` stays on this machine by its spelling alone."""
    name, _ = _split_port(host)
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _split_port(text: str) -> tuple[str, int | None]:
    """Split ``HOST[:PORT]``, checking both; an IPv6 host stands in brackets, and is returned without them."""
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("the closing bracket is missing")
        host = str(_ipv6(inner))
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise ValueError("an IPv6 address needs brackets, as in [::1]:9717")
        rest = colon + port
        _check_name(host)
    if not rest:
        return host, None
    if not rest.startswith(":") or not _PORT.fullmatch(rest[1:]) or int(rest[1:]) > 65535:
        raise ValueError("the port is not a number from 0 to 65535")
    return host, int(rest[1:])


def _ipv6(text: str) -> ipaddress.IPv6Address:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise ValueError("the brackets hold no IPv6 address") from error
    if address.scope_id is not None:
        raise ValueError("a zone (%) is not supported")
    return address


def _check_name(host: str) -> None:
    """Refuse what is neither a host name nor an IPv4 address; an empty host is left to the caller."""
    if not host:
        return
    if len(host) > MAX_HOST_CHARACTERS or not _HOST_NAME.fullmatch(host):
        raise ValueError("the host is neither a name nor an address")
    if host.rpartition(".")[2].isdigit():  # RFC 3696, section 2: a top-level domain is not all digits
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise ValueError("the host is neither a name nor an address") from error
