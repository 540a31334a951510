"""One strict grammar for request heads."""

from __future__ import annotations

import contextlib
import time

import pytest

from sockwarden.errors import ClientError
from sockwarden.http1.request import MAX_HEAD_BYTES, parse_request

GET = b"GET /v1.41/containers/json HTTP/1.1\r\nHost: docker\r\n"


def parse(text: bytes):
    head = parse_request(text)
    assert head is not None
    return head


def test_a_head_is_read_whole() -> None:
    head = parse(GET + b"User-Agent: Docker-Client/28.2.2\r\nX-Registry-Auth:  e30= \r\n\r\nrest")
    assert (head.method, head.target, head.host) == ("GET", b"/v1.41/containers/json", b"docker")
    assert head.fields == [(b"User-Agent", b"Docker-Client/28.2.2"), (b"X-Registry-Auth", b"e30=")]
    assert head.size == len(GET) + len(b"User-Agent: Docker-Client/28.2.2\r\nX-Registry-Auth:  e30= \r\n\r\n")
    assert not head.has_body


@pytest.mark.parametrize("size", range(len(GET) + 2))
def test_every_beginning_of_a_head_waits_for_the_rest(size: int) -> None:
    text = GET + b"\r\n"
    assert size == 0 or size == len(text) or parse_request(text[:size]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GET.replace(b"\r\n", b"\n") + b"\n", "bare line feed"),
        (GET + b"A: b\n\nX: y\r\n\r\n", "bare line feed"),
        (GET + b"A: b\r\n c\r\n\r\n", "malformed"),
        (GET + b"A : b\r\n\r\n", "malformed"),
        (GET + b": b\r\n\r\n", "malformed"),
        (GET + b"A: b\x00\r\n\r\n", "malformed"),
        (GET + b"no colon\r\n\r\n", "malformed"),
        (b"\r\n" + GET + b"\r\n", "malformed"),
        (b"\r\n", "not the start"),
        (GET.replace(b"1.1", b"1.0") + b"\r\n", "malformed"),
        (GET.replace(b"1.1", b"1.9") + b"\r\n", "malformed"),
        (GET.replace(b" /", b"  /") + b"\r\n", "malformed"),
        (GET.replace(b"GET", b"get") + b"\r\n", "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "not the start"),
        (b"hello\r\nhello\r\n", "not the start"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (GET + b"Host: other\r\n\r\n", "twice"),
        (GET.replace(b"Host: docker\r\n", b"") + b"\r\n", "host is missing"),
        (GET + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "twice"),
        (GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "together"),
        (GET + b"Content-Length: +1\r\n\r\n", "plain number"),
        (GET + b"Content-Length: 01\r\n\r\n", "plain number"),
        (GET + b"Content-Length:\r\n\r\n", "plain number"),
        (GET + b"Content-Length: 1, 1\r\n\r\n", "plain number"),
        (GET + b"Content-Length: 1125899906842625\r\n\r\n", "plain number"),
        (GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (GET + b"Transfer-Encoding: Chunked\r\n\r\n", "transfer coding"),
        (GET + b"Connection: x-registry-auth\r\n\r\n", "connection names"),
        (GET + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n", "merge it with the query"),
        (GET + b"Content-Type: Multipart/Form-Data; boundary=x\r\n\r\n", "merge it with the query"),
        (GET + b"Content-Type: json\r\n\r\n", "media type"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_400(text: bytes, said: str) -> None:
    with pytest.raises(ClientError, match=said) as caught:
        parse_request(text)
    assert caught.value.status == 400


def test_an_endless_head_is_refused_before_its_end() -> None:
    with pytest.raises(ClientError, match="larger than") as caught:
        parse_request(GET + b"A: " + b"a" * MAX_HEAD_BYTES)
    assert caught.value.status == 431


def test_a_complete_head_above_the_limit_is_refused() -> None:
    with pytest.raises(ClientError, match="larger than"):
        parse_request(GET + b"A: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n")


def test_an_expectation_other_than_100_continue_fails() -> None:
    with pytest.raises(ClientError) as caught:
        parse_request(GET + b"Expect: 200-ok\r\n\r\n")
    assert caught.value.status == 417


def test_the_fault_names_the_line_and_not_its_content() -> None:
    with pytest.raises(ClientError) as caught:
        parse_request(GET + b"Authorization secret\r\n\r\n")
    assert "line 3" in caught.value.remedy
    assert "secret" not in caught.value.remedy + str(caught.value)


def test_a_head_is_written_in_one_spelling() -> None:
    head = parse(
        b"POST /x HTTP/1.1\r\nuser-agent:curl\r\nHost:  d\r\nConnection: keep-alive, TE\r\nTE: trailers\r\n"
        b"Trailer: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nProxy-Authorization: y\r\n\r\n"
    )
    assert head.serialize(b"/v1.41/x") == (
        b"POST /v1.41/x HTTP/1.1\r\nHost: d\r\nuser-agent: curl\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n"
    )


def test_a_collected_body_gets_its_own_length() -> None:
    head = parse(b"POST /x HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert head.expect_continue
    assert b"Transfer-Encoding" in head.serialize(b"/x")
    assert b"Expect: 100-continue\r\n" in head.serialize(b"/x")
    collected = head.serialize(b"/x", content_length=7, expect=False)
    assert b"Content-Length: 7\r\n" in collected
    assert b"chunked" not in collected
    assert b"Expect" not in collected


def test_an_upgrade_is_kept_only_where_the_route_hijacks() -> None:
    head = parse(b"POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert b"Connection: Upgrade\r\nUpgrade: h2c\r\n" in head.serialize(b"/session", upgrade=True)
    assert b"pgrade" not in head.serialize(b"/session")


def test_an_upgrade_that_connection_does_not_name_is_none() -> None:
    head = parse(b"POST /session HTTP/1.1\r\nHost: d\r\nUpgrade: h2c\r\n\r\n")
    assert head.upgrade is None
    assert b"pgrade" not in head.serialize(b"/session", upgrade=True)


def test_a_wish_to_close_is_passed_on() -> None:
    head = parse(GET + b"Connection: close\r\n\r\n")
    assert head.close
    assert head.serialize(b"/x").endswith(b"Connection: close\r\n\r\n")


def test_an_expectation_without_a_body_means_nothing() -> None:
    assert not parse(GET + b"Expect: 100-continue\r\n\r\n").expect_continue


@pytest.mark.parametrize(
    "value",
    [b" " * 100_000, b" " * 100_000 + b"\0\r\n\r\n", b"a" + b" " * 100_000 + b"b\r\n\r\n", b"a" + b"\t " * 50_000],
    ids=["unfinished", "with a NUL", "between two words", "after a word"],
)
def test_blanks_in_a_field_cost_linear_time(value: bytes) -> None:
    """Such a field of 8 KiB took 0.1 s, and one of 128 KiB held the whole gateway for half a minute."""
    before = time.process_time()
    with contextlib.suppress(ClientError):
        parse_request(GET + b"A:" + value)
    assert time.process_time() - before < 1.0
