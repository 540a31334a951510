"""Where a request's body ends."""

from __future__ import annotations

import pytest
from tests.unit.http1.feeds import every_cut

from sockwarden.errors import ClientError
from sockwarden.http1.body import RequestBody
from sockwarden.http1.request import RequestHead


def head(**framing) -> RequestHead:
    return RequestHead("POST", b"/x", [], b"d", **framing)


def test_a_body_of_known_length_ends_at_its_length() -> None:
    for parts in every_cut(b"hello"):
        body = RequestBody(head(content_length=5), limit=10)
        assert sum(body.feed(part) for part in parts) == 5
        assert body.done
        assert body.collected == b"hello"


def test_what_follows_is_not_taken() -> None:
    body = RequestBody(head(content_length=2))
    assert body.feed(b"okGET") == 2
    assert body.collected == b""


def test_no_body_is_done_at_once() -> None:
    assert RequestBody(head()).done


def test_a_chunked_body_is_collected_decoded() -> None:
    body = RequestBody(head(chunked=True), limit=10)
    before = body.done
    body.feed(b"2\r\nok\r\n0\r\n\r\n")
    assert (before, body.done, body.collected) == (False, True, b"ok")


def test_an_announced_length_above_the_limit_is_refused_before_the_body() -> None:
    with pytest.raises(ClientError, match="larger than 4 bytes") as caught:
        RequestBody(head(content_length=5), limit=4)
    assert caught.value.status == 413


def test_a_chunked_body_above_the_limit_is_refused_when_it_passes_it() -> None:
    body = RequestBody(head(chunked=True), limit=4)
    with pytest.raises(ClientError) as caught:
        body.feed(b"5\r\nhello\r\n")
    assert caught.value.status == 413


def test_what_passed_elsewhere_is_counted() -> None:
    body = RequestBody(head(content_length=5))
    body.feed(b"12")
    before = body.left
    body.skip(3)
    assert (before, body.left, body.done) == (3, 0, True)


def test_nobody_knows_what_is_left_of_a_chunked_body() -> None:
    assert RequestBody(head(chunked=True)).left == 0


def test_more_than_is_left_cannot_pass_elsewhere() -> None:
    with pytest.raises(AssertionError):
        RequestBody(head(content_length=2)).skip(3)
