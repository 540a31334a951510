"""How long an answer is."""

from __future__ import annotations

import pytest

from sockwarden.errors import EngineError
from sockwarden.http1.response import MAX_RESPONSE_HEAD_BYTES, Framing, parse_response

OK = b"HTTP/1.1 200 OK\r\n"


def parse(text: bytes, method: str = "GET"):
    head = parse_response(text, method)
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("text", "method", "framing"),
    [
        (OK + b"Content-Length: 2\r\n\r\n", "GET", Framing.LENGTH),
        (OK + b"Content-Length: 0\r\n\r\n", "GET", Framing.NONE),
        (OK + b"Content-Length: 2\r\n\r\n", "HEAD", Framing.NONE),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "GET", Framing.CHUNKED),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", "GET", Framing.CHUNKED),
        (OK + b"\r\n", "GET", Framing.CLOSE),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "POST", Framing.NONE),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "POST", Framing.NONE),
        (b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "POST", Framing.NONE),
    ],
)
def test_the_framing_follows_rfc_9112(text: bytes, method: str, framing: Framing) -> None:
    assert parse(text, method).framing is framing


def test_the_length_and_size_are_read() -> None:
    text = OK + b"content-length: 42\r\n\r\n"
    head = parse(text + b"body")
    assert (head.status, head.length, head.size, head.close) == (200, 42, len(text), False)


def test_an_answer_without_length_ends_the_connection() -> None:
    assert parse(OK + b"\r\n").close


def test_a_wish_to_close_ends_the_connection() -> None:
    assert parse(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n").close


def test_http_1_0_ends_the_connection() -> None:
    assert parse(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n").close


def test_a_raw_stream_is_recognised_by_its_type() -> None:
    assert parse(OK + b"Content-Type: application/vnd.docker.raw-stream\r\n\r\n").raw_stream
    assert parse(OK + b"Content-Type: application/vnd.docker.multiplexed-stream\r\n\r\n").raw_stream
    assert not parse(OK + b"Content-Type: application/json\r\n\r\n").raw_stream


def test_100_is_followed_by_another_answer_and_101_is_not() -> None:
    assert parse(b"HTTP/1.1 100 Continue\r\n\r\n").interim
    assert not parse(b"HTTP/1.1 101 UPGRADED\r\n\r\n").interim


@pytest.mark.parametrize("size", range(1, len(OK) + 2))
def test_the_beginning_of_an_answer_waits_for_the_rest(size: int) -> None:
    assert parse_response((OK + b"\r\n")[:size], "GET") is None


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.x" + b"x" * MAX_RESPONSE_HEAD_BYTES,
        OK + b"Content-Length: many\r\n\r\n",
    ],
)
def test_what_is_no_answer_of_an_engine_is_an_error(text: bytes) -> None:
    with pytest.raises(EngineError):
        parse_response(text, "GET")
