"""The cgroup v2 tree as files: where it is mounted, what is in it, which cgroup is ours.

Owns reading of the tree. Must never write to it. A directory's inode number is the cgroup's id, which is what
``bpf_get_current_cgroup_id`` returns (kernel: kernfs, from 5.5 on 64-bit hosts). No id is given twice: its upper half
counts how often the lower one was (fs/kernfs/dir.c). Nor does a cgroup of the v2 tree ever change its name.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_WALK: Final = 16384
"""As many as the tracker holds: more would only push one another out."""


def mount_point(mounts: Path = process.PROC / "mounts") -> Path | None:
    """Return where the v2 tree is mounted, or None."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    return next((Path(line.split(" ")[1]) for line in lines if line.split(" ")[2:3] == ["cgroup2"]), None)


def walk(top: Path) -> Iterator[tuple[int, str]]:
    """Yield (id, path from the tree's root) of at most MAX_WALK cgroups; those that vanish meanwhile are left out."""
    waiting = [""]
    for _ in range(MAX_WALK):
        if not waiting:
            return
        path = waiting.pop(0)
        try:
            with os.scandir(f"{top}{path}") as entries:
                waiting.extend(f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False))
            yield (top / path.lstrip("/")).stat().st_ino, path or "/"
        except OSError:
            continue


class _Handle(ctypes.Structure):
    """``struct file_handle`` (linux/fcntl.h) with an identifier of 8 bytes."""

    _fields_ = (("handle_bytes", ctypes.c_uint32), ("handle_type", ctypes.c_int32), ("cgroup_id", ctypes.c_uint64))


_FILEID_KERNFS: Final = 0xFE
"""linux/exportfs.h: the handle of a file of kernfs is its id, and nothing else."""

_c: Final = ctypes.CDLL(None)


class Handles:
    """Finds cgroups by their ids, as open_by_handle_at(2) does; that needs CAP_DAC_READ_SEARCH."""

    def __init__(self, top: Path | None) -> None:
        """Look in the tree that is mounted at ``top``."""
        self._top: Final = top

    def path_of(self, cgroup_id: int) -> str:
        """Return the path of a living cgroup from the tree's root, "" where there is none or it cannot be had."""
        if self._top is None or cgroup_id <= 0:
            return ""
        try:
            mount = os.open(self._top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            handle = _Handle(ctypes.sizeof(ctypes.c_uint64), _FILEID_KERNFS, cgroup_id)
            # O_DIRECTORY: the other files of the tree have ids too.
            found = _c.open_by_handle_at(mount, ctypes.byref(handle), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(mount)
        return "" if found < 0 else _name_of(found, os.fsencode(self._top))


def _name_of(descriptor: int, top: bytes) -> str:
    """Return the path below ``top`` of an open folder, and close it."""
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}".encode())
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    if path == top:
        return "/"
    # What does not begin so lies outside of what is mounted there; what is gone has a mark at its end.
    if not path.startswith(top + b"/") or path.endswith(_DELETED):
        return ""
    return path[len(top) :].decode("utf-8", "backslashreplace")


_DELETED: Final = b" (deleted)"
"""What the kernel adds to the path of an open file that was removed (fs/d_path.c)."""


def own_path() -> str | None:
    """Return this process's path in the v2 tree, None if it has none."""
    try:
        lines = (process.PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line[3:] for line in lines if line.startswith("0::")), None)


def own_id(top: Path | None) -> int:
    """Return the id of this process's cgroup; 0 if there is no v2 tree."""
    if top is None:
        return 0
    try:
        return (top / (own_path() or "/").lstrip("/")).stat().st_ino
    except OSError:
        return 0
