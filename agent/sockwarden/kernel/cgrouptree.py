"""The cgroup v2 tree as files: where it is mounted, what is in it, which cgroup is ours.

Owns reading of the tree. Must never write to it. A directory's inode number is the cgroup's id, which is what
``bpf_get_current_cgroup_id`` returns (kernel: kernfs, from 5.5 on 64-bit hosts).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.kernel import process

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
