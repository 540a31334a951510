"""Where lines go, and what happens when they cannot."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.errors import SockwardenError
from sockwarden.observe.sink import AuditSink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = b'{"a":1}\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


@pytest.fixture
def sink(path: Path) -> Iterator[AuditSink]:
    sink = AuditSink(str(path))
    yield sink
    sink.close()


def test_a_new_file_is_its_owners_alone(sink, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_are_appended(path):
    path.write_bytes(b"old\n")
    path.chmod(0o640)
    sink = AuditSink(str(path))
    assert sink.write(LINE)
    sink.close()
    assert path.read_bytes() == b"old\n" + LINE


def test_a_symbolic_link_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SockwardenError, match="cannot open"):
        AuditSink(str(path))
    assert not (tmp_path / "elsewhere").exists()


def test_a_hard_link_is_refused(path, tmp_path):
    path.touch(0o600)
    (tmp_path / "other").hardlink_to(path)
    with pytest.raises(SockwardenError, match="hard link"):
        AuditSink(str(path))


def test_a_fifo_is_refused_without_waiting_for_a_reader(path):
    os.mkfifo(path, 0o600)
    with pytest.raises(SockwardenError, match="cannot open"):
        AuditSink(str(path))


def test_a_device_is_refused():
    with pytest.raises(SockwardenError, match="plain file"):
        AuditSink("/dev/null")


def test_a_file_that_others_can_write_is_refused(path):
    path.touch()
    path.chmod(0o620)
    with pytest.raises(SockwardenError, match="others"):
        AuditSink(str(path))


def test_a_directory_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(SockwardenError, match="cannot open"):
        AuditSink(str(tmp_path / "none" / "audit.log"))


def test_after_rotation_lines_go_to_the_new_file(sink, path, tmp_path):
    sink.write(LINE)
    path.rename(tmp_path / "audit.log.1")
    sink.reopen()
    sink.write(b"new\n")
    assert (path.read_bytes(), (tmp_path / "audit.log.1").read_bytes()) == (b"new\n", LINE)


def test_if_the_new_file_cannot_be_opened_the_old_one_stays_in_use(sink, path, tmp_path):
    path.rename(tmp_path / "audit.log.1")
    path.symlink_to("x")
    with pytest.raises(SockwardenError):
        sink.reopen()
    sink.write(LINE)
    assert (tmp_path / "audit.log.1").read_bytes() == LINE


@contextlib.contextmanager
def files_of_20_bytes() -> Iterator[None]:
    """Files can grow to 20 bytes only, as if the disk were full then.

    Only around the writes, never in a fixture: where its output is a file, pytest too would meet the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_line_that_does_not_fit_is_lost_and_counted(sink):
    with files_of_20_bytes():
        written = [sink.write(LINE) for _ in range(5)]
    assert (written, sink.lost, bool(sink.last_error)) == ([True, True, False, False, False], 3, True)


def test_a_loss_is_said_once_when_there_is_room_again(sink, path):
    with files_of_20_bytes():
        for _ in range(5):
            sink.write(LINE)
    os.truncate(path, 0)
    sink.write(LINE)
    sink.write(LINE)
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    assert [line.get("lost") for line in lines] == [3, None, None]


def test_what_was_cut_off_does_not_spoil_the_next_line(sink, path):
    with files_of_20_bytes():
        for _ in range(3):
            sink.write(LINE)
    sink.write(LINE)
    assert path.read_bytes().split(b"\n")[-2] == LINE[:-1]


def test_a_closed_sink_loses_lines_quietly(sink):
    sink.close()
    assert (sink.write(LINE), sink.lost) == (False, 1)


PROGRAM = """
from sockwarden.observe.sink import AuditSink
sink = AuditSink("-")
results = [sink.write(b"x" * 999 + b"\\n") for _ in range(%d)]
sink.reopen()
sink.close()
import sys
sys.stderr.write(f"{sum(results)} {sink.lost}")
"""


def to_stdout(stdout: Any, count: int) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % count], stdout=stdout, stderr=subprocess.PIPE, check=True, timeout=60
    )
    written, lost = done.stderr.split()
    return int(written), int(lost)


def test_standard_output_can_be_a_pipe():
    reading, writing = os.pipe()
    try:
        assert to_stdout(writing, 2) == (2, 0)
        assert len(os.read(reading, 4096)) == 2000
    finally:
        os.close(reading)
        os.close(writing)


def test_a_pipe_that_nobody_reads_is_not_waited_for():
    reading, writing = os.pipe()
    try:
        written, lost = to_stdout(writing, 200)
        assert (written + lost, lost > 0, os.get_blocking(writing)) == (200, True, True)
    finally:
        os.close(reading)
        os.close(writing)


def test_standard_output_can_be_the_journals_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert to_stdout(theirs, 2) == (2, 0)
        assert len(ours.recv(4096)) == 2000


def test_a_journal_that_is_stuck_is_not_waited_for():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        written, lost = to_stdout(theirs, 2000)
        assert (written + lost, lost > 0, theirs.getblocking()) == (2000, True, True)
