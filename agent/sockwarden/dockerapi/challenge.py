"""The WWW-Authenticate header of registries, as RFC 9110 section 11.6.1 writes it.

Owns the grammar of challenges and nothing else. It must never decide whom to trust: whether a realm may be
asked, and with which credentials, is the part of ``images.registry``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sockwarden.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_HEADER_CHARS: Final = 8192
"""A Bearer challenge is about two hundred characters; common servers end a header at 8 KiB."""

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # token, RFC 9110 section 5.6.2
_QUOTED: Final = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'  # section 5.6.4, without obs-text
_TOKEN68: Final = r"[A-Za-z0-9\-._~+/]+=*"  # section 11.2

_ELEMENT: Final = re.compile(rf'((?:[^",]|{_QUOTED})*)(?:,|\Z)')
"""One element of the list: a comma inside a quoted text does not end it."""

_PARAMETER: Final = re.compile(rf"({_WORD})[ \t]*=[ \t]*({_WORD}|{_QUOTED})")
_START: Final = re.compile(rf"({_WORD})(?: +(?P<parameter>.+))?")
_OPAQUE: Final = re.compile(_TOKEN68)
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a server offers. ``scheme`` and the names of ``parameters`` are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Return every challenge of one WWW-Authenticate header, in order.

    An element that is a parameter belongs to the challenge before it; any other one starts a challenge. The
    single opaque token of schemes such as Negotiate is checked and dropped: no registry scheme has one.

    Raises:
        RegistryError: the text is longer than ``MAX_HEADER_CHARS`` or not by the grammar.
    """
    if len(header) > MAX_HEADER_CHARS:
        raise RegistryError(f"the registry's WWW-Authenticate header has more than {MAX_HEADER_CHARS} characters")
    found: list[tuple[str, dict[str, str]]] = []
    for element in _elements(header):
        parameter = _PARAMETER.fullmatch(element)
        if parameter is None:
            start = _START.fullmatch(element)
            if start is None:
                raise _malformed()
            found.append((start[1].lower(), {}))
            rest = start["parameter"] or ""
            if not rest or _OPAQUE.fullmatch(rest):
                continue
            parameter = _PARAMETER.fullmatch(rest)
        if parameter is None or not found or parameter[1].lower() in found[-1][1]:
            raise _malformed()
        found[-1][1][parameter[1].lower()] = _unquoted(parameter[2])
    return tuple(Challenge(scheme, MappingProxyType(parameters)) for scheme, parameters in found)


def _elements(header: str) -> Iterator[str]:
    """Yield the elements of a list, without the empty ones that RFC 9110 section 5.6.1.2 lets a sender write."""
    at = 0
    while at < len(header):
        element = _ELEMENT.match(header, at)
        if element is None:
            raise _malformed()
        at = element.end()
        if text := element[1].strip(" \t"):
            yield text


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _malformed() -> RegistryError:
    return RegistryError(
        "the registry's WWW-Authenticate header is not by RFC 9110",
        remedy="ask whoever runs the registry, or the proxy in front of it, to correct the header",
    )
