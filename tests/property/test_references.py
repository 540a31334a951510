"""Laws of references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.dockerapi.reference import InvalidReference, Reference, parse_entry, parse_reference

pytestmark = pytest.mark.property

COMPONENTS = st.from_regex(r"[a-z0-9]{1,6}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
DOMAINS = st.sampled_from(
    ["docker.io", "localhost", "localhost:5000", "r.example", "R", "[::1]:5000", "127.0.0.1:80", "quay.io"]
)
TAGS = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGESTS = st.none() | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
TEXTS = st.text(st.sampled_from("aA0b./:@-_*[] \n\u00e9"), max_size=20)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    path = "/".join(draw(st.lists(COMPONENTS, min_size=2, max_size=4)))
    return Reference(draw(DOMAINS), path, draw(TAGS), draw(DIGESTS))


@given(references())
def test_the_text_of_a_reference_parses_to_it(reference):
    assert parse_reference(str(reference)) == reference


@given(TEXTS)
def test_any_text_is_a_reference_that_round_trips_or_is_refused(text):
    try:
        reference = parse_reference(text)
    except InvalidReference as error:
        assert error.reason
    else:
        assert parse_reference(str(reference)) == reference


@given(references())
def test_a_pinned_entry_asks_for_nothing_but_its_digest(reference):
    pattern = parse_entry(str(reference))
    assert pattern.name == reference.name
    assert pattern.digest == reference.digest
    assert pattern.tag == (None if reference.digest else reference.tag or "latest")


@given(TEXTS)
def test_any_text_is_an_entry_or_is_refused(text):
    try:
        pattern = parse_entry(text)
    except InvalidReference as error:
        assert error.reason
    else:
        assert pattern.is_everything or pattern.reference.name == pattern.name
