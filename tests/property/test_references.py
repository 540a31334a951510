"""Laws of references: what Docker's grammar makes is read, and nothing else is."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sockwarden.dockerapi.reference import (
    MAX_PATH,
    MAX_REFERENCE,
    InvalidReference,
    Reference,
    canonical,
    parse_entry,
    parse_reference,
)

pytestmark = pytest.mark.property

LOWER = "abcxyz0189"
LETTERS = LOWER + "ABXZ"

# The rules of distribution/reference (the comment at the head of reference.go), each made from its own definition.
ALPHA_NUMERIC = st.text(LOWER, min_size=1, max_size=5)
SEPARATORS = st.sampled_from([".", "_", "__"]) | st.integers(1, 4).map(lambda count: "-" * count)
DOMAIN_COMPONENTS = st.one_of(
    st.sampled_from(LETTERS),
    st.builds(
        lambda first, middle, last: first + middle + last,
        st.sampled_from(LETTERS),
        st.text(LETTERS + "-", max_size=4),
        st.sampled_from(LETTERS),
    ),
)
DOMAIN_NAMES = st.lists(DOMAIN_COMPONENTS, min_size=1, max_size=3).map(".".join)
IPV6 = st.text("0123456789abcdefABCDEF:", min_size=1, max_size=12).map(lambda text: f"[{text}]")
PORTS = st.just("") | st.integers(0, 99999).map(lambda number: f":{number}")
DOMAINS = st.builds(lambda host, port: host + port, DOMAIN_NAMES | IPV6, PORTS)
TAGS = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(LETTERS + "_"),
    st.text(LETTERS + "_.-", max_size=20) | st.text(LETTERS, min_size=127, max_size=127),
)
HEX = "0123456789abcdef"
DIGESTS = st.one_of(
    st.builds(lambda text: f"sha256:{text}", st.text(HEX, min_size=64, max_size=64)),
    st.builds(lambda text: f"sha384:{text}", st.text(HEX, min_size=96, max_size=96)),
    st.builds(lambda text: f"sha512:{text}", st.text(HEX, min_size=128, max_size=128)),
)


@st.composite
def path_components(draw: st.DrawFn) -> str:
    component = draw(ALPHA_NUMERIC)
    for separator, word in draw(st.lists(st.tuples(SEPARATORS, ALPHA_NUMERIC), max_size=2)):
        component += separator + word
    return component


PATHS = st.lists(path_components(), min_size=1, max_size=4).map("/".join)


@st.composite
def texts_of_the_grammar(draw: st.DrawFn) -> tuple[str, str, str, str, str]:
    """Return a reference as written, and its domain (or ""), path, tag (or "") and digest (or "")."""
    domain = draw(st.just("") | DOMAINS)
    path, tag, digest = draw(PATHS), draw(st.just("") | TAGS), draw(st.just("") | DIGESTS)
    text = f"{domain}/{path}" if domain else path
    text += (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    return text, domain, path, tag, digest


TEXTS = st.text(st.sampled_from("aA0b./:@-_*[] \n\u00e9"), max_size=20)

# The same grammar as one expression, put together from the rules and used on the normalized text, as Docker does it.
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
ORACLE = re.compile(
    rf"(?P<domain>(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?)/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?"
)


def docker_reads(text: str) -> tuple[str, str, str | None, str | None] | None:
    """Return what ``ParseNormalizedNamed`` makes of a text (normalize.go), None where it refuses."""
    if re.fullmatch("[a-f0-9]{64}", text) or not text:
        return None
    first, slash, rest = text.partition("/")
    if not slash or not (first == "localhost" or set(first) & set(".:") or first.lower() != first):
        first, rest = "docker.io", text
    first = "docker.io" if first == "index.docker.io" else first
    if first == "docker.io" and "/" not in rest:
        rest = "library/" + rest
    found = ORACLE.fullmatch(f"{first}/{rest}")
    if found is None or len(found["path"]) > 255:
        return None
    return found["domain"], found["path"], found["tag"], found["digest"]


def names_a_host(word: str) -> bool:
    """Does Docker take the first part of a name for a registry?"""
    return word == "localhost" or bool(set(word) & set(".:")) or word.lower() != word


@given(texts_of_the_grammar())
def test_what_the_grammar_makes_is_read_as_its_parts(made):
    text, domain, path, tag, digest = made
    assume(not re.fullmatch("[a-f0-9]{64}", text) and len(text) <= MAX_REFERENCE and len(path) <= MAX_PATH)
    assume(names_a_host(domain) if domain else "/" not in path or not names_a_host(path.partition("/")[0]))
    reference = parse_reference(text)
    assert (reference.tag or "", reference.digest or "") == (tag, digest)
    assert reference.domain == (domain or "docker.io")
    assert reference.path == (path if domain or "/" in path else f"library/{path}")


@given(TEXTS | texts_of_the_grammar().map(lambda made: made[0]))
@example("a:\n")
@example("[::1]/a")
@example("sha256:" + "a" * 64)
def test_exactly_what_docker_reads_is_read(text):
    try:
        reference = parse_reference(text)
    except InvalidReference as error:
        assert error.reason
        assert docker_reads(text) is None
    else:
        assert (reference.domain, reference.path, reference.tag, reference.digest) == docker_reads(text)


@given(texts_of_the_grammar(), st.integers(0, 60), st.sampled_from("aA0b./:@-_*[] \n\u00e9"))
def test_one_more_character_is_judged_as_docker_judges_it(made, at, character):
    text = made[0][:at] + character + made[0][at:]
    assume(len(text) <= MAX_REFERENCE)
    try:
        parse_reference(text)
    except InvalidReference:
        assert docker_reads(text) is None
    else:
        assert docker_reads(text) is not None


@st.composite
def references(draw: st.DrawFn) -> Reference:
    made = draw(texts_of_the_grammar())
    assume(docker_reads(made[0]) is not None)
    return parse_reference(made[0])


@given(references())
def test_the_text_of_a_reference_parses_to_it(reference):
    assert parse_reference(str(reference)) == reference


@given(references())
def test_the_short_form_of_a_reference_parses_to_it(reference):
    assume(not re.fullmatch("[a-f0-9]{64}", reference.familiar))
    assert parse_reference(reference.familiar) == reference


@given(TEXTS | texts_of_the_grammar().map(lambda made: made[0]))
def test_the_form_that_is_shown_is_shown_as_itself(text):
    assert canonical(canonical(text)) == canonical(text)


@given(references())
def test_a_pinned_entry_asks_for_nothing_but_its_digest(reference):
    assume(reference.digest is None or reference.digest.startswith("sha256:"))
    pattern = parse_entry(str(reference))
    assert pattern.name == reference.name
    assert pattern.digest == reference.digest
    assert pattern.tag == (None if reference.digest else reference.tag or "latest")
    assert str(pattern) == canonical(str(reference))


@given(TEXTS)
def test_any_text_is_an_entry_or_is_refused(text):
    try:
        pattern = parse_entry(text)
    except InvalidReference as error:
        assert error.reason
    else:
        assert pattern.is_everything or not pattern.is_single or pattern.reference.name == pattern.name
        again = parse_entry(str(pattern))
        assert (again.name, again.tag, again.digest) == (pattern.name, pattern.tag, pattern.digest)


@given(st.data(), PATHS, TAGS)
def test_a_name_fits_the_glob_that_is_made_from_it(data, path, tag):
    parts = path.split("/")
    first = data.draw(st.integers(0, len(parts) - 1))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(parts[first]))] * 2)))
    parts[first] = parts[first][:begin] + "*" + parts[first][end:]
    try:
        entry = parse_entry(f"r.example/{'/'.join(parts)}:{tag}")
    except InvalidReference as error:
        # A star between two separators can stand for letters alone where the name had none of them.
        assert "words" in error.reason
        return
    assert entry.covers("r.example", path)
    assert entry.covers_tag(tag)
    assert not entry.covers("r.example", f"{path}/more")
    assert not entry.covers("other.example", path)
