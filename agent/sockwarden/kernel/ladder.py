"""The ladder of guard rungs, and which of them is in force.

Owns the order, the effect of each rung in words, what each needs, and the report that ``doctor`` and ``status``
print. Pure: what the machine offers comes as answers, and trying a rung is the caller's work, handed in as a function.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockwarden.kernel.probes import Answer

AUTO: Final = "auto"
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to guard a socket in the kernel. ``blocking``: a denied connect() fails, nothing gets through.

    ``strength`` compares what rungs do to a connection that must not be: rungs that do the same are equally strong.
    """

    name: str
    effect: str
    strength: int
    blocking: bool = False


_WALL: Final = "connect() fails with EPERM, by the socket's object"
_NO_WALL: Final = (
    "told by the socket's object; the connection is cut, and with the action kill the process is ended; not a wall: "
    "a request can get through first"
)

RUNGS: Final = (
    Rung("fmod_ret", _WALL, strength=3, blocking=True),
    Rung("lsm", _WALL, strength=3, blocking=True),
    Rung("kprobe", _NO_WALL, strength=2),
    Rung("bcc", f"compiled on this host; {_NO_WALL}", strength=2),
    Rung(
        "tracepoint",
        "not a wall: a request can get through first; the connection is cut, and with the action kill the process is "
        "ended by pidfd; watches connect()",
        strength=1,
    ),
    Rung(NONE, "the gateway alone; the host is not walled", strength=0),
)
"""Best first; ``none`` always works."""

MODES: Final = (AUTO, *(rung.name for rung in RUNGS))

_CORE: Final = ("btf", "libbpf", "capabilities", "lockdown")

NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "fmod_ret": _CORE,
    "lsm": _CORE,
    "kprobe": (*_CORE, "kprobes"),
    "bcc": ("libbpf", "capabilities", "lockdown", "kprobes"),
    "tracepoint": _CORE,
    NONE: (),
}
"""The answers without which a rung is not even tried, most basic first."""

BCC_NOT_NEEDED: Final = "the kernel has BTF, for which kprobe needs no compiler on the host"


class State(enum.Enum):
    """What became of a rung."""

    IN_FORCE = "in force"
    PROVED = "can be had"  # by a trial that was taken down again
    NOT_TRIED = "not tried"
    NOT_NEEDED = "not needed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """One rung's answer: in force, or why not and what to do."""

    name: str
    state: State
    reason: str
    remedy: str = ""

    @property
    def in_force(self) -> bool:
        """Whether this is the rung that guards."""
        return self.state is State.IN_FORCE


@dataclass(frozen=True, slots=True)
class GuardReport:
    """The rung in force and one row for every rung, in the order in which they were asked.

    ``gap`` says what can slip past a blocking rung on this machine, "" where none is known.
    """

    rung: Rung
    rows: tuple[Row, ...]
    gap: str = ""


def rung_named(name: str) -> Rung:
    """Return the rung of that name.

    Raises:
        KernelError: there is none.
    """
    for rung in RUNGS:
        if rung.name == name:
            return rung
    raise KernelError(f"{name!r} is no guard rung", remedy=f"use one of {', '.join(rung.name for rung in RUNGS)}")


def ordered(answers: Iterable[Answer]) -> tuple[Rung, ...]:
    """Return the rungs in the order in which this machine should be asked for them.

    A fully preemptible kernel can switch tasks inside of a tracing program, and skips the program for the task that
    comes on the same processor meanwhile (kernel/bpf/trampoline.c: ``__bpf_prog_enter_recur``): its connect() passes.
    LSM programs are not skipped from Linux 6.2 on (``bpf_prog_check_recur``), so there ``lsm`` comes first.
    """
    by_name = {answer.name: answer.ok for answer in answers}
    skips = not by_name.get("preempt", True)
    if skips and by_name.get("reentry", False) and by_name.get("lsm", False):
        best, second, *others = RUNGS
        return (second, best, *others)
    return RUNGS


def lacking(rung: Rung, answers: Iterable[Answer]) -> Answer | None:
    """Return the first answer for want of which ``rung`` cannot be had, or None."""
    by_name = {answer.name: answer for answer in answers}
    found = (by_name[name] for name in NEEDS[rung.name] if name in by_name)
    return next((answer for answer in found if not answer.ok), None)


def is_superfluous(rung: Rung, answers: Iterable[Answer]) -> bool:
    """Return whether ``auto`` passes over a rung because another does the same for less: bcc, where there is BTF."""
    return rung.name == "bcc" and any(answer.name == "btf" and answer.ok for answer in answers)


