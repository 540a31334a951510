"""A host's file system as a table, which answers as the real one does."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from sockwarden.policy.paths import Unresolvable, walk

if TYPE_CHECKING:
    from collections.abc import Iterable


class FakePaths:
    """Directories and files by path, symlinks by path with a target; hard links share a name in ``same``.

    ``block`` gives block devices their number; every directory of ``mounted`` starts a file system of that number.
    """

    def __init__(
        self,
        files: Iterable[str] = (),
        *,
        links: dict[str, str] | None = None,
        same: dict[str, str] | None = None,
        block: dict[str, int] | None = None,
        mounted: dict[str, int] | None = None,
    ) -> None:
        self.links = dict(links or {})
        self.same = dict(same or {})
        self.block = dict(block or {})
        self.mounted = {"/": 1, **(mounted or {})}
        self.nodes = {"/", "/proc"}
        for path in (*files, *self.links, *self.same, *self.block):
            while path not in self.nodes:
                self.nodes.add(path)
                path = posixpath.dirname(path)  # noqa: PLW2901 - every directory above it exists too

    def resolve(self, path: str) -> str | None:
        return walk(path, self._readlink)

    def identity(self, path: str) -> tuple[int, int] | None:
        try:
            real = self.resolve(path)
        except Unresolvable:
            return None
        if real is None:
            return None
        name = self.same.get(real, real)
        top = max((top for top in self.mounted if name == top or name.startswith(top.rstrip("/") + "/")), key=len)
        return self.mounted[top], 2 + sorted(self.nodes | {name}).index(name)

    def device(self, path: str) -> int | None:
        return self.block.get(path)

    def _readlink(self, path: str) -> str | None:
        if path in self.links:
            return self.links[path]
        if path not in self.nodes:
            raise FileNotFoundError(path)
        return None
