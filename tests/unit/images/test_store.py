import hashlib
import os

import pytest

from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.resolver import Target
from sockwarden.images.store import AnswerStore, Kept, Snapshot, StoreError

APP = Repository("reg.example:5000", "team/app")
ONE = Target(APP, "1")
PINNED = Target(APP, "sha256:" + "a" * 64)
FULL = Snapshot(
    {ONE: Kept(b"\x01" * 64, 1000.5, ((b"\x02" * 32, 900.0),)), PINNED: Kept(b"\xaa" * 32, 7.0)},
    {Repository("docker.io", "library/docker"): b"\x03" * 64},
)


@pytest.fixture
def store(tmp_path):
    return AnswerStore(tmp_path / "state", RegistrySettings())


def signed(store, *lines):
    """Write a file whose checksum is right, whatever it says."""
    body = "".join(f"{line}\n" for line in lines).encode()
    store.path.parent.mkdir(mode=0o700, exist_ok=True)
    store.path.write_bytes(body + f'{{"sha256": "{hashlib.sha256(body).hexdigest()}"}}\n'.encode())


def head_of(store):
    store.save(Snapshot())
    return store.path.read_text().splitlines()[0]


def refused(store, reason):
    with pytest.raises(StoreError, match=reason) as caught:
        store.load()
    assert str(store.path) in str(caught.value)
    assert "it is ignored, and registries are asked" in str(caught.value)


def test_what_was_saved_is_loaded(store):
    store.save(FULL)
    assert store.load() == FULL


def test_without_a_file_there_is_nothing_and_no_fault(store):
    assert store.load() is None


def test_the_directory_and_the_file_are_for_their_owner_only(store):
    store.save(FULL)
    assert [path.stat().st_mode & 0o777 for path in (store.path.parent, store.path)] == [0o700, 0o600]


def test_nothing_but_the_file_is_left(store):
    store.save(FULL)
    store.save(FULL)
    assert [path.name for path in store.path.parent.iterdir()] == [store.path.name]


def test_what_a_power_cut_left_of_a_new_file_is_replaced(store):
    store.save(Snapshot())
    (store.path.parent / "answers.jsonl.new").write_text("half a li")
    store.save(FULL)
    assert store.load() == FULL


def test_a_failed_write_leaves_the_old_file(store, monkeypatch):
    store.save(FULL)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sockwarden.images.store.os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(Snapshot())
    assert store.load() == FULL


def test_a_file_that_is_not_whole_is_ignored(store):
    store.save(FULL)
    store.path.write_bytes(store.path.read_bytes()[:-10])
    refused(store, "damaged or not whole")


def test_an_empty_file_is_ignored(store):
    store.save(FULL)
    store.path.write_bytes(b"")
    refused(store, "damaged or not whole")


def test_answers_of_another_mirror_are_ignored(store, tmp_path):
    other = AnswerStore(tmp_path / "state", RegistrySettings(mirrors={"docker.io": "https://mirror.example"}))
    other.save(FULL)
    refused(store, "other settings")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_ignored(store, mode):
    store.save(FULL)
    store.path.chmod(mode)
    refused(store, "others than its owner")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_planted_file_of_another_user_is_ignored(store):
    store.save(FULL)
    os.chown(store.path, 65534, 65534)
    refused(store, "others than its owner")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_neither_read_nor_written(store):
    store.save(FULL)
    os.chown(store.path.parent, 65534, 65534)
    refused(store, "others than root may write into its directory")
    with pytest.raises(StoreError, match="others than root may write into its directory"):
        store.save(FULL)


def test_a_directory_that_is_a_link_is_not_followed(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    store.path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="its directory is none"):
        store.save(FULL)


def test_a_pipe_in_place_of_the_file_does_not_hang(store):
    store.path.parent.mkdir(mode=0o700)
    os.mkfifo(store.path, 0o600)
    refused(store, "not a regular file")


def test_a_file_that_cannot_be_read_is_named(store):
    store.path.parent.mkdir(mode=0o700)
    store.path.symlink_to(store.path)
    refused(store, "cannot be read")


def test_what_does_not_fit_is_left_out_and_counted(store, monkeypatch):
    monkeypatch.setattr("sockwarden.images.store.MAX_STORE_BYTES", 600)
    assert store.save(FULL) == 2
    loaded = store.load()
    assert loaded is not None
    assert list(loaded.answers) == [ONE]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            '{"target": ["reg.example", "app", "no tag"], "digests": "%s", "answered_at": 1}' % ("0" * 64),
            "names no reference",
        ),
        (
            '{"target": ["reg.example", "APP", "1"], "digests": "%s", "answered_at": 1}' % ("0" * 64),
            "names no reference",
        ),
        ('{"target": "x"}', "names no reference"),
        ('{"target": ["reg.example", "app"]}', "names no reference"),
        ('{"held": ["reg.example", "A"], "digests": "%s"}' % ("0" * 64), "names no reference"),
        ('{"held": ["reg.example", "a"], "digests": "ab"}', "holds no digests"),
        ('{"target": ["reg.example", "a", "1"], "digests": "%s", "answered_at": NaN}' % ("0" * 64), "no time"),
        ('{"target": ["reg.example", "a", "1"], "digests": "%s", "answered_at": true}' % ("0" * 64), "no time"),
        (
            '{"target": ["reg.example", "a", "1"], "digests": "%s", "answered_at": 1, "earlier": 1}' % ("0" * 64),
            "no earlier answers",
        ),
        (
            '{"target": ["reg.example", "a", "1"], "digests": "%s", "answered_at": 1, "earlier": [1]}' % ("0" * 64),
            "no earlier answers",
        ),
        ("[]", "a line is no object"),
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_this_program_does_not_write_spoils_the_file(store, line, reason):
    signed(store, head_of(store), line)
    refused(store, reason)


@pytest.mark.parametrize(
    ("head", "reason"),
    [("[]", "no file of answers"), ('{"sockwarden": "answers", "version": 2}', "it is of version 2")],
)
def test_a_foreign_file_is_ignored(store, head, reason):
    signed(store, head)
    refused(store, reason)
