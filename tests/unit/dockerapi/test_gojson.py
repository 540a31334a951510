"""What a request body must be as text before its keys are looked at."""

from __future__ import annotations

import json

import pytest

from sockwarden.dockerapi.gojson import (
    MAX_DEPTH,
    MAX_JSON_BODY_BYTES,
    MAX_SEARCHED_CHARACTERS,
    dotted,
    fold,
    read_object,
    shown,
)
from sockwarden.errors import ClientError


def refusal(data: bytes) -> ClientError:
    with pytest.raises(ClientError) as caught:
        read_object(data)
    return caught.value


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize("data", [b"", b"null", b" null\n", b"{}", b"\t{ }\r\n"])
def test_a_body_that_says_nothing_is_an_empty_object(data):
    assert read_object(data) == {}


def test_an_escaped_spelling_of_a_key_is_that_key():
    assert read_object(rb'{"\u0042inds":["/\u00e4:\/b"]}') == {"Binds": ["/ä:/b"]}


def test_keys_that_differ_by_case_are_two_keys():
    assert read_object(b'{"Labels":{"a":"1","A":"2"}}') == {"Labels": {"a": "1", "A": "2"}}


def test_a_whole_surrogate_pair_is_text():
    assert read_object(rb'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":1}{"a":2}', "something after its JSON value (line 1, column 8)"),
        (b"{}\0", "something after"),
        (b"{} x", "something after"),
        (b"   ", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":"\n"}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        ('{"a":\u0661}'.encode(), "not JSON"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":' + b"1" * 5000 + b"}", "number that is too long"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"a":1,"a":1}', "key a twice"),
        (b'{"a":[1,{"b":{"c":1,"\\u0063":2}}]}', "key a[1].b.c twice"),
        (b'{"x y":{"":1,"":2}}', "key x y. twice"),
        (rb'{"a":{"b":["\ud800"]}}', "half a surrogate pair in a.b[0]"),
        (rb'{"\udc00":1}', "half a surrogate pair in '\\udc00'"),
        (rb'{"a":"\ude00\ud83d"}', "half a surrogate pair in a,"),
        (nested(MAX_DEPTH + 1), "deeper than 64"),
        (nested(100_000), "deeper than 64"),
        (nested(MAX_DEPTH + 1).replace(b"1", b'{"k":1,"k":2}'), "deeper than 64"),
        (b"[" * 100_000, "deeper than 64"),
    ],
)
def test_a_body_that_can_be_read_in_two_ways_or_none_is_refused(data, what):
    error = refusal(data)
    assert what in str(error)
    assert error.status == 400


def test_the_deepest_nesting_that_is_allowed_passes():
    assert read_object(nested(MAX_DEPTH))


def test_many_objects_side_by_side_are_not_deep():
    assert len(read_object(json.dumps({"a": [{}] * 1000}).encode())["a"]) == 1000


def test_the_fault_of_a_large_body_is_named_without_its_place():
    padding = b'"p":"' + b"x" * MAX_SEARCHED_CHARACTERS + b'"'
    assert str(refusal(b'{"o":{"k":1,"k":2},' + padding + b"}")) == "the request body has the key k twice"
    assert "half a surrogate pair, which" in str(refusal(rb'{"k":"\ud800",' + padding + b"}"))


def test_a_body_above_the_limit_is_too_large():
    fits = b'{"a":"' + b"x" * (MAX_JSON_BODY_BYTES - 8) + b'"}'
    assert read_object(fits)
    error = refusal(fits + b" ")
    assert error.status == 413
    assert str(MAX_JSON_BODY_BYTES) in str(error)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("binds", "Binds"),
        ("BINDS", "Binds"),
        ("Bind\u017f", "Binds"),
        ("Ho\u017ftConfig", "HostConfig"),
        ("Networ\u212aMode", "NetworkMode"),
    ],
)
def test_go_takes_the_key_for_the_field(key, field):
    assert fold(key) == fold(field)


@pytest.mark.parametrize("key", ["Bind", "B\u0131nds", "B\u0130nds", "\uff22inds", "Bi\u00f1ds", "Binds ", "Binds\0"])
def test_go_does_not_take_the_key_for_the_field(key):
    assert fold(key) != fold("Binds")


def test_a_place_is_shown_in_ascii_and_of_bounded_length():
    assert dotted(["HostConfig", "Mounts", 0, "Type"]) == "HostConfig.Mounts[0].Type"
    assert shown("Bind\u017f") == r"'Bind\u017f'"
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 1000)) < 100
