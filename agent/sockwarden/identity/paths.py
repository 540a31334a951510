"""Answers the questions of ``policy.paths`` from the host's real file system.

Owns the system calls of the judgement of mounts. Must never judge, and never open a file.
"""

from __future__ import annotations

import os
import stat

from sockwarden.policy.paths import Unresolvable, walk


class HostPaths:
    """The host's file system as this process sees it. The agent runs in the host's mount namespace and root."""

    __slots__ = ()

    def resolve(self, path: str) -> str | None:
        """Return the real path, or None when it does not exist; raise ``Unresolvable`` as ``walk`` does."""
        return walk(path, _readlink)

    def identity(self, path: str) -> tuple[int, int] | None:
        """Return (st_dev, st_ino) of what ``path`` leads to, or None when it cannot be looked at."""
        status = _stat(path)
        return (status.st_dev, status.st_ino) if status else None

    def device(self, path: str) -> int | None:
        """Return st_rdev when ``path`` leads to a block device, else None."""
        status = _stat(path)
        return status.st_rdev if status and stat.S_ISBLK(status.st_mode) else None


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL or half a surrogate pair, no path of any file
        return None


def _readlink(path: str) -> str | None:
    """Return a symlink's target, or None for anything else; FileNotFoundError for what does not exist.

    A magic link is known by its size, which is not the length of its text (proc and nsfs leave it 0 or 64). Those
    with a relative text are plain links that the kernel makes, in /sys for one.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            return None
        target = os.readlink(path)
    except (NotADirectoryError, FileNotFoundError, ValueError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise Unresolvable(f"{path} cannot be read: {error.strerror}") from None
    if status.st_size != len(os.fsencode(target)) and target.startswith("/"):
        raise Unresolvable(f"{path} is a link that the kernel made, whose text is not where it leads")
    return target
