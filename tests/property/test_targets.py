"""Laws of targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.dockerapi.target import Target, parse_query, parse_target
from sockwarden.errors import ClientError

pytestmark = pytest.mark.property

PIECES = ["/", "/", "v1.41", "v01.4", "containers", "images", "x", "push", ".", "..", "%2e", "%2F", "%25", "%41", "%00"]
PIECES += [
    "%",
    "%4",
    "?",
    "&",
    "=",
    ";",
    "#",
    "a",
    "\\",
    " ",
    '"',
    "%20",
    "%c3%b6",
    "*",
    "http:",
    "+",
    ":",
    "@",
    "_ping",
]
TARGETS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(str.encode),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: b"/" + "".join(pieces).encode()),
    st.binary(max_size=40),
)


def read(raw: bytes) -> Target | None:
    try:
        return parse_target(raw)
    except ClientError as error:
        assert error.status == 400
        return None


@given(TARGETS)
def test_what_the_engine_gets_is_read_as_what_was_judged(raw):
    target = read(raw)
    if target is not None:
        again = parse_target(target.canonical)
        assert (again.version, again.path, again.query, again.canonical) == (
            target.version,
            target.path,
            target.query,
            target.canonical,
        )


@given(TARGETS)
def test_a_path_that_is_read_is_clean(raw):
    target = read(raw)
    if target is not None:
        assert target.path.startswith("/")
        assert target.path.isascii()
        assert target.path.isprintable()
        assert not {"", ".", ".."} & set(target.path.split("/")[1:-1])
        assert target.path.rsplit("/", 1)[1] not in {".", ".."}


@given(TARGETS)
def test_what_the_engine_gets_has_no_character_with_a_second_meaning(raw):
    target = read(raw)
    if target is not None:
        path = target.canonical.partition(b"?")[0].decode("ascii")
        assert not set(path) & set(' "#<>?[]\\^`{|}\x7f')


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="/"), min_size=1))
def test_escaping_a_name_does_not_change_where_it_goes(name):
    if name in {".", ".."}:
        return
    escaped = "".join(f"%{ord(character):02x}" for character in name)
    target = parse_target(f"/images/{escaped}/push".encode())
    assert target.path == f"/images/{name}/push"


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)).filter(lambda pair: pair != ("", ""))))
def test_a_query_gives_back_what_was_encoded(pairs):
    encoded = "&".join("=".join("".join(f"%{byte:02X}" for byte in text.encode()) for text in pair) for pair in pairs)
    assert parse_query(encoded) == tuple(pairs)
