"""The head of a request: one strict grammar, one canonical spelling.

A gateway whose reading of a head differs from the engine's can be walked around, so everything that Go's
``net/http`` reads leniently is refused here with 400: bare LF, obs-fold, blanks around the field name,
repeated or padded Content-Length, Content-Length beside Transfer-Encoding, codings other than ``chunked``,
HTTP/1.0, absolute-form. What passes is written anew by :meth:`RequestHead.serialize`, never copied.

Never: a socket, a decision about the request's meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sockwarden.errors import ClientError

MAX_HEAD_BYTES: Final = 128 * 1024
"""Largest head. X-Registry-Config holds every credential of a config.json; nginx allows 32 KiB, Go 1 MiB."""

MAX_CONTENT_LENGTH: Final = 1 << 50
"""A petabyte: larger numbers are mistakes or overflow attempts."""

_REMEMBERED_HEADS: Final = 256
_REMEMBERED_BYTES: Final = 1024  # bounds what is remembered to about 1 MiB
_QUESTIONS: Final = (b"GET ", b"HEAD ")
_SECRET: Final = b"registry"  # X-Registry-Auth and X-Registry-Config hold credentials, which are not kept
_CRLF2: Final = b"\r\n\r\n"

# RFC 9112 section 3 with RFC 9110 section 5.6.2 tokens; the target's own grammar is dockerapi.target's.
_HEAD: Final = re.compile(
    rb"([A-Z]{1,16}) ([!-~]+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*)\r\n"
)
# No part of either pattern overlaps the next, so that neither can take quadratic time; blanks are stripped later.
_FIELD: Final = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
_BLANKS: Final = b" \t"
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_MEDIA_TYPE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# Fields that describe one hop. What the engine needs of them is written anew.
_FRAMING: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_CONNECTION_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"http2-settings", b"te"})

# moby handlers call ParseForm: parameters of such a body come before those of the query.
_FORM_TYPES: Final = frozenset({b"application/x-www-form-urlencoded", b"multipart/form-data"})


@dataclass(slots=True)
class RequestHead:
    """One request head that has exactly one reading. ``fields`` are the end-to-end fields in their order.

    Nobody changes one once it is parsed: equal heads may be the same object.
    """

    method: str
    target: bytes
    fields: list[tuple[bytes, bytes]]
    host: bytes
    content_length: int | None = None
    content_type: bytes | None = None
    chunked: bool = False
    close: bool = False
    upgrade: bytes | None = None
    expect_continue: bool = False
    size: int = 0

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow the head."""
        return self.chunked or bool(self.content_length)

    def serialize(
        self, target: bytes, *, upgrade: bool = False, content_length: int | None = None, expect: bool = True
    ) -> bytes:
        """Return the head in its only spelling.

        Args:
            target: the canonical request-target.
            upgrade: keep the Upgrade field; only routes that hijack may.
            content_length: the length of a body that was collected, in bytes, in place of the client's framing.
            expect: keep ``Expect: 100-continue``, for a body that is still to come.
        """
        out = [self.method.encode(), b" ", target, b" HTTP/1.1\r\nHost: ", self.host, b"\r\n"]
        for name, value in self.fields:
            out += (name, b": ", value, b"\r\n")
        if self.content_type is not None:
            out += (b"Content-Type: ", self.content_type, b"\r\n")
        if content_length is not None:
            out.append(b"Content-Length: %d\r\n" % content_length)
        elif self.chunked:
            out.append(b"Transfer-Encoding: chunked\r\n")
        elif self.content_length is not None:
            out.append(b"Content-Length: %d\r\n" % self.content_length)
        if self.expect_continue and expect:
            out.append(b"Expect: 100-continue\r\n")
        if upgrade and self.upgrade is not None:
            out += (b"Connection: Upgrade\r\nUpgrade: ", self.upgrade, b"\r\n")
        elif self.close:
            out.append(b"Connection: close\r\n")
        out.append(b"\r\n")
        return b"".join(out)


def parse_request(data: bytes) -> RequestHead | None:
    """Parse the head at the start of ``data``; None means that more bytes are needed.

    Raises:
        ClientError: the bytes are not one well-formed head, or it is larger than MAX_HEAD_BYTES (status 431).
    """
    # Clients that poll send the same bytes again and again.
    if (
        len(data) <= _REMEMBERED_BYTES
        and data.startswith(_QUESTIONS)
        and data.endswith(_CRLF2)  # nothing of a body
        and _SECRET not in data.lower()
    ):
        return _remembered(data)
    return _parse(data)


