"""Where audit lines go: a file, or standard output.

Owns the descriptor. It never blocks the event loop on a slow reader, never follows a link that somebody put in the
way, and never raises while writing: a line that cannot be written is lost, counted, and said to be lost once there is
room again.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from typing import Final

from sockwarden.errors import PermissionNeededError, SockwardenError
from sockwarden.observe.line import line_of, timestamp

STANDARD_OUTPUT: Final = "-"

_CREATE: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MODE: Final = 0o600


class AuditSink:
    """An open place for lines. ``path`` is a file, or ``-`` for standard output. For one thread."""

    def __init__(self, path: str) -> None:
        """Open the sink.

        Raises:
            PermissionNeededError: the file may not be written.
            SockwardenError: the file is not one that only its owner can write, or cannot be opened.
        """
        self._path: Final = path
        self._descriptor, self._socket = _open(path)
        self._lost_since = 0
        self._torn = False
        self.lost = 0  # lines, since the start
        self.last_error = ""

    def write(self, line: bytes) -> bool:
        """Write one line by one system call; False means that it was lost. Never raises, never waits."""
        data = line
        if self._lost_since:
            data = line_of({"time": timestamp(time.time()), "event": "audit-lost", "lost": self._lost_since}) + line
        if self._torn:
            data = b"\n" + data  # ends what a full disk has cut off
        try:
            written = self._put(data)
        except (OSError, ValueError) as error:
            written, self.last_error = 0, str(error)
        if written == len(data):
            self._lost_since, self._torn = 0, False
            return True
        self._torn = self._torn or written > 0
        self._lost_since += 1
        self.lost += 1
        return False

    def reopen(self) -> None:
        """Open the file anew, as after logrotate has moved it. Raises as above, and then the old one stays in use."""
        if self._path == STANDARD_OUTPUT:
            return
        descriptor, sock = _open(self._path)
        self.close()
        self._descriptor, self._socket = descriptor, sock
        self._torn = False

    def close(self) -> None:
        """Close the descriptor; later lines are lost."""
        if self._socket is not None:
            self._socket.close()
        elif self._descriptor >= 0:
            os.close(self._descriptor)
        self._socket, self._descriptor = None, -1

    def _put(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._descriptor, data)


def _open(path: str) -> tuple[int, socket.socket | None]:
    if path == STANDARD_OUTPUT:
        return _open_standard_output()
    try:
        descriptor = os.open(path, _CREATE, _MODE)
    except PermissionError as error:
        raise PermissionNeededError(
            f"no permission to write {path}", remedy="run as root, or set audit.file"
        ) from error
    except OSError as error:
        remedy = "give the file itself, not a symbolic link" if error.errno == errno.ELOOP else "set audit.file"
        raise SockwardenError(f"cannot open {path}: {error.strerror}", remedy=remedy) from error
    status = os.fstat(descriptor)
    fault = ""
    if not stat.S_ISREG(status.st_mode):
        fault = "it is not a plain file"
    elif status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fault = "others than its owner can write it"
    elif status.st_nlink != 1:
        fault = "it has another name elsewhere (a hard link)"
    if fault:
        os.close(descriptor)
        raise SockwardenError(f"{path} is not used for the audit trail: {fault}", remedy="remove it, or set audit.file")
    return descriptor, None


def _open_standard_output() -> tuple[int, socket.socket | None]:
    """Return standard output in a form that never waits, without changing the flags that other processes share."""
    try:
        if stat.S_ISSOCK(os.fstat(1).st_mode):  # the journal
            return -1, socket.socket(fileno=os.dup(1))
        return os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC), None
    except OSError as error:
        raise SockwardenError(f"cannot write to standard output: {error.strerror}", remedy="set audit.file") from error
