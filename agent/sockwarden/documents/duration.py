"""Durations as operators write them: ``90s``, ``6h``, ``1h30m``. Owns their spelling; limits are the caller's."""

from __future__ import annotations

import re
from typing import Final

_PARTS: Final = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration(text: str) -> float:
    """Return the seconds that a sequence of numbers with units says.

    Raises:
        ValueError: with the reason. A number without a unit is refused: seconds and minutes are too easily mixed up.
    """
    if not _PARTS.fullmatch(text):
        raise ValueError("it is not a number with a unit (ms, s, m, h, d), as in 90s or 1h30m")
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(text)) / 1000


def format_duration(seconds: float) -> str:
    """Return the shortest spelling that ``parse_duration`` reads as the same time, to the millisecond."""
    left = round(seconds * 1000)
    parts = []
    for unit, size in reversed(_MILLISECONDS.items()):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
