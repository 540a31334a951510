"""Raw requests that try to walk round a gateway in front of dockerd, as data.

Every attack asks for an operation on an object called ``MARKER``, by a spelling or behind a carrier that a gateway
may read otherwise than the engine does. ``MARKER`` is replaced by a name of the same length, so that lengths in
the bytes stay right, and the engine's own debug log tells whether the operation was run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER: Final = b"mmmmmm"

HOST: Final = b"Host: docker\r\n"
EMPTY: Final = HOST + b"Content-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """``runs``: dockerd 20.10 runs it when nobody stands in between; None where that does not matter.

    ``operation`` is the command that it amounts to.
    """

    name: str
    data: bytes
    operation: str = "push"
    runs: bool | None = None

    def named(self, name: bytes) -> bytes:
        """Return the bytes with the object's real name, of the marker's length."""
        assert len(name) == len(MARKER)
        return self.data.replace(MARKER, name)


def post(target: bytes, version: bytes = b"HTTP/1.1", rest: bytes = EMPTY) -> bytes:
    return b"POST " + target + b" " + version + b"\r\n" + rest


def body(target: bytes, content: bytes, *fields: bytes) -> bytes:
    head = b"".join(field + b"\r\n" for field in fields)
    return post(target, rest=HOST + head + b"Content-Length: %d\r\n\r\n" % len(content) + content)


PUSH: Final = post(b"/v1.41/images/mmmmmm/push")
"""What most attacks try to get past the gateway: it is refused when it stands alone."""

OPERATIONS: Final = {
    "push": b"/images/mmmmmm/push",
    "exec": b"/containers/mmmmmm/exec",
    "tag": b"/images/mmmmmm/tag?repo=a&tag=b",
    "build": b"/build?t=mmmmmm",
    "pull": b"/images/create?fromImage=127.0.0.1:1/mmmmmm",
    "commit": b"/commit?container=mmmmmm",
}

VERSIONS: Final[tuple[tuple[bytes, bool | None], ...]] = (
    (b"", True),
    (b"/v1.41", True),
    (b"/v1.40", True),
    (b"/v1.24", True),
    (b"/v1.12", True),
    (b"/v01.41", True),
    (b"/v1.041", True),
    (b"/v1.41.", True),
    (b"/v1.41.0", True),
    (b"/v1." + b"0" * 200 + b"41", True),
    (b"/v1.999", True),  # routed, then refused for its version
    (b"/v1..41", True),
    (b"/v41", True),
    (b"/v.", True),
    (b"/v....", True),
    (b"/v0.0", True),
    (b"/v%31.41", True),
    (b"/%761.41", True),
    (b"/v1%2e41", True),
    (b"/%76%31%2E%34%31", True),
    (b"/V1.41", False),
    (b"/v1.41/v1.41", False),
    (b"/v1,41", False),
    (b"/v-1.41", False),
    (b"/v", False),
    (b"/version", False),
)


def spellings(path: bytes) -> Iterator[tuple[str, bytes, bool | None]]:
    """Yield other ways to write ``path``, and whether the engine's router takes them for it."""
    clean, mark, query = path.partition(b"?")
    query = mark + query
    first, last = clean[1:2], clean[-1:]
    escaped_last = clean[:-1] + b"%%%02x" % last[0]
    yield "last letter escaped", escaped_last + query, True
    yield "last letter escaped in upper case", clean[:-1] + b"%%%02X" % last[0] + query, True
    yield "first letter escaped", b"/%%%02x" % first[0] + clean[2:] + query, True
    yield "all but the name escaped", every_letter_escaped(clean) + query, True
    yield "slashes escaped", b"/" + clean[1:].replace(b"/", b"%2f") + query, True
    yield "slashes escaped in upper case", b"/" + clean[1:].replace(b"/", b"%2F") + query, True
    yield "first slash escaped", b"%2f" + clean[1:] + query, None
    yield "slash at the end", clean + b"/" + query, False
    yield "upper case", clean.upper().replace(MARKER.upper(), MARKER) + query, False
    yield "escaped twice", clean[:-1] + b"%%25%02x" % last[0] + query, False
    yield "line feed at the end", clean + b"%0a" + query, False
    yield "NUL at the end", clean + b"%00" + query, False
    yield "blank at the end", clean + b"%20" + query, False
    yield "doubled slash", b"/" + clean + query, False
    yield "doubled slash inside", b"/" + clean[1:].replace(b"/", b"//") + query, None
    yield "dot segment", b"/." + clean + query, False
    yield "escaped dot segment", b"/%2e" + clean + query, False
    yield "parent segment", b"/_ping/.." + clean + query, False
    yield "escaped parent segment", b"/_ping/%2e%2e" + clean + query, False
    yield "escaped parent with its slash", b"/_ping%2f%2e%2e" + clean + query, False
    yield "parent at the end", clean + b"/_ping/.." + query, False
    yield "backslashes", clean.replace(b"/", b"\\") + query, None
    yield "semicolon parameter", clean + b";a=b" + query, None
    yield "fragment at the end", clean + b"#" + query, None
    yield "broken escape", clean + b"%" + query, False
    yield "broken escape with a letter", clean + b"%2" + query, False
    yield "UTF-8 that is longer than needed", clean.replace(b"/", b"%c0%af") + query, False
    yield "full width letter", clean[:-1] + b"%ef%bd%88" + query, False
    yield "raw byte above ASCII", clean + b"\xff" + query, None
    yield "absolute http", b"http://docker" + clean + query, True
    yield "absolute https", b"https://docker" + clean + query, True
    yield "absolute in upper case", b"HTTP://DOCKER" + clean + query, True
    yield "absolute with port and user", b"http://a:b@docker:2375" + clean + query, True
    yield "absolute without host", b"http:" + clean + query, True
    yield "absolute with three slashes", b"http://" + clean + query, True
    yield "absolute unix", b"unix://" + clean + query, True
    yield "absolute file", b"file://" + clean + query, True
    yield "absolute of its own scheme", b"x-y.z+1://docker" + clean + query, True
    yield "no slash", clean[1:] + query, False
    yield "query first", b"?" + clean + query, False
    yield "asterisk", b"*" + clean + query, None


