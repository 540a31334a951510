"""Reading a file of the administrator that the agent acts upon as root.

Owns what such a file must be: regular, small, and not writable by others. It must never wait for a file that
is none, such as a named pipe, and never put its contents into a text.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Stamp = tuple[int, int, int]
"""Inode, time of change in ns (chmod counts), size: another one means that the file is to be read again."""


def stamp_of(found: os.stat_result) -> Stamp:
    """Return what tells this state of the file from another."""
    return found.st_ino, found.st_ctime_ns, found.st_size


def read_own(path: Path, max_bytes: int) -> bytes:
    """Return the whole file.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is no regular file, belongs to or may be written by somebody else, or is too large.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others than its owner root may change it")
        text = file.read(max_bytes + 1)
    if len(text) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return text
