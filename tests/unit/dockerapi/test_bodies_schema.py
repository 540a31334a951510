"""Every key of a structure has one meaning; a map takes any key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sockwarden.dockerapi.bodies_schema import (
    ANY,
    ARGV,
    FLAG,
    LABELS,
    STRINGS,
    TEXT,
    ListOf,
    MapOf,
    Misplaced,
    Struct,
    read_struct,
)
from sockwarden.errors import ClientError

SHAPE = Struct(
    "Memory NanoCpus",
    {
        "Name": TEXT,
        "Flag": FLAG,
        "Cmd": ARGV,
        "Binds": STRINGS,
        "Labels": LABELS,
        "Inner": Struct("", {"Items": ListOf(Struct("A")), "Ends": MapOf(Struct("B"))}),
        "Old": Misplaced("belongs elsewhere"),
    },
    ignored="_query platform",
    aliases={"NanoCPUs": "NanoCpus"},
)


def read(body: dict[str, Any]) -> dict[str, Any]:
    return read_struct(json.dumps(body).encode(), SHAPE)


def refusal(body: dict[str, Any]) -> ClientError:
    with pytest.raises(ClientError) as caught:
        read(body)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Memory": 1, "Name": "n", "Flag": True, "Cmd": "x", "Binds": ["a"], "Labels": {"a": "b", "A": None}},
        {"Memory": "1", "Cmd": ["x"], "Inner": {"Items": [{"A": 1}, {}], "Ends": {"n": {"B": 1}, "N": None}}},
        dict.fromkeys(["Memory", "Name", "Flag", "Cmd", "Binds", "Labels", "Inner", "Old"]),
        {"_query": {"a": [1]}, "platform": "linux"},
        {"NanoCPUs": 1},
        {"Unheard": None},
    ],
)
def test_a_body_of_the_shape_passes(body):
    assert read(body) == body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"name": "n"}, "field name is another spelling of Name"),
        ({"name": None}, "field name is another spelling of Name"),
        ({"Name": "n", "NAME": "m"}, "field NAME is another spelling of Name"),
        ({"Bind\u017f": []}, r"field 'Bind\u017f' is another spelling of Binds"),
        ({"old": None}, "field old is another spelling of Old"),
        ({"nanocpus": 1}, "field nanocpus is another spelling of NanoCpus"),
        ({"Platform": "x"}, "field Platform is another spelling of platform"),
        ({"NanoCPUs": 1, "NanoCpus": 1}, "field NanoCPUs stands beside NanoCpus"),
        ({"Unheard": 0}, "field Unheard is not a field of this request"),
        ({"Inner": {"Unheard": 0}}, "field Inner.Unheard is not a field"),
        ({"Old": 0}, "field Old belongs elsewhere"),
        ({"Name": 1}, "field Name is not a string"),
        ({"Flag": 1}, "field Flag is not true or false"),
        ({"Memory": [1]}, "field Memory is not a single value"),
        ({"Cmd": {}}, "field Cmd is not a string or a list"),
        ({"Binds": "a"}, "field Binds is not a list"),
        ({"Binds": ["a", 1]}, "field Binds[1] is not a string"),
        ({"Binds": ["a", None]}, "field Binds[1] is not a string"),
        ({"Labels": []}, "field Labels is not an object"),
        ({"Labels": {"a": 1}}, "field Labels.a is not a string"),
        ({"Inner": []}, "field Inner is not an object"),
        ({"Inner": {"Items": [{"A": 1}, {"a": 1}]}}, "field Inner.Items[1].a is another spelling of A"),
        ({"Inner": {"Items": [None]}}, "field Inner.Items[0] is not an object"),
        ({"Inner": {"Ends": {"n": {"b": 1}}}}, "field Inner.Ends.n.b is another spelling of B"),
    ],
)
def test_a_fault_is_refused_with_its_place(body, text):
    assert str(refusal(body)).startswith(f"the request body's {text}")


def test_a_refusal_says_what_to_write_instead():
    assert refusal({"name": "n"}).remedy == "write Name"


def test_a_field_cannot_be_ignored():
    with pytest.raises(AssertionError):
        Struct("Name", ignored="name")


def test_anything_is_a_single_kind_that_is_never_looked_into():
    ANY.check({"a": [1, {"A": 1}]})