def every_letter_escaped(path: bytes) -> bytes:
    return b"/".join(
        segment if MARKER in segment or not segment else b"".join(b"%%%02x" % byte for byte in segment)
        for segment in path.split(b"/")
    )


def _paths() -> Iterator[Attack]:
    for operation, path in OPERATIONS.items():
        for version, runs in VERSIONS:
            yield Attack(f"{operation} with the version {version[:12]!r}", post(version + path), operation, runs)
        for how, spelling, runs in spellings(path):
            yield Attack(f"{operation}: {how}", post(spelling), operation, runs)
            if spelling.startswith(b"/") and operation in ("push", "exec"):
                yield Attack(f"{operation} with a version: {how}", post(b"/v1.41" + spelling), operation, runs)


GREEDY: Final = (
    b"/images/create/mmmmmm/push",
    b"/images/mmmmmm/create/push",
    b"/images/mmmmmm/json/push",
    b"/images/mmmmmm/tag/push",
    b"/images/mmmmmm/push/push",
    b"/images/mmmmmm/get/push",
    b"/images/containers/mmmmmm/json/push",
    b"/images/load/mmmmmm/push",
    b"/images/prune/mmmmmm/push",
    b"/images/_ping/mmmmmm/push",
    b"/images/version/mmmmmm/push",
    b"/images/mmmmmm:latest/push",
    b"/images/mmmmmm%3Alatest/push",
    b"/images/mmmmmm%40sha256/push",
    b"/images/mmmmmm+x/push",
    b"/images/mmmmmm%2Bx/push",
    b"/images/mmmmmm%20/push",
    b"/images/mmmmmm%23/push",
    b"/images/mmmmmm%3f/push",
    b"/images/mmmmmm#/push",
    b"/images/mmmmmm%ff/push",
    b"/images/mmmmmm%252f/push",
    b"/images/mmmmmm/v1.41/containers/json/push",
    b"/v1.41/images/v1.41/mmmmmm/push",
)


def _names() -> Iterator[Attack]:
    for path in GREEDY:
        yield Attack(f"greedy name {path.decode()}", post(path), runs=True)


