"""Reads what /proc says of one process: start time, cgroup, and the process behind a pidfd.

Owns the paths below /proc and the parsing of ``stat``. It never decides whose process it is: the number may have been
reused, so ``peer`` and ``container`` compare start times.
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

READ_LIMIT: Final = 64 * 1024
"""More than any real /proc/PID/cgroup: a path is at most 4,096 bytes, and a host has about a dozen hierarchies."""

_START_TIME: Final = 19
"""Index of field 22 (starttime, proc(5)) among the fields that follow the process name, which is field 2."""

PIDFD_GET_INFO: Final = 0xC040FF0B
"""Linux 6.13, include/uapi/linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info) with its first 64 bytes."""

_INFO: Final = struct.Struct("=QQI44x")  # mask, cgroup id, pid
_INFO_PID: Final = _INFO.pack(1, 0, 0)  # PIDFD_INFO_PID


def parse_start_ticks(stat: bytes) -> int:
    """Return the start time in clock ticks since boot from the text of /proc/PID/stat.

    The name in parentheses is chosen by the process and may hold spaces and parentheses; the last ``)`` ends it.

    Raises:
        ValueError: the text is not that of a stat file.
    """
    fields = stat[stat.rindex(b")") + 1 :].split()
    if len(fields) <= _START_TIME:
        raise ValueError("the stat file is cut short")
    return int(fields[_START_TIME])


def parse_pidfd_pid(fdinfo: bytes) -> int:
    """Return the pid from /proc/self/fdinfo/FD of a pidfd: -1 has been reaped, 0 is in a namespace not visible here.

    Raises:
        ValueError: the text does not describe a pidfd.
    """
    for line in fdinfo.splitlines():
        if line.startswith(b"Pid:"):
            return int(line[4:])
    raise ValueError("the descriptor is not a pidfd")


class Procfs:
    """The proc file system mounted at ``root``. Its methods return None for a process that is gone."""

    def __init__(self, root: str = "/proc") -> None:
        self._root: Final = root

    def start_ticks(self, pid: int) -> int | None:
        """Return when ``pid`` started, in clock ticks since boot.

        Raises:
            OSError: the file exists but cannot be read, or this process is out of descriptors.
        """
        text = self._read(f"{self._root}/{pid}/stat")
        return None if text is None else parse_start_ticks(text)

    def cgroup(self, pid: int) -> str | None:
        """Return the text of /proc/PID/cgroup; bytes that are not UTF-8 are escaped, so that they match no name.

        Raises:
            OSError: the file exists but cannot be read, or is longer than READ_LIMIT.
        """
        text = self._read(f"{self._root}/{pid}/cgroup")
        return None if text is None else text.decode("utf-8", "backslashreplace")

    def pidfd_pid(self, fd: int) -> int:
        """Return the pid behind the pidfd ``fd`` of this process (see ``parse_pidfd_pid``).

        Raises:
            OSError: the descriptor is not open.
        """
        try:
            pid: int = _INFO.unpack(fcntl.ioctl(fd, PIDFD_GET_INFO, _INFO_PID))[2]
        except OSError:
            pass  # an older kernel, or a process that is gone or not visible here: /proc tells which
        else:
            return pid
        text = self._read(f"{self._root}/self/fdinfo/{fd}")
        if text is None:
            raise OSError(f"descriptor {fd} is not open")
        return parse_pidfd_pid(text)

    @staticmethod
    def _read(path: str) -> bytes | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return None
        try:
            text = os.read(fd, READ_LIMIT)
        except ProcessLookupError:
            return None
        finally:
            os.close(fd)
        if len(text) == READ_LIMIT:
            raise OSError(f"{path} is longer than {READ_LIMIT} bytes")
        return text
