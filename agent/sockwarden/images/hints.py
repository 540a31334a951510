"""What the names of a local image say about where it might come from. Forgeable, and used as such.

Owns how many of them are looked at. It must never say anything about what an image is.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi.reference import InvalidReference, parse_reference
from sockwarden.images.endpoints import Repository
from sockwarden.model import DIGEST

if TYPE_CHECKING:
    from sockwarden.dockerapi.reference import Reference
    from sockwarden.model import LocalImage

MAX_HINTS: Final = 16
"""Names of one image that are looked at, of each kind. They are free to make: their number must not cost us."""

_REMEMBERED: Final = 128
"""Images whose names are not read anew: at most 32 names of at most 1 KiB each."""


@dataclass(frozen=True, slots=True)
class Hints:
    """Repositories, digests that registries may know, and tags and digests with the repository that they stand for."""

    repositories: tuple[Repository, ...]
    digests: tuple[str, ...]
    references: tuple[tuple[Repository, str], ...]
    tags: tuple[tuple[Repository, str], ...]


def hints_of(image: LocalImage) -> Hints:
    """Read the names of an image, digests before tags; what is no reference ("<none>:<none>") is left out."""
    # The containerd store's ids are digests that registries know.
    own = () if image.manifest_digest is None else image.digests
    return _read((*image.repo_digests[:MAX_HINTS], *image.repo_tags[:MAX_HINTS]), own)


def repository_of(reference: Reference) -> Repository:
    """Return where a reference is asked for."""
    return Repository(sys.intern(reference.domain), reference.path)  # one text for all entries of a registry


@lru_cache(maxsize=_REMEMBERED)
def _read(names: tuple[str, ...], own: tuple[str, ...]) -> Hints:
    references = []
    for name in names:
        try:
            references.append(parse_reference(name))
        except InvalidReference:
            continue
    named = [(repository_of(one), one.digest or one.tag) for one in references]
    told = tuple(dict.fromkeys((repository, text) for repository, text in named if text is not None))
    return Hints(
        repositories=tuple(dict.fromkeys(repository for repository, _ in named)),
        digests=tuple(dict.fromkeys((*(text for _, text in told if DIGEST.fullmatch(text)), *own))),
        references=told,
        tags=tuple((repository, text) for repository, text in told if ":" not in text),
    )
