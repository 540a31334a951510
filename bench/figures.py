"""Arithmetic of the benchmark: medians with their range, and ratios that are taken within one round.

Pure. A ratio of two medians would mix rounds in which the host was quiet with rounds in which it was not.
"""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, with the lowest and the highest of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure of sockwarden has to be: a multiple of that of ``against``, or absolute where that is empty."""

    sense: str
    bound: float
    against: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if self.sense not in OPERATORS:
            raise AssertionError(f"no such comparison: {self.sense!r}")

    def reached(self, figure: float) -> bool:
        """Tell whether this figure, or this ratio, is good enough."""
        return OPERATORS[self.sense](figure, self.bound)

    def __str__(self) -> str:
        """Return the target as the table shows it."""
        against = f" x {self.against}" if self.against else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.sense} {self.bound:g}{unit}{against}"


def spread(values: Sequence[float]) -> Spread | None:
    """Return median and range, or None when nothing was measured."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def ratios(upper: Sequence[float | None], lower: Sequence[float | None]) -> list[float]:
    """Divide round by round; a round that lacks either figure, or has nothing to divide by, does not count."""
    return [a / b for a, b in zip(upper, lower, strict=True) if a is not None and b is not None and b > 0]


def differences(upper: Sequence[float | None], lower: Sequence[float | None]) -> list[float | None]:
    """Subtract round by round; None where either figure is missing."""
    return [None if a is None or b is None else a - b for a, b in zip(upper, lower, strict=True)]


def number(value: float) -> str:
    """Write a figure with three digits that matter, never in exponents."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
