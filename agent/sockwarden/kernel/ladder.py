"""The ladder of guard rungs, and which of them is in force.

Owns the order, the effect of each rung in words, and the report that ``doctor`` and ``status`` print. Pure:
trying a rung is the caller's work, handed in as a function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

AUTO: Final = "auto"
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to guard a socket in the kernel. ``blocking``: a denied connect() fails, nothing gets through.

    ``automatic``: ``auto`` may choose it. The rungs above ``tracepoint`` hold on stock kernels (tests/vm), but they end
    with the agent, and where nothing was swapped they also stop host services that have a mount namespace of their
    own. Who wants one names it.
    """

    name: str
    effect: str
    blocking: bool
    automatic: bool = False


RUNGS: Final = (
    Rung("fmod_ret", "connect() fails with EPERM", blocking=True),
    Rung("lsm", "connect() fails with EPERM", blocking=True),
    Rung("kprobe", "SIGKILL at connect(); not a wall: a second thread can send first", blocking=False),
    Rung("bcc", "SIGKILL at connect(), compiled on the host; not a wall", blocking=False),
    Rung(
        "tracepoint",
        "watches connect() and kills by pidfd; not a wall: a request can get through",
        blocking=False,
        automatic=True,
    ),
    Rung(NONE, "the gateway alone; the host is not walled", blocking=False, automatic=True),
)
"""Best first; ``none`` always works."""

NOT_AUTOMATIC: Final = "not chosen by itself in this version"

MODES: Final = (AUTO, *(rung.name for rung in RUNGS))


@dataclass(frozen=True, slots=True)
class Row:
    """One rung's answer: in force, or why not and what to do."""

    name: str
    in_force: bool
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class GuardReport:
    """The rung in force and one row for every rung, in the ladder's order."""

    rung: Rung
    rows: tuple[Row, ...]


def choose(mode: str, attempt: Callable[[Rung], str]) -> GuardReport:
    """Climb down until ``attempt`` holds, or try only the rung that ``mode`` names.

    ``attempt`` puts a rung in force and returns how it was proved; it raises KernelError if it cannot.

    Raises:
        KernelError: ``mode`` names a rung that cannot be had, or no rung at all.
    """
    if mode not in MODES:
        raise KernelError(f"{mode!r} is no guard mode", remedy=f"use one of {', '.join(MODES)}")
    rows: list[Row] = []
    chosen: Rung | None = None
    for rung in RUNGS:
        if chosen is not None:
            rows.append(Row(rung.name, in_force=False, reason=f"not needed: {chosen.name} is in force"))
            continue
        if mode not in (AUTO, rung.name):
            rows.append(Row(rung.name, in_force=False, reason=f"not tried: the configuration asks for {mode}"))
            continue
        if mode == AUTO and not rung.automatic:
            rows.append(Row(rung.name, in_force=False, reason=NOT_AUTOMATIC, remedy=f'set guard.mode = "{rung.name}"'))
            continue
        try:
            proof = rung.effect if rung.name == NONE else attempt(rung)
        except KernelError as error:
            if mode == rung.name:
                raise KernelError(
                    f"the guard rung {mode} cannot be had: {error}", errno=error.errno, remedy=error.remedy
                ) from error
            rows.append(Row(rung.name, in_force=False, reason=str(error), remedy=error.remedy))
            continue
        chosen = rung
        rows.append(Row(rung.name, in_force=True, reason=proof))
    if chosen is None:
        raise AssertionError("the rung 'none' always works")
    return GuardReport(chosen, tuple(rows))
