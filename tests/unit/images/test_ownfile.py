import os

import pytest

from sockwarden.images.ownfile import read_own, stamp_of


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    path.chmod(0o600)
    return path


def test_a_file_of_ones_own_is_read(file):
    assert read_own(file, 4) == b"1234"


def test_a_link_to_a_file_of_ones_own_is_read(file):
    link = file.with_name("link")
    link.symlink_to(file)
    assert read_own(link, 4) == b"1234"


def test_a_file_beyond_the_limit_is_refused(file):
    with pytest.raises(ValueError, match="it has more than 3 bytes"):
        read_own(file, 3)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(ValueError, match="others than its owner root may change it"):
        read_own(file, 4)


def test_a_file_of_somebody_else_is_refused(file):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(file, 65534, 65534)
    with pytest.raises(ValueError, match="others than its owner root may change it"):
        read_own(file, 4)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="not a regular file"):
        read_own(pipe, 4)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises((ValueError, OSError)):
        read_own(tmp_path, 4)


def test_an_absent_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_own(tmp_path / "none", 4)


def test_a_change_of_mode_alone_shows_in_the_stamp(file):
    before = stamp_of(file.stat())
    while stamp_of(file.stat()) == before:  # the clock of the file system is coarse
        file.chmod(0o640)
    assert stamp_of(file.stat())[0] == before[0]
