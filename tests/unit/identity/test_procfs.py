"""Parsing of /proc files."""

from __future__ import annotations

import os

import pytest

from sockwarden.identity.procfs import READ_LIMIT, Procfs, parse_pidfd_pid, parse_start_ticks

TAIL = b" S 1 2 3 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 1 0 %d 1000 100 18446744073709551615\n"


@pytest.mark.parametrize("name", [b"cat", b"a b", b"x) S 1 1 (y", b"))) R 7", b"", b"\xff\n"])
def test_the_start_time_is_found_whatever_the_process_calls_itself(name):
    assert parse_start_ticks(b"17 (" + name + b")" + TAIL % 4711) == 4711


@pytest.mark.parametrize("text", [b"", b"17 cat S", b"17 (cat) S 1 2"])
def test_a_text_that_is_no_stat_file_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_start_ticks(text)


@pytest.mark.parametrize(("line", "pid"), [(b"Pid:\t-1", -1), (b"Pid:\t0", 0), (b"Pid:\t4242", 4242)])
def test_the_pid_behind_a_pidfd_is_found(line, pid):
    assert parse_pidfd_pid(b"pos:\t0\nflags:\t02000002\n" + line + b"\nNSpid:\t7\n") == pid


def test_a_descriptor_that_is_no_pidfd_is_refused():
    with pytest.raises(ValueError, match="not a pidfd"):
        parse_pidfd_pid(b"pos:\t0\nNSpid:\t7\n")


def test_this_process_has_one_start_time():
    procfs = Procfs()
    assert procfs.start_ticks(os.getpid()) == procfs.start_ticks(os.getpid())


def test_this_process_has_a_cgroup():
    assert "::" in (Procfs().cgroup(os.getpid()) or "")


def test_a_pidfd_of_this_process_names_it():
    fd = os.pidfd_open(os.getpid())
    try:
        assert Procfs().pidfd_pid(fd) == os.getpid()
    finally:
        os.close(fd)


def test_a_process_that_is_gone_has_no_start_time(tmp_path):
    assert Procfs(str(tmp_path)).start_ticks(1) is None


def test_a_process_that_is_gone_has_no_cgroup(tmp_path):
    assert Procfs(str(tmp_path)).cgroup(1) is None


def test_a_descriptor_that_is_not_open_is_an_error(tmp_path):
    with pytest.raises(OSError, match="not open"):
        Procfs(str(tmp_path)).pidfd_pid(3)


def test_a_file_without_end_is_an_error(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cgroup").write_bytes(b"x" * READ_LIMIT)
    with pytest.raises(OSError, match="longer"):
        Procfs(str(tmp_path)).cgroup(1)


def test_bytes_that_are_not_utf8_are_escaped(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cgroup").write_bytes(b"0::/\xff\n")
    assert Procfs(str(tmp_path)).cgroup(1) == "0::/\\xff\n"
