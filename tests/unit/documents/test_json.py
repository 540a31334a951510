import json

import pytest

from sockwarden.documents.faults import FaultList
from sockwarden.documents.json import MAX_DEPTH, MAX_NUMBER_CHARACTERS, read_json, scan_json
from sockwarden.documents.node import Array, Broken, Object, Scalar
from sockwarden.documents.place import Place
from sockwarden.errors import DocumentError


def faults_of(text: str | bytes) -> list[tuple[int, int, str]]:
    with pytest.raises(DocumentError) as caught:
        read_json(text.encode() if isinstance(text, str) else text, "f.json")
    assert all(fault.file == "f.json" and fault.remedy for fault in caught.value.faults)
    return [(fault.line, fault.column, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(
    "text",
    [
        "null",
        " true ",
        "\r\n\tfalse",
        "0",
        "-0",
        "12",
        "-3.5",
        "1e3",
        "1.5E-3",
        '""',
        '"a ü 漢"',
        r'"\" \\ \/ \b \f \n \r \t"',
        r'"\u00fc \ud83d\ude00"',
        "[]",
        "[1, [2], {}]",
        "{}",
        '{"a": {"b": [null]}, "c": "d"}',
    ],
)
def test_what_the_standard_allows_is_read_as_the_standard_library_does(text):
    assert read_json(text.encode(), "f").plain() == json.loads(text)


def test_a_whole_number_stays_a_whole_number():
    node = read_json(b"2", "f")
    assert isinstance(node, Scalar)
    assert type(node.value) is int


def test_keys_and_values_know_their_places():
    node = read_json(b'{\n  "a": [1,\n    "b"]\n}', "f")
    assert isinstance(node, Object)
    (member,) = node.members
    assert isinstance(member.value, Array)
    places = (node.place, member.place, member.value.place, *(item.place for item in member.value.items))
    assert places == (Place(1, 1), Place(2, 3), Place(2, 8), Place(2, 9), Place(3, 5))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("{} {}", 1, 4, "there is more text after the end of the document"),
        ("{}\x00", 1, 3, "there is more text after the end of the document"),
        ('{"a":1,\n"a":2}', 2, 1, 'the key "a" stands here for the second time; first at line 1'),
        (r'{"a":1,"\u0061":2}', 1, 8, 'the key "a" stands here for the second time; first at line 1'),
        ("NaN", 1, 1, '"NaN" is not a number in JSON'),
        ("[Infinity]", 1, 2, '"Infinity" is not a number in JSON'),
        ("-Infinity", 1, 1, '"-Infinity" is not a number in JSON'),
        ("1e999", 1, 1, "the number 1e999 is out of range"),
        ("01", 1, 1, '"01" is not a number in JSON'),
        ("1.", 1, 1, '"1." is not a number in JSON'),
        (".5", 1, 1, '".5" is not a number in JSON'),
        ("+1", 1, 1, '"+1" is not a number in JSON'),
        ("0x10", 1, 1, '"0x10" is not a number in JSON'),
        ("\uff11", 1, 1, '"\uff11" is not JSON'),
        ("True", 1, 1, '"True" is not JSON'),
        ("yes", 1, 1, '"yes" is not JSON'),
        ("[1,]", 1, 3, "a comma before ]"),
        ('{"a":1,\n}', 1, 7, "a comma before }"),
        ('["a" "b"]', 1, 6, "a comma is missing before this"),
        ("[{}\n{}]", 2, 1, "a comma is missing before this"),
        ('{"a":1 "b":2}', 1, 8, "a comma is missing before this"),
        ("[1 2]", 1, 4, 'expected a comma or ], not "2"'),
        ('{"a":1 {}}', 1, 8, 'expected a comma or }, not "{"'),
        ("[,]", 1, 2, 'expected a value, not ","'),
        ("{,}", 1, 2, 'expected a key in double quotes, not ","'),
        ("{a:1}", 1, 2, 'expected a key in double quotes, not "a"'),
        ('{"a" 1}', 1, 6, 'expected a colon after the key, not "1"'),
        ('{"a":', 1, 6, "expected a value, not the end of the file"),
        ("[", 1, 2, "expected a value, not the end of the file"),
        ('"a', 1, 1, "the string is not closed on its line"),
        ('["a\n"]', 1, 2, "the string is not closed on its line"),
        ('"a\x01"', 1, 3, "a control character in a string: U+0001"),
        (r'"a\x"', 1, 3, 'not an escape of JSON: "\\x"'),
        (r'"\u12"', 1, 2, 'not an escape of JSON: "\\u"'),
        (r'"\ud800"', 1, 2, "half of a surrogate pair stands alone"),
        (r'"\ude00\ud83d"', 1, 2, "half of a surrogate pair stands alone"),
        (r'"\ud83d\u0041"', 1, 2, "half of a surrogate pair stands alone"),
        ("// x\n1", 1, 1, "JSON has no comments"),
        ("# x\n1", 1, 1, "JSON has no comments"),
        ("1 /* x\n */", 1, 3, "JSON has no comments"),
    ],
)
def test_a_fault_is_named_with_its_place(text, line, column, message):
    assert faults_of(text)[0] == (line, column, message)


@pytest.mark.parametrize("text", [b"", b"\xff", b"\xef\xbb\xbf"])
def test_bytes_that_hold_no_text_are_refused(text):
    assert faults_of(text)


def test_every_fault_is_found_in_one_run():
    text = '\ufeff// policy\n{"a": True, "a": NaN,\n "b": [01 "c\\q",],}\n1'
    assert faults_of(text) == [
        (1, 1, "JSON has no comments"),
        (1, 1, "the file starts with a byte order mark"),
        (2, 7, '"True" is not JSON'),
        (2, 13, 'the key "a" stands here for the second time; first at line 2'),
        (2, 18, '"NaN" is not a number in JSON'),
        (3, 8, '"01" is not a number in JSON'),
        (3, 11, "a comma is missing before this"),
        (3, 13, 'not an escape of JSON: "\\q"'),
        (3, 16, "a comma before ]"),
        (3, 18, "a comma before }"),
        (4, 1, "there is more text after the end of the document"),
    ]


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_the_deepest_nesting_is_read(opening, closing):
    read_json((opening * (MAX_DEPTH - 1) + "[]" + closing * (MAX_DEPTH - 1)).encode(), "f")


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_deeper_nesting_is_refused(opening):
    text = opening * 100_000
    assert faults_of(text) == [(1, len(opening) * MAX_DEPTH + 1, f"nested more than {MAX_DEPTH} levels deep")]


def test_the_longest_number_is_read():
    digits = "9" * MAX_NUMBER_CHARACTERS
    assert read_json(digits.encode(), "f").plain() == int(digits)


def test_a_longer_number_is_refused():
    assert faults_of("9" * 5000) == [(1, 1, "a number of 5000 characters; the limit is 64")]


def test_a_reader_of_its_own_faults_gets_the_rest_of_the_tree():
    node = scan_json(b'{"a": nope, "b": 1}', FaultList("f"))
    assert isinstance(node, Object)
    assert [type(member.value) for member in node.members] == [Broken, Scalar]


def test_what_stops_the_reading_leaves_a_broken_value():
    assert isinstance(scan_json(b"{", FaultList("f")), Broken)
