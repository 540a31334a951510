"""Laws of the document readers: JSON agrees with a reference reader, and every TOML key is where its place says."""

import json
import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.config import Config, parse_config
from sockwarden.documents.duration import format_duration, parse_duration
from sockwarden.documents.faults import MAX_SHOWN_CHARACTERS, FaultList, render_fault
from sockwarden.documents.json import read_json
from sockwarden.documents.node import Array, Node, Object
from sockwarden.documents.place import Place
from sockwarden.documents.toml import scan_toml
from sockwarden.errors import DocumentError, Fault

pytestmark = pytest.mark.property

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)

json_like = st.text(alphabet='{}[]",:\\\n tn01-.eE+/u"d8', max_size=30)

# TOML from parts that are often right: most of what comes out is accepted by tomllib, and the rest is passed over.
toml_keys = st.sampled_from(["a", "b-1", '"q k"', "'l.k'", '"\\u0041\\""', "a.b", ' c . "d" '])
toml_values = st.recursive(
    st.sampled_from(
        [
            "1",
            "-inf",
            "true",
            '"x # y"',
            "'z\"'",
            '"""m\n[k]\\"""""\n"""',
            "'''r\n='''",
            "1979-05-27 07:32:00",
            '"\\\\"',
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ " + ", # c ]\n ".join(items) + " ]")
        | st.lists(st.tuples(toml_keys, inner), max_size=2).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
toml_lines = (
    st.tuples(toml_keys, toml_values).map(" = ".join)
    | toml_keys.map(lambda key: f"[{key}] # [c]")
    | toml_keys.map(lambda key: f"[[ {key} ]]")
    | st.sampled_from(["", "# a = 1", "\t"])
)
toml_texts = st.lists(toml_lines, max_size=6).map("\n".join)
toml_like = st.text(alphabet="[]{}=\"'\n a.#,1", max_size=30)


@given(values, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_what_the_standard_library_writes_is_read_back(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert read_json(text, "f").plain() == value


@given(json_like)
def test_what_the_reader_accepts_the_standard_library_reads_alike(text):
    try:
        found = read_json(text.encode(), "f").plain()
    except DocumentError:
        return
    assert found == json.loads(text)


def walk(node: Node) -> Iterator[tuple[str, Place]]:
    """Return each key with its place, and each scalar's place, of a tree."""
    if isinstance(node, Object):
        for member in node.members:
            yield member.key, member.place
            yield from walk(member.value)
    elif isinstance(node, Array):
        for item in node.items:
            yield from walk(item)


def is_key_at(text: str, place: Place, key: str) -> bool:
    """Tell whether ``key`` is spelled at ``place`` in a TOML text."""
    rest = text.split("\n")[place.line - 1][place.column - 1 :]
    for end in range(1, len(rest) + 1):
        try:
            if tomllib.loads(rest[:end] + " = 1") == {key: 1}:
                return True
        except tomllib.TOMLDecodeError:
            continue
    return False


@given(toml_texts)
def test_every_toml_key_stands_where_its_place_says(text):
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if not text.strip(" \t\r\n"):
        return
    faults = FaultList("f")
    node = scan_toml(text.encode(), faults)
    faults.raise_if_any()
    assert node.plain() == expected
    assert all(is_key_at(text, place, key) for key, place in walk(node))


@given(st.binary(max_size=40) | (toml_texts | toml_like).map(str.encode))
def test_any_bytes_give_a_configuration_or_faults(text):
    try:
        assert isinstance(parse_config(text, "f"), Config)
    except DocumentError as error:
        assert all(fault.message and fault.remedy for fault in error.faults)


@given(st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_that_is_written_is_read_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.binary(max_size=300), st.integers(0, 9), st.integers(0, 400))
def test_any_fault_can_be_shown_for_any_text(text, line, column):
    rows = render_fault(Fault("f", line, column, "wrong", ""), text).split("\n")
    assert len(rows) in (1, 3)
    assert all(row == "" or all(c == "\t" or c.isprintable() for c in row) for row in rows)
    assert all(len(row) <= 2 * MAX_SHOWN_CHARACTERS + 3 for row in rows)
