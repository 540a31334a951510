"""Places in a text: where a fault or a value stands, as editors count. Owns the counting, knows no format.

Lines end with LF alone (a CR before it is white space of that line) and count from 1. Columns count
characters, not bytes, from 1, and a tab is one character.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import Final

_NEWLINE: Final = re.compile(r"\n")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both counted from 1; both are 0 where the place is unknown."""

    line: int
    column: int

    def __post_init__(self) -> None:
        if (self.line, self.column) != (0, 0) and (self.line < 1 or self.column < 1):
            raise AssertionError(f"not a place: {self.line}:{self.column}")


START: Final = Place(1, 1)
"""The place of faults that concern a whole file."""

UNKNOWN: Final = Place(0, 0)
"""The place of faults for which the underlying parser gives none."""


class LineIndex:
    """Turns character offsets of one text into places, in logarithmic time."""

    def __init__(self, text: str) -> None:
        self._starts: Final = [0, *(match.end() for match in _NEWLINE.finditer(text))]

    def place(self, offset: int) -> Place:
        """Return the place of the character at ``offset`` (counted from 0)."""
        line = bisect.bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)
