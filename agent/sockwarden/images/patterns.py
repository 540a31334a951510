"""The entries of an image list that stand for more than one reference: ``name:*`` and globs.

Owns which of them covers a repository or a tag. It must never be asked what an image is: a name that fits only says
which registry is worth asking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden.images.endpoints import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockwarden.dockerapi.reference import ImagePattern

MAX_REMEMBERED: Final = 4096
"""Repositories and tags whose entry is remembered. Names are free to make: when it is full, all is forgotten."""


class Patterns:
    """The entries of one list, looked up by repository and tag. All ``str`` are entries in canonical form."""

    def __init__(self) -> None:
        """Begin with none."""
        self.repositories: Final[dict[Repository, None]] = {}
        """Those of ``name:*``, in the order of the list."""
        self._whole: Final[list[ImagePattern]] = []
        self._tags: Final[list[ImagePattern]] = []
        self._found: Final[dict[tuple[Repository, str], str]] = {}

    def __bool__(self) -> bool:
        """Is there any?"""
        return bool(self.repositories or self._whole or self._tags)

    def __iter__(self) -> Iterator[str]:
        """Yield every entry."""
        yield from (f"{repository}:*" for repository in self.repositories)
        yield from map(str, (*self._whole, *self._tags))

    @property
    def with_tags(self) -> bool:
        """Is there a glob that means some tags only?"""
        return bool(self._tags)

    def add(self, entry: ImagePattern) -> None:
        """Take one entry, which is neither "*" nor a single reference."""
        if not entry.is_any_tag:
            self._tags.append(entry)
        elif "*" in entry.name:
            self._whole.append(entry)
        else:
            reference = entry.reference
            self.repositories[Repository(reference.domain, reference.path)] = None

    def for_any_tag(self, repository: Repository) -> str:
        """Return the entry that allows whatever this repository holds, "" for none."""
        if repository in self.repositories:
            return f"{repository}:*"
        return self._first(self._whole, repository, "*") if self._whole else ""

    def for_tag(self, repository: Repository, tag: str) -> str:
        """Return the glob that allows what this tag of this repository points to, "" for none."""
        return self._first(self._tags, repository, tag) if self._tags else ""

    def _first(self, entries: list[ImagePattern], repository: Repository, tag: str) -> str:
        key = (repository, tag)
        found = self._found.get(key)
        if found is None:
            covering = (
                str(entry)
                for entry in entries
                if entry.covers(repository.domain, repository.path) and entry.covers_tag(tag)
            )
            if len(self._found) >= MAX_REMEMBERED:
                self._found.clear()
            found = self._found[key] = next(covering, "")
        return found