def _parse(data: bytes) -> RequestHead | None:
    match = _HEAD.match(data) if _CRLF2 in data else None  # else each byte of a slow head costs a look at all of it
    if match is None:
        _explain(data)
        return None
    method, target, block = match.groups()
    if match.end() > MAX_HEAD_BYTES:
        raise _too_large()
    head = RequestHead(method.decode(), target, [], b"", size=match.end())
    framing: list[tuple[bytes, bytes]] = []
    keep = head.fields.append
    for field in _FIELD.findall(block):
        name = field[0].lower()
        if name in _FRAMING:
            framing.append((name, field[1].strip(_BLANKS)))
        else:
            keep((field[0], field[1].strip(_BLANKS)))
    _read_framing(head, framing)
    return head


_remembered: Final = lru_cache(maxsize=_REMEMBERED_HEADS)(_parse)


def _read_framing(head: RequestHead, framing: list[tuple[bytes, bytes]]) -> None:
    seen: dict[bytes, bytes] = {}
    options: set[bytes] = set()
    for name, value in framing:
        if name == b"connection":
            options.update(part.strip().lower() for part in value.split(b","))
        elif name in seen:
            raise ClientError(f"the header field {name.decode()} is sent twice")
        else:
            seen[name] = value
    if not options <= _CONNECTION_OPTIONS:
        raise ClientError("the header field connection names an option that is not known here")
    if b"host" not in seen:
        raise ClientError("the header field host is missing")
    head.host = seen[b"host"]
    head.close = b"close" in options
    head.upgrade = seen.get(b"upgrade") if b"upgrade" in options else None
    _read_length(head, seen.get(b"content-length"), seen.get(b"transfer-encoding"))
    expect = seen.get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise ClientError("only 100-continue can be expected", status=417)
        head.expect_continue = head.has_body
    media = seen.get(b"content-type")
    if media:
        _check_media_type(media)
        head.content_type = media


def _read_length(head: RequestHead, length: bytes | None, coding: bytes | None) -> None:
    if coding is not None:
        # RFC 9112 section 6.1 calls this pair an attack; Go lets Transfer-Encoding win.
        if length is not None:
            raise ClientError("content-length and transfer-encoding are sent together")
        if coding != b"chunked":
            raise ClientError("the transfer coding is not exactly: chunked")
        head.chunked = True
    elif length is not None:
        if not _NUMBER.fullmatch(length) or int(length) > MAX_CONTENT_LENGTH:
            raise ClientError("content-length is not a plain number of bytes")
        head.content_length = int(length)


def _check_media_type(value: bytes) -> None:
    media = value.split(b";", 1)[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(media):
        raise ClientError("content-type is not a media type")
    if media in _FORM_TYPES:
        raise ClientError(
            f"a body of the type {media.decode()} is refused: the engine would merge it with the query",
            remedy="send the parameters in the query, as the docker CLI does",
        )


def _too_large() -> ClientError:
    return ClientError(f"the request head is larger than {MAX_HEAD_BYTES} bytes", status=431)


def _explain(data: bytes) -> None:
    """Raise if ``data`` can no longer become a head, so that nobody waits for the rest of garbage."""
    end = data.find(_CRLF2)
    head = data if end < 0 else data[: end + 2]
    if head.startswith(b"PRI * HTTP/2.0"):
        # RFC 9113 section 3.4. Clients fall back to the HTTP/1.1 upgrade (buildx, Engine API 1.53).
        raise ClientError("HTTP/2 is not spoken here; use HTTP/1.1 and the upgrade to h2c")
    if head.count(b"\n") != head.count(b"\r\n"):
        raise ClientError("a line of the request head ends with a bare line feed")
    if end >= 0:
        raise ClientError("the request head is malformed", remedy=_fault(head))
    if len(data) > MAX_HEAD_BYTES:
        raise _too_large()
    line = data.partition(b"\r\n")[0]
    if not line or not _LINE_PREFIX.fullmatch(line):
        raise ClientError("this is not the start of an HTTP/1.1 request")


_LINE_PREFIX: Final = re.compile(rb"[A-Z]{0,16}|[A-Z]{1,16} [!-~]*|[A-Z]{1,16} [!-~]+ H?T?T?P?/?1?\.?1?\r?")
_REQUEST_LINE: Final = re.compile(rb"[A-Z]{1,16} [!-~]+ HTTP/1\.1")


def _fault(head: bytes) -> str:
    """Say which line is wrong, without repeating what it holds: it may be a secret."""
    lines = head.split(b"\r\n")
    if not _REQUEST_LINE.fullmatch(lines[0]):
        return "the request line must read: METHOD SP target SP HTTP/1.1"
    for number, line in enumerate(lines[1:], 2):  # pragma: no branch  # one of them is at fault
        if line.startswith((b" ", b"\t")):
            return f"line {number} continues the line before it, which is obsolete"
        if not _HEAD.match(lines[0] + b"\r\n" + line + b"\r\n\r\n"):
            break
    return f"line {number} is not a header field"
