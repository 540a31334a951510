"""Lines of JSON."""

from __future__ import annotations

import json

from sockwarden.observe.line import line_of, timestamp


def test_a_moment_is_rfc_3339_in_utc_with_milliseconds():
    assert timestamp(1_700_000_000.0015) == "2023-11-14T22:13:20.001Z"


def test_a_line_is_one_line_of_printable_ascii():
    line = line_of({"text": "\r\n\0\x1b[31m\x7f\x85\u2028\u202eä\U0001f600"})
    assert line.endswith(b"}\n")
    assert line[:-1].decode("ascii").isprintable()


def test_a_line_reads_back_as_it_was():
    fields = {"text": "\x7f\u2028\n", "none": None, "list": [1, "a"]}
    assert json.loads(line_of(fields)) == fields
