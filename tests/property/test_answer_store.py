"""The file of answers gives back what it took, or nothing."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.resolver import MAX_EARLIER, Target
from sockwarden.images.store import AnswerStore, Kept, Snapshot, StoreError

pytestmark = pytest.mark.property

REPOSITORIES = st.builds(
    Repository, st.sampled_from(["docker.io", "reg.example:5000"]), st.from_regex(r"x/[a-z0-9]{1,20}", fullmatch=True)
)
REFERENCES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}|sha256:[0-9a-f]{64}", fullmatch=True)
DIGESTS = st.integers(1, 5).flatmap(lambda count: st.binary(min_size=32 * count, max_size=32 * count))
TIMES = st.floats(-1e12, 1e12)
KEPT = st.builds(Kept, DIGESTS, TIMES, st.lists(st.tuples(DIGESTS, TIMES), max_size=MAX_EARLIER).map(tuple))
SNAPSHOTS = st.builds(
    Snapshot,
    st.dictionaries(st.builds(Target, REPOSITORIES, REFERENCES), KEPT, max_size=4),
    st.dictionaries(REPOSITORIES, DIGESTS, max_size=3),
)


@given(SNAPSHOTS)
@settings(max_examples=60, deadline=None)
def test_what_was_saved_is_loaded(snapshot):
    with tempfile.TemporaryDirectory() as directory:
        store = AnswerStore(Path(directory) / "state", RegistrySettings())
        store.save(snapshot)
        assert store.load() == snapshot


@given(SNAPSHOTS, st.data())
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_and_no_lost_byte_is_ever_believed(snapshot, data):
    with tempfile.TemporaryDirectory() as directory:
        store = AnswerStore(Path(directory) / "state", RegistrySettings())
        store.save(snapshot)
        whole = bytearray(store.path.read_bytes())
        at = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del whole[at:]
        store.path.write_bytes(whole)
        with pytest.raises(StoreError):
            store.load()
