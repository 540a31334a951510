"""Who called connect() on an accepted unix socket, by the kernel's word.

Owns the three steps, strongest first: what the kernel wrote down in connect() itself, SO_PEERPIDFD, SO_PEERCRED. It
never trusts a process number on its own: the number is held to its process by a start time, read with or without a
pidfd. It never decides what the peer may do.

The identity is the connector's. Only the first step knows a process that has exited, or that left its cgroup after it
connected; on the lower steps one that connects, hands the socket to a child and exits leaves nobody to identify, and is
refused.

What was written down names a cgroup of the v2 tree. Where cgroup v1 is mounted too, an engine may use only that, and a
v2 path without any sign of a container proves nothing: then the lower steps must place the process, and what was
written down still binds them to the same process in the same cgroup.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, overload

from sockwarden.identity.cgroup import Place, hierarchies, placement
from sockwarden.identity.procfs import Procfs
from sockwarden.model import IdentitySource, Peer

if TYPE_CHECKING:
    from sockwarden.abi import Actor

SO_PEERPIDFD: Final = 77
"""Linux 6.5, include/uapi/asm-generic/socket.h (all architectures that Docker supports)."""

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

_TICK_NS: Final = 1_000_000_000 // TICKS_PER_SECOND

_UCRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid
_NO_SUCH_OPTION: Final = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP})
# Kernels before 6.16 give no pidfd for a process that has been reaped, and say EINVAL (fs/pidfs.c, kernel/fork.c).
_REAPED: Final = frozenset({errno.EINVAL, errno.ESRCH})

EXITED: Final = "the process that connected has exited"
NOT_VISIBLE: Final = "the process that connected is in a pid namespace that the agent cannot see"
REUSED: Final = "the process number of the peer now belongs to another process"
MOVED: Final = "the process that connected has moved to another cgroup since"

_V2: Final = ""
"""The key of the v2 tree in ``hierarchies``."""


class PeerSocket(Protocol):
    """An accepted unix stream socket, or the wrapper that an event loop gives for it."""

    @overload
    def getsockopt(self, level: int, optname: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...
    def fileno(self) -> int:
        """Return its descriptor."""


class ProcessFacts(Protocol):
    """What /proc says of a process; see ``procfs.Procfs``."""

    def start_ticks(self, pid: int) -> int | None:
        """Return when ``pid`` started, or None if it is gone."""

    def cgroup(self, pid: int) -> str | None:
        """Return the text of /proc/PID/cgroup, or None if it is gone."""

    def pidfd_pid(self, fd: int) -> int:
        """Return the pid behind a pidfd: -1 has exited, 0 is not visible."""


class Connectors(Protocol):
    """What the kernel wrote down in connect(); see ``kernel.connections.connectors.Connectors``."""

    def take(self, descriptor: int, /) -> Actor | None:
        """Return who connected an accepted socket, once; None where nobody was written down."""

    def cgroup_path(self, cgroup_id: int, /) -> str:
        """Return the path of a cgroup in the v2 tree, "" if nobody knows it."""


@dataclass(frozen=True, slots=True)
class PeerSnapshot:
    """A peer with its cgroups as /proc/PID/cgroup tells them.

    From the source KERNEL, the v2 line is that of connect(), and those of v1 are there only if they surely are the
    connector's; else all of them were read while the process surely was the connector.

    ``peer`` is None where nobody can be identified; then ``reason`` says why, without a full stop.
    """

    peer: Peer | None
    cgroup_lines: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.peer is None) != bool(self.reason):
            raise AssertionError("either a peer or a reason")


PROCFS: Final = Procfs()


def identify(
    sock: PeerSocket,
    procfs: ProcessFacts = PROCFS,
    connectors: Connectors | None = None,
    *,
    pidfd: bool = True,
) -> PeerSnapshot:
    """Return the peer of ``sock`` and its cgroups, or why it cannot be identified. Call it right after accept().

    Without ``connectors`` the first step is left out. ``pidfd=False`` does without SO_PEERPIDFD, as kernels before 6.5
    must: then the start time is read before and after the cgroup, and may not lie after the moment of this call. What
    that cannot see, unless the first step bound it, is a number that was reused while the connection still waited in
    the listen queue.
    """
    called = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        if len(credentials) != _UCRED.size:
            return _unknown("the kernel names no peer for this socket")
        pid, uid, gid = _UCRED.unpack(credentials)
        written = None if connectors is None else _written_down(connectors, sock.fileno(), pid)
        if written is not None:
            found = _by_kernel(procfs, written, pid, uid, gid)
            if found is not None:
                return found
        fd = _peer_pidfd(sock) if pidfd else None
        if fd == -1:
            return _unknown(EXITED)
        if fd is None:
            found = _by_credentials(procfs, pid, uid, gid, called)
        else:
            try:
                found = _by_pidfd(procfs, fd, pid, uid, gid)
            finally:
                os.close(fd)
    except (OSError, ValueError) as error:
        return _unknown(f"the peer cannot be read ({error})")
    return found if written is None else _bound(found, written)


@dataclass(frozen=True, slots=True)
class _Written:
    """What the kernel wrote down of a connector. ``path`` is "" where its cgroup cannot be found any more."""

    tgid: int
    ticks: int
    path: str


def _unknown(reason: str) -> PeerSnapshot:
    return PeerSnapshot(None, reason=reason)


def _written_down(connectors: Connectors, descriptor: int, pid: int) -> _Written | None:
    """Return what was written down of the peer that SO_PEERCRED calls ``pid``, which is 0 in a foreign namespace."""
    actor = connectors.take(descriptor)
    if actor is None or (pid > 0 and actor.tgid != pid):
        return None  # written down by another agent's rules, or about another connection
    return _Written(actor.tgid, actor.start_ns // _TICK_NS, connectors.cgroup_path(actor.cgroup_id))


def _by_kernel(procfs: ProcessFacts, written: _Written, pid: int, uid: int, gid: int) -> PeerSnapshot | None:
    """Return the peer by what was written down, None where its v2 path does not tell which container it is in."""
    if not written.path:
        return None
    lines = f"0::{written.path}\n"
    if knows_v1(procfs):
        if placement(lines).place is Place.HOST:
            return None
        lines = _surely_its_own(procfs, written, pid) or lines
    return PeerSnapshot(Peer(pid or written.tgid, uid, gid, written.ticks, IdentitySource.KERNEL), lines)


def knows_v1(procfs: ProcessFacts = PROCFS) -> bool:
    """Return whether cgroup v1 is mounted: every process is in the same hierarchies, so our own are asked.

    Raises:
        OSError: they cannot be read.
    """
    return hierarchies(procfs.cgroup(os.getpid()) or "").keys() != {_V2}


def socket_step() -> IdentitySource:
    """Return the strongest step that needs nothing written down: what this kernel tells of a socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = _peer_pidfd(ours)
        if fd is None:
            return IdentitySource.CRED
        os.close(fd)
        return IdentitySource.PIDFD


