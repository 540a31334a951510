"""The ``*`` within an entry of an image list: what it may stand for, and where it may not stand.

Owns that syntax, which is sockwarden's own: Docker Desktop's examples write it and no page defines it. At most one
``*`` stands in each part of a repository's path and in the tag; it means any characters of that part, and never a
slash. It must never stand where somebody whom the operator does not know chooses the name.
"""

from __future__ import annotations

from typing import Final

STAR: Final = "*"

SHARED_REGISTRIES: Final = frozenset(
    {
        "docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
        "ghcr.io",
        "public.ecr.aws",
        "quay.io",
        "registry.gitlab.com",
    }
)
"""Registries where anybody gets a namespace for the asking: there the first part of a path must be written out."""

_FILLED: Final = "a"
"""What a ``*`` is replaced by to see whether any name fits: letters may stand beside every other character."""


def fits(glob: str, word: str) -> bool:
    """Does one part of a name, or a tag, fit this glob? Without a ``*`` it fits itself alone."""
    before, star, after = glob.partition(STAR)
    if not star:
        return glob == word
    return len(word) >= len(before) + len(after) and word.startswith(before) and word.endswith(after)


def path_fits(glob: str, path: str) -> bool:
    """Does the path of a repository fit part by part?"""
    parts, words = glob.split("/"), path.split("/")
    return len(parts) == len(words) and all(map(fits, parts, words))


def filled(text: str) -> str:
    """Return one text that the glob stands for, if it stands for any; the grammar of names judges it."""
    return text.replace(STAR, _FILLED)


def fault_of(domain: str, path: str, tag: str) -> tuple[str, str]:
    """Return what is wrong with the stars of an entry, and what to write instead; two empty texts for nothing."""
    parts = path.split("/")
    if STAR in domain:
        return "a * may not stand in the name of a registry", "write an entry for each registry"
    if any("**" in part for part in (*parts, tag)):
        return "** has no meaning here: a * never crosses a slash", "write one * for each part of the name, as a/*/*:*"
    if any(part.count(STAR) > 1 for part in (*parts, tag)):
        return "more than one * in a part of the name", "write one * in each part of the name, and one in the tag"
    if domain.lower().partition(":")[0] in SHARED_REGISTRIES and STAR in parts[0]:
        return (
            f"anybody can get a name on {domain} that the first * stands for",
            'write out the first part of the name, as testcontainers/*:*, or "*" for every image',
        )
    return "", ""
