"""The chunked coding, wherever the reads are cut."""

from __future__ import annotations

import pytest
from tests.unit.http1.feeds import every_cut

from sockwarden.errors import ClientError
from sockwarden.http1.chunked import ChunkedBody

BODY = b"5\r\nhello\r\nA\r\n0123456789\r\n1\r\n\n\r\n0\r\n\r\n"


def test_the_end_is_found_however_the_bytes_are_cut() -> None:
    for parts in every_cut(BODY):
        collected = bytearray()
        body = ChunkedBody(collected)
        assert sum(body.feed(part) for part in parts) == len(BODY)
        assert body.done
        assert collected == b"hello0123456789\n"


def test_bytes_behind_the_end_are_left_alone() -> None:
    body = ChunkedBody()
    assert body.feed(BODY + b"GET /") == len(BODY)
    assert body.feed(b"GET /") == 0


@pytest.mark.parametrize(
    "text",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\rX0\r\n\r\n",
        b"5;ext=1\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
        b"0\r\n\n\n",
        b"1234567890abcdef0\r\n",
        b"5\rX\nhello\r\n",
    ],
)
def test_a_lenient_spelling_is_refused_however_it_is_cut(text: bytes) -> None:
    for parts in every_cut(text):
        body = ChunkedBody()
        with pytest.raises(ClientError):
            for part in parts:
                body.feed(part)
