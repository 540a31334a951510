"""tracefs for as long as an attach needs it.

Owns one mount: hosts without systemd may not have it, and syscall tracepoints are looked up there by name.
The event itself outlives the mount, so nothing stays behind.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNT_POINT: Final = Path("/sys/kernel/tracing")
"""The empty directory that the kernel makes for it (Documentation/trace/ftrace.rst)."""

MOUNT_SECONDS: Final = 10.0


def is_mounted(mount_point: Path = MOUNT_POINT) -> bool:
    """Return whether tracefs is there: it always has a folder of events."""
    return (mount_point / "events").is_dir()


@contextlib.contextmanager
def mounted_tracefs(mount_point: Path = MOUNT_POINT) -> Iterator[None]:
    """Mount tracefs if it is not there, and undo that afterwards.

    A failed mount is ignored here: the lookup that needs it then fails and says which hook it missed.
    """
    mine = not is_mounted(mount_point) and _run("mount", "-t", "tracefs", "tracefs", str(mount_point))
    try:
        yield
    finally:
        if mine:
            _run("umount", str(mount_point))


def _run(*command: str) -> bool:
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=MOUNT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
