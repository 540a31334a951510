"""The gateway's own answers."""

from __future__ import annotations

from sockwarden.http1.reply import reply


def test_the_content_type_is_exactly_what_the_cli_compares_with() -> None:
    assert b"\r\nContent-Type: application/json\r\n" in reply(403, b"{}\n", close=False)


def test_a_reply_carries_its_length_and_body() -> None:
    text = reply(403, b"{}\n", close=False)
    assert text.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"\r\nContent-Length: 3\r\n" in text
    assert text.endswith(b"\r\n\r\n{}\n")


def test_a_reply_that_closes_says_so() -> None:
    assert b"\r\nConnection: close\r\n\r\n" in reply(400, b"", close=True)
    assert b"Connection" not in reply(400, b"", close=False)


def test_a_reply_to_head_has_no_body() -> None:
    assert reply(403, b"{}\n", close=False, head_only=True).endswith(b"Content-Length: 3\r\n\r\n")
