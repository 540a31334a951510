"""Faults of a document: collected until the end of the run, worded alike, shown with a caret.

Owns the limit on their number and how text of the operator is quoted. Never prints.
"""

from __future__ import annotations

import difflib
import unicodedata
from typing import TYPE_CHECKING, Final

from sockwarden.errors import DocumentError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockwarden.documents.place import Place

MAX_FAULTS: Final = 100
"""Faults listed for one file. Nobody repairs more than that in one go, and each may cost a search for a near name."""

MAX_QUOTED_CHARACTERS: Final = 80
"""How much of a name or value a message repeats, so that one line stays one line on a terminal."""

MAX_SHOWN_CHARACTERS: Final = 160
"""How much of a source line stands above the caret. A minified file is one line of up to a megabyte."""

_NEAR: Final = 0.6
"""Likeness from which a name is proposed (0 to 1): the default of difflib, which finds one or two slips."""


def quoted(text: str) -> str:
    """Return ``text`` in double quotes on one line, cut when long, with nothing that steers a terminal."""
    shown = text if len(text) <= MAX_QUOTED_CHARACTERS else text[:MAX_QUOTED_CHARACTERS] + "…"
    return '"' + "".join(_visible(character) for character in shown) + '"'


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that ``name`` was most likely meant to be, or None; case does not count."""
    spellings = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name[:MAX_QUOTED_CHARACTERS].lower(), spellings, n=1, cutoff=_NEAR)
    return spellings[found[0]] if found else None


class FaultList:
    """The faults of one file while it is being read."""

    def __init__(self, file: str) -> None:
        self.file: Final = file
        self._faults: list[Fault] = []
        self._left_off = 0

    @property
    def count(self) -> int:
        """How many faults have been recorded, listed or not."""
        return len(self._faults) + self._left_off

    def add(self, place: Place, message: str, remedy: str) -> None:
        """Record one fault; beyond ``MAX_FAULTS`` faults are only counted."""
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(self.file, place.line, place.column, message, remedy))
        else:
            self._left_off += 1

    def unknown(self, place: Place, what: str, name: str, known: Iterable[str], where: str = "") -> None:
        """Record that ``name`` is not one of ``known``, and propose the nearest (``what``: "key", "command"…)."""
        if len(self._faults) >= MAX_FAULTS:  # the search below is what costs
            self._left_off += 1
            return
        names = sorted(known)
        near = nearest(name, names)
        if near is not None:
            remedy = f"did you mean {quoted(near)}?"
        elif len(names) <= 12:
            remedy = "use one of: " + ", ".join(names) if names else "remove it"
        else:
            remedy = f"remove it, or use a known {what}"
        self.add(place, f"unknown {what} {quoted(name)}" + (f" in {where}" if where else ""), remedy)

    def raise_if_any(self) -> None:
        """Raise every fault recorded so far at once.

        Raises:
            DocumentError: if there is at least one.
        """
        if self._left_off:
            last = self._faults[-1]
            message = f"too many faults: {self._left_off} more are not listed"
            self._faults.append(
                Fault(self.file, last.line, last.column, message, "repair those listed, then check again")
            )
            self._left_off = 0
        if self._faults:
            raise DocumentError(self._faults)


def render_fault(fault: Fault, text: bytes) -> str:
    """Return the fault as compilers show it: place and message, the source line, a caret, the remedy.

    ``text`` is the file as it was read; it may be empty, or not be UTF-8.
    """
    place = f":{fault.line}:{fault.column}" if fault.line else ""
    rows = [f"{fault.file}{place}: {fault.message}"]
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if 1 <= fault.line <= len(lines):
        rows += _caret_rows(lines[fault.line - 1].rstrip(b"\r").decode("utf-8", "replace"), fault.column)
    if fault.remedy:
        rows.append(f"remedy: {fault.remedy}")
    return "\n".join(rows)


def _caret_rows(line: str, column: int) -> list[str]:
    if not line.strip():
        return []
    first = max(0, column - 1 - MAX_SHOWN_CHARACTERS // 2) if len(line) > MAX_SHOWN_CHARACTERS else 0
    shown = line[first : first + MAX_SHOWN_CHARACTERS]
    before = shown[: column - 1 - first]
    padding = "".join("\t" if character == "\t" else " " * _cells(character) for character in before)
    return [
        "  " + "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown),
        f"  {padding}^",
    ]


def _cells(character: str) -> int:
    """Return how many terminal cells a character takes (Unicode UAX 11, and combining marks take none)."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
