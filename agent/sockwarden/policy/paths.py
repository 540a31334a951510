"""Resolves a host path as the kernel would, over a few questions that an adapter answers.

Owns the walk: symlinks, ``..``, and the magic links of /proc, whose text is not where they lead. Must never touch
the file system itself; ``identity.paths`` does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINKS: Final = 40
"""Symlinks in one path before the kernel gives up (MAXSYMLINKS in include/linux/namei.h)."""

MAX_PATH: Final = 4095
"""Bytes of a path that the kernel takes (PATH_MAX without the closing NUL); bounds the work for a client's path."""

_HOST_ROOTS: Final = frozenset({"/proc/1/root", "/proc/self/root", "/proc/thread-self/root"})
"""Magic links that lead to the host's root directory, for the engine as for us."""

_MAGIC: Final = frozenset({"root", "cwd", "exe", "fd", "map_files", "task"})
"""Entries of /proc/PID that are, or hold, links into that process's own view of the file system (proc_pid(5))."""

_SELF: Final = frozenset({"self", "thread-self"})


class Unresolvable(Exception):  # noqa: N818 - an outcome of asking, always turned into a finding
    """Where a path leads cannot be said; the text says why, without a full stop."""


class Paths(Protocol):
    """What the judgement of mounts asks about the host's file system."""

    def resolve(self, path: str) -> str | None:
        """Return the real path of ``path``, symlinks followed, or None when it does not exist.

        Raises:
            Unresolvable: the path crosses a magic link, has too many links, or cannot be a path.
        """

    def identity(self, path: str) -> tuple[int, int] | None:
        """Return (st_dev, st_ino) of what ``path`` leads to, or None when it does not exist."""

    def device(self, path: str) -> int | None:
        """Return st_rdev when ``path`` leads to a block device, else None."""


def walk(path: str, readlink: Callable[[str], str | None]) -> str | None:
    """Return the real path of the absolute ``path``, or None when it does not exist.

    ``readlink`` returns the target of one symlink, None for what is no symlink, and raises FileNotFoundError for
    what does not exist. It is asked with paths that are free of symlinks up to their last part.

    Raises:
        Unresolvable: the path is not absolute, holds a NUL, crosses a magic link of /proc, or links too often.
    """
    if not path.startswith("/") or "\0" in path:
        raise Unresolvable("it is not an absolute path")
    if len(path) > MAX_PATH:
        raise Unresolvable("it is longer than any path")
    todo, real, links = path.split("/")[::-1], "", 0
    try:
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                real = real.rpartition("/")[0]
                continue
            real = f"{real}/{part}"
            if real in _HOST_ROOTS:
                real = ""
                continue
            target = None if _is_process(real) else readlink(real)
            if target is None:
                continue
            links += 1
            if links > MAX_LINKS:
                raise Unresolvable("it leads through too many symbolic links")
            todo += target.split("/")[::-1]
            real = "" if target.startswith("/") else real.rpartition("/")[0]
    except FileNotFoundError:
        return None
    return real or "/"


def _is_process(path: str) -> bool:
    """Say whether ``path`` is the directory of a process; raise for a magic link in one.

    Whether the process exists is not asked: it may a moment later.
    """
    parts = path.split("/", 4)  # "", "proc", PID, entry, rest
    if len(parts) < 3 or parts[1] != "proc" or not (parts[2] in _SELF or parts[2].isdecimal()):
        return False
    if len(parts) > 3 and parts[3] in _MAGIC:
        raise Unresolvable(f"{path} leads into a process's own view of the file system")
    return len(parts) == 3
