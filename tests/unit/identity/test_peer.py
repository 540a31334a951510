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

from sockwarden.abi import Actor
from sockwarden.identity.peer import (
    EXITED,
    MOVED,
    NOT_VISIBLE,
    REUSED,
    SO_PEERPIDFD,
    TICKS_PER_SECOND,
    PeerSnapshot,
    identify,
    socket_step,
)
from sockwarden.identity.procfs import Procfs
from sockwarden.model import IdentitySource

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = "0::/\n"
TICKS = 700
HOME = "/docker/" + "a" * 64
HYBRID = "1:name=systemd:/\n0::/\n"


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

    def fileno(self) -> int:
        return 77


@dataclass
class FakeConnectors:
    """One entry, for the descriptor of FakeSocket, until it was taken."""

    tgid: int = 4242
    path: str = HOME
    taken: bool = False

    def take(self, descriptor: int, /) -> Actor | None:
        assert descriptor == 77
        if self.taken:
            return None
        self.taken = True
        start_ns = TICKS * (1_000_000_000 // TICKS_PER_SECOND) + 5
        return Actor(9, start_ns, 0, self.tgid, self.tgid, 0, 0, 1, 2, 3, 1, "curl")

    def cgroup_path(self, cgroup_id: int, /) -> str:
        assert cgroup_id == 9
        return self.path


@dataclass
class World:
    """What /proc tells of the peer, and of the agent itself."""

    lines: str | None
    own: str = LINES
    ticks: int | None = TICKS

    def start_ticks(self, pid: int) -> int | None:
        return self.ticks

    def cgroup(self, pid: int) -> str | None:
        return self.own if pid == os.getpid() else self.lines

    def pidfd_pid(self, fd: int) -> int:
        return 4242 if self.ticks is not None else -1


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


DEAD = World(None, ticks=None)
ONE_TREE = World(f"0::{HOME}\n")


def written(world: World, path: str = HOME, **more: Any) -> PeerSnapshot:
    return identify(FakeSocket(), world, FakeConnectors(path=path), **more)


def source(snapshot: PeerSnapshot) -> IdentitySource | None:
    return snapshot.peer.source if snapshot.peer else None


def test_who_was_written_down_is_told_with_the_start_time_of_then_and_the_credentials_of_the_socket():
    found = written(ONE_TREE).peer
    assert found is not None
    assert (found.pid, found.uid, found.gid, found.start_ticks, found.source) == (
        4242,
        1000,
        100,
        TICKS,
        IdentitySource.KERNEL,
    )


@pytest.mark.parametrize("now", ["0::/elsewhere\n", None])
def test_where_it_connected_counts_not_where_it_is(now):
    assert written(World(now)).cgroup_lines == f"0::{HOME}\n"


def test_a_process_that_is_dead_is_known_where_one_tree_is_all_there_is():
    assert (source(written(DEAD, "/user.slice")), written(DEAD, "/user.slice").cgroup_lines) == (
        IdentitySource.KERNEL,
        "0::/user.slice\n",
    )


def test_an_entry_is_read_once():
    connectors = FakeConnectors()
    sources = [source(identify(FakeSocket(), ONE_TREE, connectors)) for _ in range(2)]
    assert sources == [IdentitySource.KERNEL, IdentitySource.PIDFD]


def test_an_entry_about_another_process_is_none():
    assert source(identify(FakeSocket(), ONE_TREE, FakeConnectors(tgid=4243))) is IdentitySource.PIDFD


def test_a_process_of_a_namespace_that_the_agent_cannot_see_is_known_by_what_was_written_down():
    found = identify(FakeSocket(pid=0), World("0::/elsewhere\n"), FakeConnectors()).peer
    assert found is not None
    assert (found.pid, found.source) == (4242, IdentitySource.KERNEL)


def test_v1_lines_are_added_where_they_surely_are_the_connectors():
    text = f"1:memory:{HOME}\n0::{HOME}\n"
    assert written(World(text, own=HYBRID)).cgroup_lines == text


@pytest.mark.parametrize(
    "world",
    [
        World("1:memory:/\n0::/elsewhere\n", own=HYBRID),
        World(f"1:memory:/\n0::{HOME}\n", own=HYBRID, ticks=TICKS + 1),
        World(None, own=HYBRID, ticks=None),
    ],
    ids=["moved", "number reused", "dead"],
)
def test_v1_lines_are_left_out_where_they_may_be_anothers(world):
    assert (source(written(world)), written(world).cgroup_lines) == (IdentitySource.KERNEL, f"0::{HOME}\n")


def test_in_a_foreign_namespace_no_v1_lines_are_read():
    found = identify(FakeSocket(pid=0), World(f"1:memory:/\n0::{HOME}\n", own=HYBRID), FakeConnectors())
    assert found.cgroup_lines == f"0::{HOME}\n"


@pytest.mark.parametrize("path", ["/", "/system.slice/containerd.service", ""])
def test_where_v1_is_mounted_a_path_without_a_container_proves_nothing(path):
    text = f"1:memory:{HOME}\n0::{path or '/'}\n"
    found = written(World(text, own=HYBRID), path)
    assert (source(found), found.cgroup_lines) == (IdentitySource.PIDFD, text)


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_lower_step_is_bound_to_the_process_that_was_written_down(pidfd):
    world = World(HYBRID, own=HYBRID, ticks=TICKS + 1)
    assert written(world, "/", pidfd=pidfd) == PeerSnapshot(None, reason=REUSED)


def test_a_lower_step_is_bound_to_the_cgroup_that_was_written_down():
    assert written(World("1:memory:/\n0::/elsewhere\n", own=HYBRID), "/") == PeerSnapshot(None, reason=MOVED)


def test_a_lower_step_keeps_its_own_reason():
    assert written(World(None, own=HYBRID, ticks=None), "/").reason == EXITED


def test_an_own_cgroup_that_cannot_be_read_counts_as_one_with_v1():
    assert source(written(World("0::/\n", own=""), "/")) is IdentitySource.PIDFD


def test_the_step_of_this_kernel_is_the_one_that_a_live_peer_is_identified_by(pair):
    assert socket_step() is source(identify(pair[0]))


def test_without_peerpidfd_the_step_is_that_by_credentials(monkeypatch):
    monkeypatch.setattr("sockwarden.identity.peer.SO_PEERPIDFD", 9999)
    assert socket_step() is IdentitySource.CRED
