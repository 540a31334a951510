import enum

import pytest

from sockwarden.documents.faults import FaultList
from sockwarden.documents.fields import MAX_ITEMS, Fields
from sockwarden.documents.json import scan_json
from sockwarden.documents.place import Place
from sockwarden.errors import DocumentError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def read(text: str, path: str = "top") -> tuple[Fields, FaultList]:
    faults = FaultList("f")
    return Fields(scan_json(text.encode(), faults), path, faults), faults


def messages(faults: FaultList) -> list[tuple[int, int, str]]:
    try:
        faults.raise_if_any()
    except DocumentError as error:
        return [(fault.line, fault.column, fault.message) for fault in error.faults]
    return []


def test_what_is_written_is_returned():
    fields, faults = read('{"a": true, "b": "x", "c": "blue", "d": ["y"], "e": {"f": false}}')
    text = fields.text("b")
    assert text is not None
    assert (
        fields.flag("a", default=False),
        text.text,
        fields.choice("c", Colour.RED),
        [item.text for item in fields.texts("d")],
        fields.section("e").flag("f", default=True),
    ) == (True, "x", Colour.BLUE, ["y"], False)
    fields.finish()
    assert messages(faults) == []


def test_what_is_not_written_has_its_default():
    fields, faults = read("{}")
    assert (
        fields.flag("a", default=True),
        fields.text("b"),
        fields.choice("c", Colour.RED),
        fields.texts("d"),
        fields.section("e").members,
    ) == (True, None, Colour.RED, (), ())
    fields.finish()
    assert messages(faults) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', "top.a must be true or false, not a number"),
        ('{"a": "true"}', 'top.a must be true or false, not a string "true"'),
        ('{"b": 1}', "top.b must be a string, not a number"),
        ('{"b": null}', "top.b must be a string, not null"),
        ('{"c": true}', "top.c must be a string, not a boolean"),
        ('{"c": "Rde"}', 'unknown value of top.c: "Rde"'),
        ('{"d": "y"}', 'top.d must be a list of strings, not a string "y"'),
        ('{"d": [1]}', "top.d[0] must be a string, not a number"),
        ('{"e": []}', "top.e must be an object, not an array"),
    ],
)
def test_a_wrong_type_is_a_fault_and_the_default_stands_in(text, message):
    fields, faults = read(text)
    assert (
        fields.flag("a", default=False),
        fields.text("b"),
        fields.choice("c", Colour.RED),
        fields.texts("d"),
        fields.section("e").members,
    ) == (False, None, Colour.RED, (), ())
    fields.finish()
    assert messages(faults) == [(1, text.index("[1]") + 2 if "[1]" in text else 7, message)]


def test_a_broken_value_is_passed_over_in_silence():
    fields, faults = read('{"a": nope, "b": nope, "d": nope, "e": nope}')
    fields.flag("a", default=False)
    fields.text("b")
    fields.texts("d")
    fields.section("e").finish()
    fields.finish()
    assert [message for _, _, message in messages(faults)] == ['"nope" is not JSON'] * 4


def test_the_whole_document_must_be_an_object():
    _, faults = read("[]", path="")
    assert messages(faults) == [(1, 1, "the document must be an object, not an array")]


def test_a_key_that_nobody_asks_for_is_a_fault():
    fields, faults = read('{"a": 1, "b": 2, "c": 3}')
    fields.node("a")
    fields.finish(also_known=["b"])
    assert messages(faults) == [(1, 18, 'unknown key "c" in top')]


def test_keys_and_values_have_places():
    fields, _ = read('{"a": 1}')
    assert (fields.has("a"), fields.has("b")) == (True, False)
    assert (fields.place("a"), fields.value_place("a")) == (Place(1, 2), Place(1, 7))


def test_a_list_beyond_the_limit_is_a_fault():
    fields, faults = read('{"a": [' + ",".join(['"x"'] * (MAX_ITEMS + 1)) + "]}")
    assert len(fields.texts("a")) == MAX_ITEMS
    assert [message for _, _, message in messages(faults)] == [
        f"top.a has {MAX_ITEMS + 1} items; the limit is {MAX_ITEMS}"
    ]
