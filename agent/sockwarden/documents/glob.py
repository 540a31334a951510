"""Globs of paths: what may be written, and which names a component stands for.

Owns the syntax, which is that of glob(7) without the extensions of shells. Pure: finding files is another's.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from functools import lru_cache
from typing import Final

MAX_GLOB: Final = 1024
"""Characters; a path has at most 4,096, and nobody writes one of a quarter of that by hand."""

_MAGIC: Final = re.compile(r"[*?\[]")

_SET: Final = re.compile(r"\[!?\]?[^\]/]*\]")

_COMPILED: Final = 256


def parse_glob(text: str) -> str:
    """Return ``text`` if it is the glob of an absolute path.

    Raises:
        ValueError: with the reason, as a clause.
    """
    if not text.startswith("/"):
        raise ValueError("it does not start with /")
    if len(text) > MAX_GLOB:
        raise ValueError(f"it is longer than {MAX_GLOB} characters")
    if not text.isprintable():
        raise ValueError("it holds a control character")
    parts = text.split("/")[1:]
    if ".." in parts:
        raise ValueError("it holds ..")
    if text == "/" or posixpath.normpath(text) != text or text.startswith("//"):
        raise ValueError("it is not a plain path")
    for part in parts:
        if "**" in part:
            raise ValueError("** has no meaning here; write one * for each level")
        if "[" in _SET.sub("", part):
            raise ValueError("a [ has no ]")
    return text


def has_magic(part: str) -> bool:
    """Return whether a component stands for more than the one name that it is."""
    return _MAGIC.search(part) is not None


def matches(part: str, name: str) -> bool:
    """Return whether a component stands for ``name``. As in shells, only a written dot stands for a leading one."""
    if name.startswith(".") and not part.startswith("."):
        return False
    return _compiled(part).fullmatch(name) is not None


@lru_cache(maxsize=_COMPILED)
def _compiled(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part), re.DOTALL)
