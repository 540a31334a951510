"""One process of this host, by number and start time, and the end of it by pidfd.

Owns reading ``/proc/PID`` and the kill. Must never signal a number: between a report and the signal the
number may belong to somebody else.
"""

from __future__ import annotations

import enum
import os
import signal
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")

TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
"""Length of the unit of start times in /proc/PID/stat (proc(5))."""

_START_FIELD: Final = 19
"""Field 22 of /proc/PID/stat, counted from the one after the name's closing bracket."""


class Outcome(enum.Enum):
    """What became of a process that was to be killed, or of a connection that was to be cut."""

    DONE = "done"
    GONE = "gone"  # it ended before, or the number is somebody else's by now
    REFUSED = "refused"


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in ticks since boot, or None if it is gone."""
    try:
        stat = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in brackets and may hold brackets and spaces itself; the last bracket ends it.
    return int(stat.rpartition(b")")[2].split()[_START_FIELD])


def to_ticks(start_ns: int) -> int:
    """Return a start time of the kernel as /proc shows it (kernel: nsec_to_clock_t)."""
    return start_ns // TICK_NS


def cgroup_path(pid: int) -> str:
    """Return the process's cgroup in the v2 tree, else the deepest in any v1 tree; "" if it is gone."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="backslashreplace").splitlines()
    except OSError:
        return ""
    paths = {line.split(":", 2)[0]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    unified = paths.pop("0", "/")
    # On hybrid hosts the v2 tree exists but an old engine may not use it.
    return unified if unified != "/" else max(paths.values(), key=len, default="/")


def namespace(pid: int | str, kind: str) -> int:
    """Return the number of one namespace of a process, 0 if it is gone."""
    try:
        return (PROC / str(pid) / "ns" / kind).stat().st_ino
    except OSError:
        return 0


def host_mount_namespace() -> int:
    """Return the mount namespace of the host's first process, else our own if that may not be read."""
    return namespace(1, "mnt") or namespace("self", "mnt")


def owner(pid: int) -> tuple[int, int]:
    """Return uid and gid of a process as /proc shows them, (0, 0) if it is gone."""
    try:
        status = (PROC / str(pid)).stat()
    except OSError:
        return 0, 0
    return status.st_uid, status.st_gid


def name(pid: int) -> str:
    """Return the process's short name, "" if it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="backslashreplace").rstrip("\n")
    except OSError:
        return ""


def kill(pid: int, expected_start_ticks: int) -> Outcome:
    """Send SIGKILL to exactly the process that had this number and start time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return Outcome.GONE
    except OSError:
        return Outcome.REFUSED
    try:
        # The descriptor came first: if the start time read now is right, it was right when it was opened.
        if start_ticks(pid) != expected_start_ticks:
            return Outcome.GONE
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return Outcome.GONE
    except OSError:
        return Outcome.REFUSED
    finally:
        os.close(pidfd)
    return Outcome.DONE
