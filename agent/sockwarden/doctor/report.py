"""A diagnosis as text in aligned columns, or as JSON values. Pure; colour is the caller's."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from sockwarden.doctor.diagnosis import Mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sockwarden.doctor.diagnosis import Diagnosis, Line

STYLES: Final = {
    Mark.OK: "green",
    Mark.NO: "dim",
    Mark.WARN: "yellow",
    Mark.UNTOLD: "yellow",
    Mark.OPEN: "red",
}
"""The colour of each mark."""

SUBJECT_COLUMNS: Final = 34
"""At most, for the subjects of a section; the text of a longer one begins on the next line."""

_MARK_COLUMNS: Final = max(len(mark.value) for mark in Mark)


def text_lines(diagnosis: Diagnosis, paint: Callable[[str, str], str], width: int) -> Iterator[str]:
    """Yield the lines for a reader whose screen has ``width`` columns; ``paint(text, style)`` colours a text."""
    for section in diagnosis.sections:
        yield paint(section.title, "bold")
        subject = min(SUBJECT_COLUMNS, max((len(line.subject) for line in section.lines), default=0))
        for line in section.lines:
            yield from _rows(line, subject, paint, width)
        yield ""
    if diagnosis.advice:
        yield paint("What to do", "bold")
        for advice in diagnosis.advice:
            yield from textwrap.wrap(advice, width, initial_indent="  - ", subsequent_indent="    ", **_PLAIN)
        yield ""
    yield paint(diagnosis.conclusion, "red" if diagnosis.is_open else "green")


_PLAIN: Final[dict[str, Any]] = {"break_long_words": False, "break_on_hyphens": False}


def _rows(line: Line, columns: int, paint: Callable[[str, str], str], width: int) -> Iterator[str]:
    margin = " " * (_MARK_COLUMNS + 4 + columns + 2)
    mark = paint(f"{line.mark.value:<{_MARK_COLUMNS}}", STYLES[line.mark])
    rows = textwrap.wrap(line.text, max(width - len(margin), SUBJECT_COLUMNS), **_PLAIN) or [""]
    if len(line.subject) > columns:
        yield f"  {mark}  {line.subject}"
    else:
        yield f"  {mark}  {line.subject:<{columns}}  {rows.pop(0)}".rstrip()
    for row in rows:
        yield f"{margin}{row}".rstrip()


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the JSON values of ``sockwarden doctor --json``."""
    return {
        "open": diagnosis.is_open,
        "conclusion": diagnosis.conclusion,
        "advice": list(diagnosis.advice),
        "sections": {
            section.name: [
                {"mark": line.mark.name.lower(), "subject": line.subject, "text": line.text, "remedy": line.remedy}
                for line in section.lines
            ]
            for section in diagnosis.sections
        },
    }
