"""The packed index finds what a plain dictionary finds, through every order of adding and removing."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockwarden.images.answers import Answer, AnswerIndex, key_of, pack, unpack

pytestmark = pytest.mark.property

POOL = ["sha256:" + hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]
SETS = st.lists(st.sampled_from(POOL), min_size=1, max_size=12, unique=True)


@given(SETS)
def test_packing_loses_nothing(digests):
    found = unpack(pack(digests[0], digests))
    assert found[0] == digests[0]
    assert sorted(found) == sorted(digests)


@given(st.lists(st.tuples(st.booleans(), SETS), max_size=60))
@settings(max_examples=200, deadline=None)
def test_the_index_finds_what_a_dictionary_finds(steps):
    index = AnswerIndex()
    known: dict[bytes, Answer] = {}
    for removes, digests in steps:
        if removes and known:
            raw = sorted(known)[len(digests) % len(known)]
            index.drop(known.pop(raw))
        else:
            raw = pack(digests[0], digests)
            answer = index.intern(raw)
            assert known.setdefault(raw, answer) is answer
    assert len(index) == sum(len(answer) for answer in known.values())
    for digest in POOL:
        found = index.find(bytes.fromhex(digest[7:]))
        assert sorted(answer.raw for answer in found) == sorted(raw for raw, one in known.items() if digest in one)


@given(st.binary(min_size=64, max_size=64), st.integers(1, 31))
def test_bytes_across_two_neighbours_are_no_member(raw, offset):
    answer = AnswerIndex().intern(raw)
    across = raw[offset : offset + 32]
    assert answer.holds(across) is (across in (raw[:32], raw[32:]))


@pytest.mark.parametrize(
    "text",
    ["", "x", "sha256:", "sha256:" + "g" * 64, "sha256:" + "0" * 128, "sha512:" + "0" * 64, "sha256:" + " " * 64],
)
def test_what_is_no_digest_is_found_nowhere(text):
    answer = AnswerIndex().intern(bytes(64))
    assert (key_of(text), text in answer) == (b"", False)