def _lines() -> Iterator[Attack]:
    target = b"/v1.41/images/mmmmmm/push"
    for version, runs in (
        (b"HTTP/1.0", True),
        (b"HTTP/1.2", True),
        (b"HTTP/1.9", True),
        (b"HTTP/1.10", False),
        (b"HTTP/01.1", False),
        (b"HTTP/2.0", None),
        (b"HTTP/3.0", None),
        (b"HTTP/0.9", None),
        (b"http/1.1", False),
        (b"HTTP/1.1 ", False),
        (b"HTTP/1,1", False),
        (b"HTTPS/1.1", False),
        (b"", None),
    ):
        yield Attack(f"version {version.decode()!r}", post(target, version), runs=runs)
    yield Attack("1.0 without a host", b"POST " + target + b" HTTP/1.0\r\n\r\n", runs=True)
    yield Attack("1.0 that is kept alive", post(target, b"HTTP/1.0", b"Connection: keep-alive\r\n\r\n"), runs=True)
    yield Attack("1.1 without a host", b"POST " + target + b" HTTP/1.1\r\n\r\n", runs=False)
    yield Attack("0.9", b"POST " + target + b"\r\n\r\n", runs=False)
    yield Attack("0.9 GET", b"GET /_ping\r\n\r\n" + PUSH, runs=None)
    for how, line in {
        "two blanks": b"POST  " + target + b" HTTP/1.1",
        "two blanks before the version": b"POST " + target + b"  HTTP/1.1",
        "tab": b"POST\t" + target + b" HTTP/1.1",
        "tab before the version": b"POST " + target + b"\tHTTP/1.1",
        "vertical tab": b"POST\x0b" + target + b" HTTP/1.1",
        "NUL": b"POST " + target + b"\0 HTTP/1.1",
        "blank in front": b" POST " + target + b" HTTP/1.1",
        "lower case": b"post " + target + b" HTTP/1.1",
        "mixed case": b"Post " + target + b" HTTP/1.1",
        "no method": target + b" HTTP/1.1",
        "blank in the path": b"POST /v1.41/images/mmmmmm /push HTTP/1.1",
        "bare CR at the end": b"POST " + target + b" HTTP/1.1\r",
        "bare CR inside": b"POST " + target + b"\r HTTP/1.1",
    }.items():
        yield Attack(f"request line: {how}", line + b"\r\n" + EMPTY)
    for count in (1, 2, 3):
        yield Attack(f"{count} empty lines in front", b"\r\n" * count + PUSH)
        yield Attack(f"{count} line feeds in front", b"\n" * count + PUSH)
    for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"PUSH"):
        override = b"X-HTTP-Method-Override: POST\r\nX-HTTP-Method: POST\r\nX-Method-Override: POST\r\n"
        yield Attack(f"{method.decode()} with an override", method + PUSH[4:-2] + override + b"\r\n", runs=False)
    for name in (b"X-Original-URL", b"X-Rewrite-URL", b"X-Forwarded-Uri", b"X-Forwarded-Prefix"):
        head = b"POST /v1.41/auth HTTP/1.1\r\n" + HOST + name + b": " + target + b"\r\nContent-Length: 0\r\n\r\n"
        yield Attack(f"target in {name.decode()}", head, runs=False)


def _fields() -> Iterator[Attack]:
    line = b"POST /v1.41/images/mmmmmm/push HTTP/1.1\r\n"
    for how, fields, runs in (
        ("bare line feeds", b"Host: docker\nContent-Length: 0\n\n", True),
        ("one bare line feed", b"Host: docker\nContent-Length: 0\r\n\r\n", True),
        ("a last bare line feed", b"Host: docker\r\nContent-Length: 0\r\n\n", True),
        ("folded field", b"Host: docker\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", True),
        ("folded length", b"Host: docker\r\nContent-Length:\r\n 0\r\n\r\n", True),
        ("folded with a tab", b"Host: docker\r\nContent-Length:\r\n\t0\r\n\r\n", True),
        ("folded coding", b"Host: docker\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", True),
        ("folded host", b"Host:\r\n docker\r\nContent-Length: 0\r\n\r\n", None),
        ("fold in the first line", b" X: a\r\nHost: docker\r\n\r\n", None),
        ("empty name", b": a\r\nHost: docker\r\nContent-Length: 0\r\n\r\n", True),
        ("blank before the colon", b"Host : docker\r\n\r\n", None),
        ("blank in a name", b"Host: docker\r\nX Y: a\r\n\r\n", None),
        ("NUL in a value", b"Host: docker\r\nX: a\0b\r\n\r\n", None),
        ("NUL in a name", b"Host: docker\r\nX\0: a\r\n\r\n", None),
        ("bare CR in a value", b"Host: docker\r\nX: a\rb\r\n\r\n", None),
        ("bare CR as line end", b"Host: docker\rX: a\r\r\n\r\n", None),
        ("no colon", b"Host: docker\r\nX\r\n\r\n", None),
        ("control byte", b"Host: docker\r\nX: \x01\r\n\r\n", None),
        ("DEL", b"Host: docker\r\nX: \x7f\r\n\r\n", None),
        ("two hosts", b"Host: docker\r\nHost: other\r\n\r\n", None),
        ("equal hosts", b"Host: docker\r\nHost: docker\r\n\r\n", None),
        ("a host that is none", b"Host: a b/../c\r\n\r\n", None),
        ("no host", b"X: a\r\n\r\n", False),
        ("empty host", b"Host:\r\n\r\n", True),
        ("no field", b"\r\n", False),
        ("connection names the length", HOST + b"Connection: Content-Length\r\nContent-Length: 0\r\n\r\n", True),
        ("connection names the host", b"Connection: Host\r\nHost: docker\r\nContent-Length: 0\r\n\r\n", True),
        ("a thousand fields", HOST + b"X: y\r\n" * 1000 + b"\r\n", True),
        ("non-ASCII name", HOST + b"\xc5\xbf: a\r\n\r\n", None),
        ("non-ASCII value", HOST + b"X: \xff\xfe\r\n\r\n", True),
    ):
        yield Attack(f"fields: {how}", line + fields, runs=runs)
    ping = b"GET /_ping HTTP/1.1\r\n" + HOST
    yield Attack("two line feeds in a value end the head", ping + b"X: a\n\n" + PUSH, runs=True)
    yield Attack("CR LF LF in a value ends the head", ping + b"X: a\r\n\n" + PUSH, runs=True)
    yield Attack("LF CR LF in a value ends the head", ping + b"X: a\n\r\n" + PUSH, runs=True)
    yield Attack("CR CR in a value", ping + b"X: a\r\r" + PUSH)
    yield Attack("NEL in a value", ping + b"X: a\xc2\x85\xc2\x85" + PUSH)
    yield Attack("a request in the query", b"GET /_ping?" + PUSH.replace(b" ", b"+") + b" HTTP/1.1\r\n" + EMPTY)
    yield Attack("a request in a value", ping + b"X: " + PUSH + b"\r\n")
    yield Attack("folded request", ping + b"X: a\r\n " + PUSH)