def choose(mode: str, answers: tuple[Answer, ...], attempt: Callable[[Rung], str], required: str = NONE) -> GuardReport:
    """Climb down until ``attempt`` holds, or try only the rung that ``mode`` names.

    ``attempt`` puts a rung in force and returns how it was proved; it raises KernelError if it cannot. A rung that
    is weaker than ``required`` is not tried.

    Raises:
        KernelError: ``mode`` names a rung that cannot be had, or no rung at all; or none as strong as ``required`` can.
    """
    if mode not in MODES:
        raise KernelError(f"{mode!r} is no guard mode", remedy=f"use one of {', '.join(MODES)}")
    least = rung_named(required)
    rows: list[Row] = []
    chosen: Rung | None = None
    for rung in ordered(answers):
        if chosen is not None:
            rows.append(Row(rung.name, State.NOT_NEEDED, f"{chosen.name} is in force"))
        elif mode not in (AUTO, rung.name):
            rows.append(Row(rung.name, State.NOT_TRIED, f"the configuration asks for {mode}"))
        elif rung.strength < least.strength:
            raise _unmet(least, mode, rows)
        elif mode == AUTO and is_superfluous(rung, answers):
            rows.append(Row(rung.name, State.NOT_NEEDED, BCC_NOT_NEEDED))
        else:
            row = _tried(rung, answers, attempt)
            rows.append(row)
            if row.in_force:
                chosen = rung
            elif mode != AUTO:
                raise KernelError(f"the guard rung {mode} cannot be had: {row.reason}", remedy=row.remedy)
    if chosen is None:
        raise AssertionError("the rung 'none' always works")
    return GuardReport(chosen, tuple(rows), gap_of(chosen, answers))


def gap_of(rung: Rung, answers: Iterable[Answer]) -> str:
    """Return what can slip past ``rung`` on this machine, "" where it cannot or no rung is a wall anyway.

    Told only where the machine says that its kernel is fully preemptible; see ``ordered``.
    """
    skips = next((answer for answer in answers if answer.name == "preempt" and not answer.ok and answer.told), None)
    by_name = {answer.name: answer.ok for answer in answers}
    if skips is None or not rung.blocking or (rung.name == "lsm" and by_name.get("reentry", False)):
        return ""
    return f"the rung {rung.name} has a gap: {skips.reason}"


def with_words(report: GuardReport, words: str) -> GuardReport:
    """Return a report whose row in force also says ``words``."""
    if not words:
        return report
    rows = (replace(row, reason=f"{row.reason}; {words}") if row.in_force else row for row in report.rows)
    return replace(report, rows=tuple(rows))


def trial(answers: tuple[Answer, ...], attempt: Callable[[Rung], str] | None) -> tuple[Row, ...]:
    """Return the row of every rung without choosing one.

    ``attempt`` proves a rung and takes it down again; None only says which cannot be had.
    """
    rows = []
    for rung in ordered(answers):
        missing = lacking(rung, answers)
        if missing is not None:
            rows.append(Row(rung.name, State.REFUSED, missing.reason, missing.remedy))
        elif is_superfluous(rung, answers):
            rows.append(Row(rung.name, State.NOT_NEEDED, BCC_NOT_NEEDED))
        elif rung.name == NONE:
            rows.append(Row(rung.name, State.PROVED, rung.effect))
        elif attempt is None:
            rows.append(Row(rung.name, State.NOT_TRIED, "nothing that it needs is missing"))
        else:
            row = _tried(rung, answers, attempt)
            rows.append(replace(row, state=State.PROVED) if row.in_force else row)
    return tuple(rows)


def _tried(rung: Rung, answers: tuple[Answer, ...], attempt: Callable[[Rung], str]) -> Row:
    """Return the row of a rung after asking for it."""
    missing = lacking(rung, answers)
    if missing is not None:
        return Row(rung.name, State.REFUSED, missing.reason, missing.remedy)
    try:
        return Row(rung.name, State.IN_FORCE, rung.effect if rung.name == NONE else attempt(rung))
    except KernelError as error:
        return Row(rung.name, State.REFUSED, str(error), error.remedy)


def _unmet(least: Rung, mode: str, rows: list[Row]) -> KernelError:
    """Return the refusal to start without a rung as strong as ``least``, with what every better one lacked."""
    refused = [row for row in rows if row.state is State.REFUSED]
    if not refused:
        return KernelError(
            f"guard.required is {least.name}, and the rung that is asked for, {mode}, is weaker",
            remedy='set guard.mode = "auto", or a lower guard.required',
        )
    reasons = "; ".join(f"{row.name}: {row.reason}" for row in refused)
    wanted = next((row for row in refused if row.name == least.name), refused[0])
    return KernelError(
        f"guard.required is {least.name}, and no rung as strong can be had: {reasons}",
        remedy=wanted.remedy or "lower guard.required, or use a kernel that has the rung",
    )
