"""Who called connect() on an accepted unix socket, by the kernel's word.

Owns SO_PEERPIDFD and SO_PEERCRED. It never trusts a process number on its own: the number is held to its process by a
pidfd, or by a start time that did not change. It never decides what the peer may do.

The identity is the connector's. A process that connects, hands the socket to a child and exits leaves nobody to
identify, and is refused.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final, Protocol, overload

from sockwarden.identity.procfs import Procfs
from sockwarden.model import IdentitySource, Peer

SO_PEERPIDFD: Final = 77
"""Linux 6.5, include/uapi/asm-generic/socket.h (all architectures that Docker supports)."""

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

_UCRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid
_NO_SUCH_OPTION: Final = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP})
# Kernels before 6.16 give no pidfd for a process that has been reaped, and say EINVAL (fs/pidfs.c, kernel/fork.c).
_REAPED: Final = frozenset({errno.EINVAL, errno.ESRCH})

EXITED: Final = "the process that connected has exited"
NOT_VISIBLE: Final = "the process that connected is in a pid namespace that the agent cannot see"
REUSED: Final = "the process number of the peer now belongs to another process"


class PeerSocket(Protocol):
    """An accepted unix stream socket, or the wrapper that an event loop gives for it."""

    @overload
    def getsockopt(self, level: int, optname: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


class ProcessFacts(Protocol):
    """What /proc says of a process; see ``procfs.Procfs``."""

    def start_ticks(self, pid: int) -> int | None:
        """Return when ``pid`` started, or None if it is gone."""

    def cgroup(self, pid: int) -> str | None:
        """Return the text of /proc/PID/cgroup, or None if it is gone."""

    def pidfd_pid(self, fd: int) -> int:
        """Return the pid behind a pidfd: -1 has exited, 0 is not visible."""


@dataclass(frozen=True, slots=True)
class PeerSnapshot:
    """A peer with the text of its /proc/PID/cgroup, both read while the process was surely the connector.

    ``peer`` is None where nobody can be identified; then ``reason`` says why, without a full stop.
    """

    peer: Peer | None
    cgroup_lines: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.peer is None) != bool(self.reason):
            raise AssertionError("either a peer or a reason")


PROCFS: Final = Procfs()


def identify(sock: PeerSocket, procfs: ProcessFacts = PROCFS, *, pidfd: bool = True) -> PeerSnapshot:
    """Return the peer of ``sock`` and its cgroups, or why it cannot be identified. Call it right after accept().

    ``pidfd=False`` does without SO_PEERPIDFD, as kernels before 6.5 must: then the start time is read before and after
    the cgroup, and may not lie after the moment of this call. What that cannot see is a number that was reused while
    the connection still waited in the listen queue.
    """
    called = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        if len(credentials) != _UCRED.size:
            return _unknown("the kernel names no peer for this socket")
        pid, uid, gid = _UCRED.unpack(credentials)
        fd = _peer_pidfd(sock) if pidfd else None
        if fd == -1:
            return _unknown(EXITED)
        if fd is None:
            return _by_credentials(procfs, pid, uid, gid, called)
        try:
            return _by_pidfd(procfs, fd, pid, uid, gid)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        return _unknown(f"the peer cannot be read ({error})")


def _unknown(reason: str) -> PeerSnapshot:
    return PeerSnapshot(None, reason=reason)


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