LENGTHS: Final[tuple[tuple[bytes, bool | None], ...]] = (
    (b"", True),
    (b"00", True),
    (b"000000000000000000000", True),
    (b"+0", None),
    (b"-0", None),
    (b"-1", None),
    (b"0x0", None),
    (b"0x10", None),
    (b"0, 0", None),
    (b"0,0", None),
    (b"0 0", None),
    (b"0;", None),
    (b"0.0", None),
    (b"0e0", None),
    (b"\t0", True),
    (b"0\t ", True),
    (b"0\x0b", None),
    (b"\xd9\xa0", None),
    (b"18446744073709551616", None),
    (b"18446744073709551615", None),
    (b"9223372036854775808", None),
    (b"-9223372036854775808", None),
    (b"4294967296", None),
    (b"99999999999999999999999999", None),
)

CODINGS: Final[tuple[tuple[bytes, bool | None], ...]] = (
    (b"Transfer-Encoding: chunked", True),
    (b"Transfer-Encoding: Chunked", True),
    (b"Transfer-Encoding:chunked", True),
    (b"Transfer-Encoding:\tchunked", True),
    (b"Transfer-Encoding: chunked ", True),
    (b"transfer-encoding: CHUNKED", True),
    (b"Transfer-Encoding : chunked", None),
    (b"Transfer-Encoding: xchunked", None),
    (b"Transfer-Encoding: chunkedx", None),
    (b"Transfer-Encoding: \x0bchunked", None),
    (b"Transfer-Encoding: chunked\x0b", None),
    (b"Transfer-Encoding: identity", None),
    (b"Transfer-Encoding: identity, chunked", None),
    (b"Transfer-Encoding: chunked, identity", None),
    (b"Transfer-Encoding: gzip, chunked", None),
    (b"Transfer-Encoding: chunked, chunked", None),
    (b"Transfer-Encoding: ,chunked", None),
    (b"Transfer-Encoding: chunked,", None),
    (b'Transfer-Encoding: "chunked"', None),
    (b"Transfer-Encoding: chunked;q=1", None),
    (b"Transfer-Encoding:", None),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", None),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", None),
    (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", None),
    (b"Transfer-Encoding:\r\n chunked", True),
    (b"Transfer-Encoding\r\n: chunked", None),
    (b"Transfer_Encoding: chunked", None),
    (b"TE: chunked", None),
    (b"X: a\nTransfer-Encoding: chunked", True),
    (b"X: a\rTransfer-Encoding: chunked", None),
)

