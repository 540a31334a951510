"""Who connected: real sockets and processes, and a /proc that tells stories."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.identity.peer import EXITED, NOT_VISIBLE, REUSED, SO_PEERPIDFD, PeerSnapshot, identify
from sockwarden.identity.procfs import Procfs
from sockwarden.model import IdentitySource

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = "0::/\n"


@dataclass
class FakeProc:
    """Answers from lists, the last one for ever."""

    ticks: list[int | None]
    lines: str | None = LINES
    behind: int = 0

    def start_ticks(self, pid: int) -> int | None:
        return self.ticks.pop(0) if len(self.ticks) > 1 else self.ticks[0]

    def cgroup(self, pid: int) -> str | None:
        return self.lines

    def pidfd_pid(self, fd: int) -> int:
        return self.behind


@dataclass
class FakeSocket:
    """A socket whose kernel says what the test wants."""

    pid: int = 4242
    pidfd_errno: int = 0
    credentials: bytes | None = None

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        if optname == SO_PEERPIDFD:
            if self.pidfd_errno:
                raise OSError(self.pidfd_errno, os.strerror(self.pidfd_errno))
            return os.open("/dev/null", os.O_RDONLY)
        return struct.pack("iII", self.pid, 1000, 100) if self.credentials is None else self.credentials


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(("pidfd", "source"), [(True, IdentitySource.PIDFD), (False, IdentitySource.CRED)])
def test_a_live_peer_is_named_with_its_start_time(pair, pidfd, source):
    found = identify(pair[0], pidfd=pidfd).peer
    expected = (os.getpid(), os.getuid(), os.getgid(), Procfs().start_ticks(os.getpid()), source)
    assert found is not None
    assert (found.pid, found.uid, found.gid, found.start_ticks, found.source) == expected


def test_a_live_peer_comes_with_its_cgroups(pair):
    assert identify(pair[0]).cgroup_lines == Procfs().cgroup(os.getpid())


def test_identifying_leaves_no_descriptor_open(pair):
    before = len(os.listdir("/proc/self/fd"))
    identify(pair[0])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_peer_that_has_exited_is_refused(tmp_path, pidfd):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({path!r})"
        os.waitpid(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", program]), 0)
        accepted, _ = listener.accept()
        with accepted:
            assert identify(accepted, pidfd=pidfd) == PeerSnapshot(None, reason=EXITED)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ESRCH])
def test_kernels_that_give_no_pidfd_of_the_dead_say_so(number):
    assert identify(FakeSocket(pidfd_errno=number), FakeProc([7])).reason == EXITED


def test_a_kernel_without_peerpidfd_goes_by_credentials():
    found = identify(FakeSocket(pidfd_errno=errno.ENOPROTOOPT), FakeProc([7])).peer
    assert found is not None
    assert found.source is IdentitySource.CRED


def test_any_other_error_of_the_kernel_is_the_reason():
    assert "Too many open files" in identify(FakeSocket(pidfd_errno=errno.EMFILE), FakeProc([7])).reason


def test_a_peer_that_exits_while_it_is_read_is_refused():
    assert identify(FakeSocket(), FakeProc([7], behind=-1)).reason == EXITED


def test_a_number_that_passed_on_while_it_was_read_is_refused():
    assert identify(FakeSocket(), FakeProc([7], behind=4243)).reason == REUSED


def test_a_peer_whose_files_are_gone_is_refused():
    assert identify(FakeSocket(), FakeProc([None], lines=None, behind=4242)).reason == EXITED


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_peer_in_an_invisible_pid_namespace_is_refused(pidfd):
    assert identify(FakeSocket(pid=0), FakeProc([7], behind=0), pidfd=pidfd).reason == NOT_VISIBLE


def test_by_credentials_a_changed_start_time_is_refused():
    assert identify(FakeSocket(), FakeProc([7, 8]), pidfd=False).reason == REUSED


def test_by_credentials_a_process_younger_than_the_connection_is_refused():
    assert identify(FakeSocket(), FakeProc([2**62]), pidfd=False).reason == REUSED


@pytest.mark.parametrize("ticks", [[None, 7], [7, None]])
def test_by_credentials_a_process_that_goes_away_is_refused(ticks):
    assert identify(FakeSocket(), FakeProc(ticks), pidfd=False).reason == EXITED


@pytest.mark.parametrize("credentials", [b"", b"short"])
def test_a_socket_without_credentials_is_refused(credentials):
    assert "no peer" in identify(FakeSocket(credentials=credentials), FakeProc([7])).reason


def test_a_socket_of_another_family_is_refused():
    with socket.socket(socket.AF_INET) as sock:
        assert identify(sock).peer is None


def test_a_snapshot_has_a_peer_or_a_reason():
    with pytest.raises(AssertionError):
        PeerSnapshot(None)
