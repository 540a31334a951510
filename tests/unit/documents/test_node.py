import datetime as dt

import pytest

from sockwarden.documents.node import Array, Broken, Member, Object, Scalar
from sockwarden.documents.place import START


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", "a string"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        (None, "null"),
        (dt.date(2026, 1, 1), "a date or time"),
        (dt.time(1), "a date or time"),
    ],
)
def test_a_scalar_says_what_it_is(value, kind):
    assert Scalar(START, value).kind == kind


def test_a_tree_turns_into_plain_values():
    tree = Object(START, (Member("a", START, Array(START, (Scalar(START, 1), Broken(START)))),))
    assert tree.plain() == {"a": [1, None]}


def test_every_kind_has_a_name_for_messages():
    kinds = [Object(START, ()).kind, Array(START, ()).kind, Broken(START).kind]
    assert kinds == ["an object", "an array", "an unreadable value"]


def test_an_object_with_one_key_twice_cannot_exist():
    member = Member("a", START, Scalar(START, 1))
    with pytest.raises(AssertionError):
        Object(START, (member, member))