CARRIERS: Final = (
    b"GET /_ping",
    b"HEAD /_ping",
    b"GET /version",
    b"OPTIONS /anything",
    b"OPTIONS *",
    b"GET /v1.41/containers/json",
    b"POST /v1.41/containers/nosuch/stop",
    b"POST /v1.41/containers/nosuch/start",
    b"POST /v1.41/containers/create",
    b"POST /v1.41/volumes/create",
    b"POST /v1.41/networks/create",
    b"POST /v1.41/containers/nosuch/attach",
)
"""Requests that the policy lets pass, at the head of which a body or a second request follows."""


def carried(carrier: bytes, fields: bytes, rest: bytes) -> bytes:
    return carrier + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n\r\n" + rest


def _framing() -> Iterator[Attack]:
    for carrier in CARRIERS[::3]:
        said = carrier.decode()
        for length, runs in LENGTHS:
            yield Attack(
                f"{said} of the length {length!r}", carried(carrier, b"Content-Length: " + length, PUSH), runs=runs
            )
        for coding, runs in CODINGS:
            both = coding + b"\r\nContent-Length: 5"
            around = coding + b"\r\nContent-Length: %d" % len(b"0\r\n\r\n" + PUSH)
            before = b"Content-Length: %d\r\n" % len(b"0\r\n\r\n" + PUSH) + coding
            yield Attack(f"{said} with {coding!r} alone", carried(carrier, coding, b"0\r\n\r\n" + PUSH), runs=runs)
            yield Attack(f"{said} with {coding!r} and its length", carried(carrier, both, b"0\r\n\r\n" + PUSH))
            yield Attack(
                f"{said} with {coding!r} and a length around", carried(carrier, around, b"0\r\n\r\n" + PUSH), runs=runs
            )
            yield Attack(f"{said} with a length before {coding!r}", carried(carrier, before, b"0\r\n\r\n" + PUSH))
    for first, second in ((b"0", b"0"), (b"0", b"5"), (b"5", b"0"), (b"0", b""), (b"", b"0"), (b"00", b"0")):
        fields = b"Content-Length: " + first + b"\r\nContent-Length: " + second
        yield Attack(f"lengths {first!r} and {second!r}", carried(CARRIERS[0], fields, PUSH))
    fields = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(PUSH)
    for connection in (b"", b"Connection: keep-alive\r\n"):
        old = b"POST /v1.41/containers/nosuch/stop HTTP/1.0\r\n" + connection + fields
        yield Attack(f"1.0 with both framings, {connection!r}", old + b"0\r\n\r\n" + PUSH)


