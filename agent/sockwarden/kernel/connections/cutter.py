"""Ends one connection without touching the process that holds it: pidfd_getfd(2) and shutdown(2).

Owns the way from a process and a socket's inode to a descriptor of that socket. Must never act on a number alone:
the process is held by pidfd before its start time is read, and the duplicate is asked for its inode before it is
shut down. A shutdown acts on the socket, so it ends the connection for every process that has a descriptor of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.kernel.life import process
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

MAX_DRAIN_BYTES: Final = 16 * 1024 * 1024
"""Read and thrown away of what the server has answered already; more than a socket's buffers hold."""

_DRAIN_STEP: Final = 256 * 1024

_SYS_PIDFD_GETFD: Final = 438
"""The same number on every architecture (include/uapi/asm-generic/unistd.h, Linux 5.6)."""

_SOCKET_LINK: Final = "socket:["


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: a process that has a descriptor of the socket ``inode``.

    ``start_ticks`` as in /proc/PID/stat.
    """

    pid: int
    start_ticks: int
    inode: int


def sockets_of(pid: int) -> dict[int, int]:
    """Return descriptor numbers by the inode of their socket; empty for a process that is gone.

    Raises:
        PermissionError: the process is not ours to look into.
    """
    found: dict[int, int] = {}
    try:
        with os.scandir(process.PROC / str(pid) / "fd") as descriptors:
            for descriptor in descriptors:
                try:
                    link = os.readlink(descriptor.path)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # closed meanwhile
                if link.startswith(_SOCKET_LINK):
                    found[int(link[len(_SOCKET_LINK) : -1])] = int(descriptor.name)
    except PermissionError:
        raise
    except OSError:
        return {}
    return found


def cut(ends: Collection[End]) -> Outcome:
    """End one connection by the first of ``ends``, its own two, that can be had.

    Returns:
        ``DONE``, ``GONE`` where no end exists any more, ``REFUSED`` where the kernel gives none of them.
    """
    outcome = Outcome.GONE
    for end in ends:
        this = _on(end, _shut)
        if this is Outcome.DONE:
            return this
        if this is Outcome.REFUSED:
            outcome = this
    return outcome


def connector(end: End) -> int:
    """Return the process that connected to the accepted socket ``end`` (SO_PEERCRED), 0 where nobody can say."""
    found = [0]

    def ask(end_socket: socket.socket) -> None:
        credentials = end_socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        found[0] = int.from_bytes(credentials[:4], "little")

    return found[0] if _on(end, ask) is Outcome.DONE else 0


def _on(end: End, act: Callable[[socket.socket], None]) -> Outcome:
    """Act on a duplicate of the descriptor."""
    try:
        with _held(end) as duplicate:
            if duplicate is None:
                return Outcome.GONE
            act(duplicate)
    except ProcessLookupError:
        return Outcome.GONE
    except OSError:
        return Outcome.REFUSED
    return Outcome.DONE


@contextlib.contextmanager
def _held(end: End) -> Iterator[socket.socket | None]:
    pidfd = os.pidfd_open(end.pid)
    try:
        # The pidfd came first: if the start time read now is right, it was right when it was opened.
        number = sockets_of(end.pid).get(end.inode) if process.start_ticks(end.pid) == end.start_ticks else None
        if number is None:
            yield None
            return
        descriptor = _duplicate(pidfd, number)
    finally:
        os.close(pidfd)
    if descriptor is None:
        yield None
        return
    status = os.fstat(descriptor)
    if not stat.S_ISSOCK(status.st_mode) or status.st_ino != end.inode:
        os.close(descriptor)  # the number was given to something else meanwhile
        yield None
        return
    with socket.socket(fileno=descriptor) as duplicate:
        yield duplicate


def _duplicate(pidfd: int, number: int) -> int | None:
    """Return a duplicate of a descriptor of another process, None if it closed it; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
    if descriptor >= 0:
        return descriptor
    code = ctypes.get_errno()
    if code == errno.EBADF:
        return None
    raise OSError(code, os.strerror(code))


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # the other end has gone
            raise
    # What was answered already still stands in the queue, and shutdown() leaves it readable.
    left = MAX_DRAIN_BYTES
    with contextlib.suppress(OSError):
        while left > 0 and (data := end.recv(_DRAIN_STEP, socket.MSG_DONTWAIT)):
            left -= len(data)
