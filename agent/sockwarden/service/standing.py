"""How the kernel guard stands: its part of a status, and what of it is open.

Owns the words of the guard's problems, which docs/troubleshooting.md has as headings. Must not change anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sockwarden.config import GuardMode
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import pins
from sockwarden.kernel.ladder import RUNGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwarden.config import Config
    from sockwarden.kernel.bpf.pins import PinnedSet
    from sockwarden.kernel.connections.dealing import GuardedSocket
    from sockwarden.kernel.ladder import GuardReport
    from sockwarden.model import IdentitySource


class Guarding(Protocol):
    """What is asked of a guard; see ``kernel.guard.Guard``."""

    @property
    def report(self) -> GuardReport:
        """Which rung is in force, and why no better one is."""

    @property
    def guarded(self) -> tuple[GuardedSocket, ...]:
        """The objects under guard."""

    def counters(self) -> dict[str, int]:
        """Every counter by its name."""


class Watching(Protocol):
    """What is asked of the watch over the guard; see ``pulse.GuardWatch``."""

    def status(self) -> dict[str, Any]:
        """Its part of the status."""

    def problems(self) -> list[str]:
        """What it found to be open."""


class Warding(Protocol):
    """What is asked of who knows the sockets; see ``wards.Wards``."""

    @property
    def waiting(self) -> tuple[str, ...]:
        """Where there is no socket yet."""

    def problems(self) -> list[str]:
        """What is not guarded as it should be."""


class Serving(Protocol):
    """What is asked of who knows the host's services; see ``hostservices.HostServices``."""

    def __len__(self) -> int:
        """Return how many there are."""

    def problems(self) -> list[str]:
        """Why one of them may be refused."""


class Identifying(Protocol):
    """What is asked of the metrics; see ``observe.metrics.Metrics``."""

    @property
    def identities(self) -> Mapping[IdentitySource, int]:
        """How many peers were identified by each source."""


class Guarded(Protocol):
    """The parts of an agent that the guard's standing is told from."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def guard(self) -> Guarding:
        """The guard."""

    @property
    def watch(self) -> Watching:
        """The watch over it."""

    @property
    def services(self) -> Serving:
        """Who tells it the host's services."""

    @property
    def wards(self) -> Warding:
        """Who tells it the sockets."""

    @property
    def metrics(self) -> Identifying:
        """Where peers are counted."""


def standing_of(agent: Guarded) -> dict[str, Any]:
    """Return the part ``guard`` of a status, as JSON values."""
    config = agent.config.guard
    identity = {source.value: count for source, count in agent.metrics.identities.items() if count}
    if config.mode is GuardMode.NONE:
        return {
            "rung": "none",
            "blocking": False,
            "pinned": "",
            "pin_dir": config.pin_dir,
            "identity": identity,
            "sockets": [],
            "waiting": [],
            "host_services": 0,
            "rungs": [],
            "counters": {},
        }
    report = agent.guard.report
    current, _ = _pinned(config.pin_dir, report)
    return {
        "rung": report.rung.name,
        "blocking": report.rung.blocking,
        "pinned": current.name if current else "",
        "pin_dir": config.pin_dir,
        "identity": identity,
        "sockets": [
            {
                "path": str(one.path),
                "class": one.socket_class.name.lower().replace("_", "-"),
                "device": one.identity.device,
                "inode": one.identity.inode,
            }
            for one in agent.guard.guarded
        ],
        "waiting": list(agent.wards.waiting),
        "host_services": len(agent.services),
        "rungs": [
            {
                "name": row.name,
                "state": row.state.value,
                "in_force": row.in_force,
                "reason": row.reason,
                "remedy": row.remedy,
            }
            for row in report.rows
        ],
        "counters": agent.guard.counters(),
        **agent.watch.status(),
    }


def gaps_of(agent: Guarded) -> list[str]:
    """Return what the guard leaves open, one sentence each."""
    if agent.config.guard.mode is GuardMode.NONE:
        return [_NO_WALL]
    report, pin_dir = agent.guard.report, agent.config.guard.pin_dir
    found = []
    if not report.rung.blocking:
        found.append(f"{_NO_WALL}{_why(report)}")
    if report.gap:
        found.append(report.gap)
    found += agent.wards.problems() + agent.services.problems()
    current, others = _pinned(pin_dir, report)
    if report.rung.blocking and pin_dir and current is None:
        found.append(f"the kernel guard is not pinned: it ends with the agent; the row of {report.rung.name} says why")
    found += [f"the pinned set {one.name} of another agent is still in force" for one in others]
    return found + agent.watch.problems()


def last_words_of(agent: Guarded) -> str:
    """Return what an operator must know of the guard when the agent stops, as a clause; "" where there is nothing."""
    if agent.config.guard.mode is GuardMode.NONE:
        return ""
    current, others = _pinned(agent.config.guard.pin_dir, agent.guard.report)
    if current is None and not others:
        return "the kernel guard ends" if agent.guard.report.rung.blocking else ""
    return "the kernel guard stays in force (sockwarden guard unload removes it)"


_NO_WALL = "no blocking kernel guard: the engine's own socket is not walled off"


def _why(report: GuardReport) -> str:
    """Return why there is no wall, as a clause: what the best blocking rung lacked."""
    blocking = {rung.name for rung in RUNGS if rung.blocking}
    row = next((row for row in report.rows if row.name in blocking and row.reason), None)
    if row is None:
        return ""
    reason = row.reason.partition(" (")[0]  # the row itself has the kernel's log
    return f"; {row.name} is {row.state.value}: {reason}{f' (remedy: {row.remedy})' if row.remedy else ''}"


def _pinned(pin_dir: str, report: GuardReport) -> tuple[PinnedSet | None, list[PinnedSet]]:
    """Return the set that is in force by us, and those of other agents."""
    try:
        found = pins.survey(pin_dir) if pin_dir else ()
    except (KernelError, OSError):
        found = ()
    ours = [one for one in found if one.readable and one.rung == report.rung.name and one.links and not one.aside]
    current = ours[-1] if ours else None
    return current, [one for one in found if one is not current and one.links]