def _surely_its_own(procfs: ProcessFacts, written: _Written, pid: int) -> str:
    """Return the text of /proc/PID/cgroup if it is that of the connector, which has not moved; else nothing."""
    text = procfs.cgroup(pid) if pid > 0 else None
    # The start time comes last: a process that has its number now has had it since before it connected.
    if text is None or procfs.start_ticks(pid) != written.ticks:
        return ""
    return text if hierarchies(text).get(_V2) == written.path else ""


def _bound(found: PeerSnapshot, written: _Written) -> PeerSnapshot:
    """Return what a lower step found, if it is about the process that was written down, where it was."""
    if found.peer is None:
        return found
    if found.peer.start_ticks != written.ticks:
        return _unknown(REUSED)
    if written.path and hierarchies(found.cgroup_lines).get(_V2) != written.path:
        return _unknown(MOVED)
    return found


def _peer_pidfd(sock: PeerSocket) -> int | None:
    """Return a pidfd of the peer, -1 if the peer has been reaped, None if this kernel has no SO_PEERPIDFD."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        if error.errno in _NO_SUCH_OPTION:
            return None
        if error.errno in _REAPED:
            return -1
        raise


def _by_pidfd(procfs: ProcessFacts, fd: int, pid: int, uid: int, gid: int) -> PeerSnapshot:
    """Read by number first and ask the pidfd last: if the process still has its number now, it had it all the while."""
    ticks = procfs.start_ticks(pid) if pid > 0 else None
    lines = procfs.cgroup(pid) if pid > 0 else None
    now = procfs.pidfd_pid(fd)
    if now == 0:
        return _unknown(NOT_VISIBLE)
    if now < 0 or ticks is None or lines is None:
        return _unknown(EXITED)
    if now != pid:
        return _unknown(REUSED)
    return PeerSnapshot(Peer(pid, uid, gid, ticks, IdentitySource.PIDFD), lines)


def _by_credentials(procfs: ProcessFacts, pid: int, uid: int, gid: int, called: float) -> PeerSnapshot:
    if pid <= 0:
        return _unknown(NOT_VISIBLE)
    ticks = procfs.start_ticks(pid)
    lines = procfs.cgroup(pid)
    again = procfs.start_ticks(pid)
    if ticks is None or lines is None or again is None:
        return _unknown(EXITED)
    if ticks != again or ticks > called * TICKS_PER_SECOND:
        return _unknown(REUSED)
    return PeerSnapshot(Peer(pid, uid, gid, ticks, IdentitySource.CRED), lines)
