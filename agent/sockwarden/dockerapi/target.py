"""The target of a request: read once, as the engine reads it, or refused.

Owns the way from the bytes between the method and ``HTTP/1.1`` to the path that routes, and back to the
bytes that the engine gets. The engine decodes a target once and redirects what is not clean; here
everything that two readers could take for two paths is refused instead, so the bytes that go on have one
reading only. It must never repair a path: what was judged and what is sent would differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from sockwarden.errors import ClientError

MAX_TARGET: Final = 64 * 1024
"""Bytes of a whole target. ``POST /build`` carries its build arguments and labels as JSON in the query, tens
of KiB in real projects; the engine itself takes a head of 1 MiB, of which a target needs no such share."""

_VERSION: Final = r"(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})"
_PCHAR: Final = r"A-Za-z0-9\-._~!$&'()*+,;=:@"
_QUERY: Final = r"[!-\"$&-:<-~]*(?:%[0-9A-Fa-f]{2}[!-\"$&-:<-~]*)*"

# The common case: no escapes in the path, only characters that need none, the version in its one spelling.
# "//" and dot segments are looked for afterwards: cheaper than a lookahead in every segment.
_CLEAN: Final = re.compile(rf"(?:/v({_VERSION})(?=/)|(?!/v[0-9.]+/))(/[{_PCHAR}/]*)(?:\?({_QUERY}))?")

_VISIBLE: Final = re.compile(rb"[\x21-\x7e]+")
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]*")
_ESCAPES: Final = re.compile(r"[^%]*(?:%[0-9A-Fa-f]{2}[^%]*)*")
_VERSIONED: Final = re.compile(r"/v([0-9.]+)(/.*)")
"""What the engine's router takes for a version (moby: daemon/server/server.go, ``versionMatcher``)."""

_CANONICAL_VERSION: Final = re.compile(_VERSION)
_NEEDS_ESCAPE: Final = re.compile(rf"[^{_PCHAR}/]")


@dataclass(frozen=True, slots=True)
class Target:
    """A target that can be read in one way only.

    ``raw`` is the text as sent, for messages; ``path`` is decoded and without the version; ``version`` is text
    like "1.41", or None where the client sent none; ``query`` is as sent, without the question mark;
    ``canonical`` is what the engine gets.
    """

    raw: str
    path: str
    version: str | None
    query: str
    canonical: bytes

    def sent_to(self, path: str) -> Target:
        """Return the target that is still told as it was sent, while the engine gets ``path``, of plain characters."""
        prefix = "" if self.version is None else f"/v{self.version}"
        query = f"?{self.query}" if self.query else ""
        return replace(self, canonical=f"{prefix}{path}{query}".encode("ascii"))

    def first(self, name: str) -> str:
        """Return the first value of the parameter ``name``, or "", as the engine reads a scalar (Go's Form.Get)."""
        if not self.query:
            return ""
        for key, value in parse_query(self.query):
            if key == name:
                return value
        return ""


ASTERISK: Final = Target(raw="*", path="*", version=None, query="", canonical=b"*")
"""The target of ``OPTIONS *`` (RFC 9112 section 3.2.4). The caller uses it where the method is OPTIONS and
the target is exactly ``*``; ``parse_target`` refuses it, as it stands for no path."""


def parse_target(raw: bytes) -> Target:
    """Read the target of a request in origin form (RFC 9112 section 3.2.1).

    Raises:
        ClientError: status 400, or 414 where it is too long; the message says what is wrong with it.
    """
    if len(raw) > MAX_TARGET:
        raise ClientError(f"the request target is longer than {MAX_TARGET} bytes", status=414)
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise ClientError("the request target has a byte outside of printable ASCII") from None
    clean = _CLEAN.fullmatch(text)
    if clean is None:
        return _parse_odd(raw, text)
    version, path, query = clean.groups()
    if "//" in path or "/." in path:
        return _parse_odd(raw, text)
    if query:
        return Target(text, path, version, query, raw)
    return Target(text, path, version, "", raw if query is None else raw[:-1])


def parse_query(query: str) -> tuple[tuple[str, str], ...]:
    """Return the parameters of ``query`` in their order, as Go's ``url.ParseQuery`` reads them.

    Bytes that are no UTF-8 come as lone surrogates, so that different bytes stay different. The query is
    one that ``parse_target`` let pass: its escapes are valid and it has no semicolon.
    """
    pairs = []
    for part in query.split("&"):
        if part:
            key, _, value = part.partition("=")
            pairs.append((_unescape(key), _unescape(value)))
    return tuple(pairs)


def _unescape(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "surrogateescape")


def _parse_odd(raw: bytes, text: str) -> Target:
    """Read a target that has escapes or unusual characters, or say what is wrong with it."""
    if not _VISIBLE.fullmatch(raw):
        raise ClientError("the request target is empty or has a byte outside of printable ASCII")
    if text == "*":
        raise ClientError("the request target * is for the method OPTIONS only")
    if not text.startswith("/"):
        raise ClientError("the request target must be a path that begins with a slash, without scheme and host")
    if "#" in text:
        raise ClientError("the request target has a #, which belongs to no path and no query")
    path, _, query = text.partition("?")
    _check_query(query)
    versioned = _VERSIONED.fullmatch(decoded := _decode_path(path))
    if versioned is None:
        version, prefix, rest = None, "", decoded
    else:
        version, rest = versioned.groups()
        if not _CANONICAL_VERSION.fullmatch(version):
            raise ClientError("the API version in the request target must be spelled like /v1.41")
        prefix = f"/v{version}"
    canonical = prefix + _NEEDS_ESCAPE.sub(_escape, rest) + (f"?{query}" if query else "")
    return Target(text, rest, version, query, canonical.encode("ascii"))


def _check_query(query: str) -> None:
    if ";" in query:
        raise ClientError("the query of the request target has a semicolon; write it as %3B")
    if not _ESCAPES.fullmatch(query):
        raise ClientError("the query of the request target has a % that two hexadecimal digits do not follow")


def _decode_path(path: str) -> str:
    """Percent-decode ``path`` once and show that it is clean (moby redirects what Go's path.Clean changes)."""
    if not _ESCAPES.fullmatch(path):
        raise ClientError("the path of the request target has a % that two hexadecimal digits do not follow")
    if "%2f" in path.lower():
        raise ClientError("the path of the request target has an encoded slash (%2F)")
    data = unquote_to_bytes(path)
    if not _PRINTABLE.fullmatch(data):
        raise ClientError("the path of the request target has an encoded byte outside of printable ASCII")
    decoded = data.decode("ascii")
    segments = decoded.split("/")
    if "" in segments[1:-1]:
        raise ClientError("the path of the request target has an empty segment (//)")
    if "." in segments or ".." in segments:
        raise ClientError("the path of the request target has a dot segment")
    return decoded


def _escape(character: re.Match[str]) -> str:
    return f"%{ord(character[0]):02X}"