HIDING: Final = (
    ("bare LF behind the size", b"0\n\r\n"),
    ("bare LF at the end", b"0\r\n\n"),
    ("only bare LFs", b"0\n\n"),
    ("bare CR behind the size", b"0\r\r\n"),
    ("bare CRs", b"0\r\r"),
    ("blank in front of the size", b" 0\r\n\r\n"),
    ("blank behind the size", b"0 \r\n\r\n"),
    ("tab behind the size", b"0\t\r\n\r\n"),
    ("prefix of the size", b"0x0\r\n\r\n"),
    ("negative size", b"-0\r\n\r\n"),
    ("plus in the size", b"+0\r\n\r\n"),
    ("underscore in the size", b"0_0\r\n\r\n"),
    ("sixteen zeros", b"0" * 16 + b"\r\n\r\n"),
    ("size of 64 bits", b"10000000000000000\r\n\r\n"),
    ("size of 65 bits", b"10000000000000001\r\nZ\r\n0\r\n\r\n"),
    ("negative 64-bit size", b"ffffffffffffffff\r\n"),
    ("empty size", b"\r\n\r\n"),
    ("no size", b"Z\r\n\r\n"),
    ("extension", b"0;a=b\r\n\r\n"),
    ("extension without a name", b"0;\r\n\r\n"),
    ("quoted extension", b'0;a="\r\n\r\n"\r\n\r\n'),
    ("extension with a line feed", b"0;a\n\r\n"),
    ("extension with a size", b"1;a\n0\r\n\r\n"),
    ("long extension", b"0;" + b"a" * 5000 + b"\r\n\r\n"),
    ("data that is too short", b"5\r\nabc\r\n0\r\n\r\n"),
    ("data that is too long", b"1\r\nabc\r\n0\r\n\r\n"),
    ("data that ends with LF", b"1\r\nZ\n0\r\n\r\n"),
    ("data that ends with CR", b"1\r\nZ\r0\r\n\r\n"),
    ("data without an end", b"1\r\nZ0\r\n\r\n"),
    ("size that ends with LF", b"1\nZ\r\n0\r\n\r\n"),
    ("trailer", b"0\r\nX: y\r\n\r\n"),
    ("trailer that is a length", b"0\r\nContent-Length: 99\r\n\r\n"),
    ("trailer that is a coding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("trailer with a line feed", b"0\r\nX: y\n\n"),
    ("folded trailer", b"0\r\n X: y\r\n\r\n"),
)
"""Ends of a chunked body that one reader takes for the end, and another does not."""


def _chunks() -> Iterator[Attack]:
    for carrier in CARRIERS:
        for how, end in HIDING:
            yield Attack(
                f"{carrier.decode()} in chunks: {how}", carried(carrier, b"Transfer-Encoding: chunked", end + PUSH)
            )
    carrier = CARRIERS[6]
    for newline in (b"\n", b"\r\n"):
        # A lenient reader ends the body at "0 LF LF"; a strict one takes all of it for the data of one chunk.
        inside = b"0" + newline + newline + PUSH
        data = b"%x\n" % len(inside) + inside + b"\r\n0\r\n\r\n"
        yield Attack(f"request in a chunk, {newline!r}", carried(carrier, b"Transfer-Encoding: chunked", data))
        data = b"2;\nxx\r\n%x\r\n" % len(inside) + inside + b"\r\n0\r\n\r\n"
        yield Attack(f"request behind an extension, {newline!r}", carried(carrier, b"Transfer-Encoding: chunked", data))
        # Go 1.19 takes the LF for the end of the size line; a reader that looks for CRLF sees a longer one.
        data = b"0" + newline + b"\r\n" + PUSH + b"0\r\n\r\n"
        yield Attack(f"size line of two lines, {newline!r}", carried(carrier, b"Transfer-Encoding: chunked", data))


def _pipelines() -> Iterator[Attack]:
    for carrier in CARRIERS:
        said = carrier.decode()
        runs = None if "attach" in said else True
        yield Attack(f"behind {said}", carried(carrier, b"Content-Length: 0", PUSH), runs=runs)
        yield Attack(f"behind the body of {said}", carried(carrier, b"Content-Length: 1", b"Z" + PUSH))
        yield Attack(f"behind {said} and a stray CRLF", carried(carrier, b"Content-Length: 0", b"\r\n" + PUSH))
        yield Attack(f"behind {said} and a stray LF", carried(carrier, b"Content-Length: 0", b"\n" + PUSH))
        yield Attack(
            f"behind {said} that closes", carried(carrier, b"Connection: close\r\nContent-Length: 0", PUSH), runs=False
        )
        yield Attack(f"in the body of {said}", carried(carrier, b"Content-Length: %d" % len(PUSH), PUSH), runs=False)
        yield Attack(
            f"in place of the body that {said} announces",
            carried(carrier, b"Expect: 100-continue\r\nContent-Length: %d" % len(PUSH), PUSH),
            runs=False,
        )
        yield Attack(f"{said} expects something else", carried(carrier, b"Expect: 200-ok\r\nContent-Length: 0", PUSH))
        yield Attack(f"{said} expects without a body", carried(carrier, b"Expect: 100-continue", PUSH))
        for upgrade in (b"h2c", b"tcp", b"websocket", b"TLS/1.0", b"HTTP/1.1"):
            fields = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\nContent-Length: 0"
            yield Attack(f"behind {said} with an upgrade to {upgrade.decode()}", carried(carrier, fields, PUSH))
        for name, fields in (
            ("and HTTP2-Settings", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
            ("in a list", b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket, h2c"),
            ("that nobody connects", b"Upgrade: tcp"),
            ("that is empty", b"Connection: Upgrade\r\nUpgrade:"),
        ):
            yield Attack(f"behind {said} with an upgrade {name}", carried(carrier, fields, PUSH))
    for how, line in {
        "a redirect": b"GET /a/../_ping",
        "a redirect of slashes": b"GET //_ping",
        "a version that is too new": b"GET /v1.999/containers/json",
        "a version that is too old": b"GET /v1.1/containers/json",
        "an unknown page": b"GET /nothing",
        "an unknown method": b"BREW /_ping",
        "a query with a semicolon": b"GET /_ping?a;b",
        "an attach of too new a version": b"POST /v1.999/containers/nosuch/attach",
        "an attach of too old a version": b"POST /v1.1/containers/nosuch/attach",
        "an attach over WebSocket": b"GET /v1.41/containers/nosuch/attach/ws",
        "the start of an exec": b"POST /v1.41/exec/nosuch/start",
        "the start of an exec of too new a version": b"POST /v1.999/exec/nosuch/start",
        "a session": b"POST /session",
        "a session without an upgrade": b"POST /v1.41/session",
        "gRPC": b"POST /grpc",
        "the archive of nothing": b"HEAD /v1.41/containers/nosuch/archive?path=/",
        "logs of nothing": b"GET /v1.41/containers/nosuch/logs?stdout=1&follow=1",
        "a wait": b"POST /v1.41/containers/nosuch/wait",
    }.items():
        json = b"Content-Type: application/json\r\nContent-Length: 2"
        upgrade = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"
        yield Attack(f"behind {how}", carried(line, b"Content-Length: 0", PUSH))
        yield Attack(f"behind {how} with a body", carried(line, json, b"{}" + PUSH))
        yield Attack(f"behind {how} with an upgrade", carried(line, upgrade + json, b"{}" + PUSH))
    yield Attack("a hundred behind each other", carried(CARRIERS[0], b"X: y", b"") * 100 + PUSH, runs=True)
    yield Attack("refused, then the next", PUSH * 20, runs=True)


def _doors() -> Iterator[Attack]:
    for path in (b"/grpc", b"/v1.41/grpc", b"/%67rpc", b"/v1.41/%67rpc", b"/session", b"/v1.41/session", b"/sessio%6e"):
        for upgrade in (b"h2c", b"H2C", b"tcp"):
            fields = b"X-Docker-Expose-Session-Uuid: mmmmmm\r\nConnection: Upgrade\r\nUpgrade: " + upgrade
            data = carried(b"POST " + path + b"?mmmmmm", fields, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            yield Attack(f"BuildKit's door {path.decode()} to {upgrade.decode()}", data, "build", runs=True)
    for how, query in {
        "once": b"fromImage=127.0.0.1:1/mmmmmm",
        "escaped": b"from%49mage=127.0.0.1:1/mmmmmm",
        "first of two": b"fromImage=127.0.0.1:1/mmmmmm&fromImage=",
        "behind empty parameters": b"&&&fromImage=127.0.0.1:1/mmmmmm",
        "behind another": b"fromSrc=-&fromImage=127.0.0.1:1/mmmmmm",
        "with a plus": b"fromImage=127.0.0.1:1/mmmmmm+",
        "behind a semicolon": b"a=b;fromImage=127.0.0.1:1/mmmmmm",
        "behind a broken escape": b"a=%zz&fromImage=127.0.0.1:1/mmmmmm",
        "behind a second question mark": b"?&fromImage=127.0.0.1:1/mmmmmm",
    }.items():
        yield Attack(f"pull, named {how}", post(b"/v1.41/images/create?" + query), "pull")


def _forms() -> Iterator[Attack]:
    target = b"/v1.41/images/create?fromSrc=-&x=mmmmmm"
    content = b"fromImage=127.0.0.1:1/evil"
    for kind in (
        b"application/x-www-form-urlencoded",
        b"APPLICATION/X-WWW-FORM-URLENCODED",
        b"application/x-www-form-urlencoded; charset=utf-8",
        b"application/x-www-form-urlencoded;",
        b"application/x-www-form-urlencoded ; a",
        b" \tapplication/x-www-form-urlencoded\t",
        b"multipart/form-data; boundary=x",
        b"Multipart/Form-Data",
        b"application/x-www-form-urlencoded\xc2\xa0",
        b"application/x-www-form-urlencoded\r\nContent-Type: application/json",
        b"application/json\r\nContent-Type: application/x-www-form-urlencoded",
        b"\r\n application/x-www-form-urlencoded",
    ):
        yield Attack(f"pull in a form of the type {kind!r}", body(target, content, b"Content-Type: " + kind), "pull")
    for path in (
        b"/v1.41/containers/nosuch/rename?name=mmmmmm",
        b"/v1.41/plugins/pull?remote=mmmmmm",
        b"/v1.41/networks/prune?mmmmmm",
        b"/v1.41/containers/nosuch/stop?t=1&x=mmmmmm",
        b"/v1.41/containers/nosuch/start?x=mmmmmm",
    ):
        form = body(path, b"name=evil", b"Content-Type: application/x-www-form-urlencoded")
        yield Attack(f"form to {path.decode()}", form, "a form")


def _noise() -> Iterator[Attack]:
    yield Attack("nothing", b"")
    yield Attack("one NUL", b"\0")
    yield Attack("CRLFs", b"\r\n" * 50)
    yield Attack("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(200) + PUSH)
    yield Attack("SSH", b"SSH-2.0-OpenSSH_9.2\r\n" + PUSH)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = bytes.fromhex("000000040000000000")
    yield Attack("HTTP/2", preface + settings + PUSH)
    yield Attack("HTTP/2 settings without the preface", settings + PUSH)
    yield Attack("HTTP/2 behind a request", carried(CARRIERS[0], b"X: y", preface + PUSH))
    yield Attack("PROXY protocol", b"PROXY UNKNOWN\r\n" + PUSH)
    yield Attack("PROXY protocol 2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + PUSH)
    yield Attack("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + PUSH)
    yield Attack("UTF-16", PUSH.decode().encode("utf-16"))
    yield Attack("byte order mark", b"\xef\xbb\xbf" + PUSH)
    yield Attack("target of 70 KiB", post(b"/v1.41/images/mmmmmm/push?" + b"a" * 70_000), runs=True)
    yield Attack(
        "head of 200 KiB", post(b"/v1.41/images/mmmmmm/push", rest=HOST + b"X: " + b"a" * 200_000 + b"\r\n\r\n")
    )
    chance = random.Random(20241122)
    for number in range(40):
        garbage = chance.randbytes(chance.randrange(1, 400))
        yield Attack(f"garbage {number} in front", garbage + PUSH)
    for number in range(60):
        # One byte of a whole conversation is something else.
        text = bytearray(carried(CARRIERS[6], b"Content-Length: 0", b"") + carried(CARRIERS[0], b"X: y", b"") + PUSH)
        text[chance.randrange(len(text))] = chance.choice(b"\0\t\n\r %/:;?#\x7f\xff0A")
        yield Attack(f"changed byte {number}", bytes(text))


def _all() -> Iterator[Attack]:
    for family in (_paths, _names, _lines, _fields, _framing, _chunks, _pipelines, _doors, _forms, _noise):
        yield from family()


ATTACKS: Final = tuple(_all())


LEGAL: Final = {
    "ping": b"GET /_ping",
    "ping without a body": b"HEAD /_ping",
    "ping with a version": b"GET /v1.41/_ping",
    "version": b"GET /version",
    "containers": b"GET /v1.41/containers/json?all=1",
    "containers without a version": b"GET /containers/json",
    "containers of the oldest version": b"GET /v1.12/containers/json",
    "a filter": b"GET /v1.41/containers/json?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D&all=true&all=false",
    "an escaped letter": b"GET /v1.41/%63ontainers/json",
    "images": b"GET /v1.41/images/json?filters=%7B%22reference%22%3A%5B%22docker%3Acli%22%5D%7D",
    "an image": b"GET /v1.41/images/docker:cli/json",
    "an image by its canonical name": b"GET /v1.41/images/docker.io/library/docker:cli/json",
    "an image's history": b"GET /v1.41/images/busybox%3Alatest/history",
    "no such image": b"GET /v1.41/images/nosuch/json",
    "no such container": b"GET /v1.41/containers/nosuch/json",
    "a container called json": b"GET /v1.41/containers/json/json",
    "no such archive": b"HEAD /v1.41/containers/nosuch/archive?path=/etc",
    "volumes": b"GET /v1.41/volumes",
    "a network": b"GET /v1.41/networks/none",
    "options": b"OPTIONS /v1.41/images/busybox/push",
    "asterisk": b"OPTIONS *",
    "too new": b"GET /v1.999/containers/json",
    "removing no container": b"DELETE /v1.41/containers/nosuch?force=1",
    "tasks without a swarm": b"GET /v1.41/tasks",
    "plugins": b"GET /v1.41/plugins",
    "an import of nothing": b"POST /v1.41/images/create?fromImage=&fromImage=nosuch",
    "stopping no container": b"POST /v1.41/containers/nosuch/stop?t=0",
    "starting no container": b"POST /v1.41/containers/nosuch/start",
    "attaching to no container": b"POST /v1.41/containers/nosuch/attach?stream=1&stdout=1",
}
"""Requests that pass: their answers must be the engine's own."""

NOWHERE: Final = {
    "an unknown page": b"GET /v1.41/nothing",
    "a trailing slash": b"GET /v1.41/containers/json/",
    "a method that is none": b"BREW /v1.41/containers/json",
    "the root": b"GET /",
}
"""Requests that no engine has a handler for: sockwarden refuses them itself, since it cannot judge them."""

LEGAL_BODIES: Final = {
    "creating from no image": (b"POST /v1.41/containers/create", b'{"Image":"nosuch"}'),
    "creating from an empty object": (b"POST /v1.41/containers/create", b"{}"),
    "a network that exists": (b"POST /v1.41/networks/create", b'{"Name":"none"}'),
    "updating no container": (b"POST /v1.41/containers/nosuch/update", b'{"Memory":1}'),
    "a ping with a body": (b"GET /_ping", b"hello"),
}
