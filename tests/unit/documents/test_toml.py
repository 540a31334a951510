import sys

import pytest

from sockwarden.documents.faults import FaultList
from sockwarden.documents.json import MAX_DEPTH
from sockwarden.documents.node import Array, Broken, Node, Object
from sockwarden.documents.place import Place
from sockwarden.documents.toml import scan_toml
from sockwarden.errors import DocumentError

TEXT = '''# comment = 1
top = "a" # [not.a.table]
"quoted key" = 'b'
'lite.ral' = 1979-05-27 07:32:00
dotted . "in ner" = [ 1, "x", # one ] {
  [ "y" ], ]
[table]
multi = """
[no.table] \\""" """""
raw = \'\'\'a'b\'\'\'\'\'
inline = { a = 1, b.c = { d = "}" }, e = [] }
[table.sub]
[[list]]
n = 1
[list.inner]
m = 2
[[list]]
n = 3
[ spaced . key ]
v = -inf'''


def places(node: Node, path: tuple[str | int, ...] = ()) -> set[tuple[tuple[str | int, ...], Place]]:
    """Return the place of each key and each item by its path."""
    if isinstance(node, Object):
        return {
            place
            for member in node.members
            for place in {((*path, member.key), member.place)} | places(member.value, (*path, member.key))
        }
    if isinstance(node, Array):
        return {
            place
            for index, item in enumerate(node.items)
            for place in {((*path, index), item.place)} | places(item, (*path, index))
        }
    return set()


def scan(text: str | bytes) -> Node:
    faults = FaultList("f")
    node = scan_toml(text if isinstance(text, bytes) else text.encode(), faults)
    faults.raise_if_any()
    return node


def test_every_key_and_item_has_its_place():
    assert dict(places(scan(TEXT))) == {
        ("top",): Place(2, 1),
        ("quoted key",): Place(3, 1),
        ("lite.ral",): Place(4, 1),
        ("dotted",): Place(5, 1),
        ("dotted", "in ner"): Place(5, 10),
        ("dotted", "in ner", 0): Place(5, 23),
        ("dotted", "in ner", 1): Place(5, 26),
        ("dotted", "in ner", 2): Place(6, 3),
        ("dotted", "in ner", 2, 0): Place(6, 5),
        ("table",): Place(7, 2),
        ("table", "multi"): Place(8, 1),
        ("table", "raw"): Place(10, 1),
        ("table", "inline"): Place(11, 1),
        ("table", "inline", "a"): Place(11, 12),
        ("table", "inline", "b"): Place(11, 19),
        ("table", "inline", "b", "c"): Place(11, 21),
        ("table", "inline", "b", "c", "d"): Place(11, 27),
        ("table", "inline", "e"): Place(11, 38),
        ("table", "sub"): Place(12, 8),
        ("list",): Place(13, 3),
        ("list", 0): Place(13, 3),
        ("list", 0, "n"): Place(14, 1),
        ("list", 0, "inner"): Place(15, 7),
        ("list", 0, "inner", "m"): Place(16, 1),
        ("list", 1): Place(17, 3),
        ("list", 1, "n"): Place(18, 1),
        ("spaced",): Place(19, 3),
        ("spaced", "key"): Place(19, 12),
        ("spaced", "key", "v"): Place(20, 1),
    }


def test_values_are_those_of_the_standard_library():
    node = scan('a = [1, 2.5, true, "x"]')
    assert isinstance(node, Object)
    assert node.plain() == {"a": [1, 2.5, True, "x"]}


def test_windows_line_ends_do_not_shift_places():
    assert places(scan("a = 1\r\n\r\nb = 2\r\n")) == {(("a",), Place(1, 1)), (("b",), Place(3, 1))}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a = ", 1, 5, "not TOML: Invalid value at the end of the file"),
        ("a = 1\na = 2", 2, 6, "not TOML: Cannot overwrite a value at the end of the file"),
        ("[a", 1, 3, "not TOML: Expected ']' at the end of a table declaration at the end of the file"),
        ('a = """x', 1, 9, "not TOML: Unterminated string at the end of the file"),
        ("\n\nx y", 3, 3, "not TOML: Expected '=' after a key in a key/value pair"),
    ],
)
def test_a_syntax_fault_has_the_place_that_the_standard_library_gives(text, line, column, message):
    with pytest.raises(DocumentError) as caught:
        scan(text)
    (fault,) = caught.value.faults
    assert (fault.line, fault.column, fault.message) == (line, column, message)


def test_bytes_that_are_no_text_are_broken():
    assert isinstance(scan_toml(b"\xff", FaultList("f")), Broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "9" * (sys.get_int_max_str_digits() + 1), "a value is nested too deeply, or a number is too long"),
        ("a = " + "[" * 100_000, "a value is nested too deeply, or a number is too long"),
        ("a = " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f'"a" is nested more than {MAX_DEPTH} levels deep'),
        ("a" + ".b" * MAX_DEPTH + " = 1", f"a key of more than {MAX_DEPTH} names"),
        ("x = {" + "'a' . " * 100_000 + "a = 1}", f"a key of more than {MAX_DEPTH} names"),
    ],
)
def test_what_no_reader_should_have_to_bear_is_refused(text, message):
    with pytest.raises(DocumentError) as caught:
        scan(text)
    assert [fault.message for fault in caught.value.faults] == [message]


def test_the_longest_key_is_read():
    assert isinstance(scan("a" + ".b" * (MAX_DEPTH - 2) + " = 1"), Object)


def test_a_message_without_a_place_is_passed_on():
    from sockwarden.documents import toml
    from sockwarden.documents.place import UNKNOWN

    assert toml._syntax_fault("something new", "") == (UNKNOWN, "something new")
