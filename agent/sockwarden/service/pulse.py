"""The agent's pulse: once a second slow numbers are brought up to date, once a minute the canary flies.

Owns when that happens, how the guard's numbers become metrics, and what of them is a problem. Must never wait in the
loop for anything but the engine's answer, and never decide about a client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockwarden.abi import GuardStat, SocketClass, TrackStat
from sockwarden.errors import EngineError, KernelError
from sockwarden.kernel.health import MAPS, PROGRAMS
from sockwarden.kernel.ladder import RUNGS
from sockwarden.observe.guardmetrics import GuardMetrics, families, label_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sockwarden.kernel.guard import Guard
    from sockwarden.kernel.health import Health
    from sockwarden.kernel.vigil import Findings, Vigil
    from sockwarden.observe.audit import AuditLog
    from sockwarden.observe.metrics import Metrics

PULSE_SECONDS: Final = 1.0
"""How often slow numbers (the kernel's counters, whether the engine answers) are brought up to date."""

CANARY_SECONDS: Final = 60.0
"""Between two flights of the canary: 10 ms of CPU time each, and a detached guard is found out within a minute."""

STALE_SECONDS: Final = 5 * CANARY_SECONDS
"""A canary that was last held longer ago is a problem: it may be unable to fly just because somebody wants it so."""

SKIPPED_SECONDS: Final = 3600.0
"""How long status names a run that the kernel skipped; who connected meanwhile was looked for at once."""

_log = logging.getLogger(__name__)


def guard_metrics() -> GuardMetrics:
    """Return the guard's metrics with every label value that may ever occur."""
    return GuardMetrics(families((rung.name for rung in RUNGS), MAPS, PROGRAMS))


@dataclass(frozen=True, slots=True)
class Extras:
    """Numbers of the guard that others know."""

    pinned: bool = False
    waiting_paths: int = 0
    denied_cgroups: int = 0


class GuardWatch:
    """Keeps an eye on the guard itself: its numbers, its canary, and what of them is a problem."""

    def __init__(self, guard: Guard, metrics: GuardMetrics, audit: AuditLog, folder: Path) -> None:
        """``folder`` takes the canary's socket; ``begin`` puts it there."""
        self._guard: Final = guard
        self._metrics: Final = metrics
        self._audit: Final = audit
        self._folder: Final = folder
        self._vigil: Vigil | None = None
        self._next_flight = 0.0
        self._failed = False
        self._unjudged: int | None = None
        self._skipped_at = -SKIPPED_SECONDS
        self.health: Health | None = None

    def begin(self) -> None:
        """Let the canary fly from now on. Where it cannot, the guard goes on without, and says so."""
        try:
            self._vigil = self._guard.keep_vigil(self._folder, self._flown)
        except KernelError as error:
            _log.warning("no canary: %s", error)
        self._next_flight = time.monotonic() + CANARY_SECONDS

    def beat(self, extras: Extras) -> None:
        """Read everything once; takes about a millisecond."""
        health = self.health = self._guard.health()
        now = time.monotonic()
        # What was skipped before us was followed by the sweep of the start.
        if self._unjudged is not None and health.unjudged > self._unjudged:
            self._skipped_at = now
            self._guard.sweep()  # a connect() may have passed unjudged: find who holds a connection
        self._unjudged = health.unjudged
        if self._vigil is not None and now >= self._next_flight:
            self._next_flight = now + CANARY_SECONDS
            self._vigil.fly()
        publish(self._metrics, health, self._guard.report.rung.name, extras)
        # Without a canary nothing is said of one.
        findings = self._vigil.findings if self._vigil is not None else None
        if findings is not None:
            held = findings.flights - findings.failures
            self._metrics.set("guard_canary_flights", {"held": held, "failed": findings.failures})
            self._metrics.set_one("guard_canary_held", findings.held)
            self._metrics.set_one("guard_canary_age_seconds", now - findings.held_at)

    def problems(self) -> list[str]:
        """Return what is wrong with the guard, as sentences without a full stop."""
        findings = self._vigil.findings if self._vigil is not None else None
        now = time.monotonic()
        found = [] if findings is None else canary_problems(findings, now)
        if self._guard.report.rung.blocking and now - self._skipped_at < SKIPPED_SECONDS:
            ago = now - self._skipped_at
            found.append(f"the kernel skipped the guard {self._unjudged} times, the last time {ago:.0f} s ago")
        return found

    def status(self) -> dict[str, Any]:
        """Return the state of the canary and of the maps as JSON values."""
        findings = self._vigil.findings if self._vigil is not None else None
        health = self.health
        return {
            "canary": None
            if findings is None
            else {
                "held": findings.held,
                "age_seconds": round(time.monotonic() - findings.held_at, 1),
                "flights": findings.flights,
                "failures": findings.failures,
                "fault": findings.fault,
            },
            "unjudged": health.unjudged if health is not None else 0,
            "maps": {name: [full.entries, full.capacity] for name, full in (health.maps if health else {}).items()},
        }

    def _flown(self, findings: Findings) -> None:
        failed_before, self._failed = self._failed, not findings.held
        if findings.held:
            return
        rung = self._guard.report.rung.name
        _log.error("the guard %s did not hold its canary: connections to guarded sockets may pass", rung)
        self._audit.event("canary-failed", {"rung": rung, "failures": findings.failures})
        try:
            self._guard.publish_again()
        except KernelError as error:
            _log.error("and what it guards cannot be written to it: %s", error)
        if not failed_before:
            self._next_flight = 0.0  # did that help? The next beat knows more.


def canary_problems(findings: Findings, now: float) -> list[str]:
    """Return what the canary says against the guard; ``now`` in seconds of time.monotonic()."""
    if not findings.held:
        return ["the kernel guard did not hold its canary: restart the agent, and see its log"]
    if now - findings.held_at > STALE_SECONDS:
        why = findings.fault or "it does not end"
        return [f"the kernel guard has not been proved for {now - findings.held_at:.0f} s: {why}"]
    return []


def publish(metrics: GuardMetrics, health: Health, rung: str, extras: Extras) -> None:
    """Put the guard's numbers under their names."""
    guard, track = health.guard, health.track
    metrics.set("guard_connects", {label_of(which): count for which, count in guard.items()})
    metrics.set("guard_life", {label_of(which): count for which, count in track.items()})
    for name, ours, lifes in (
        ("guard_records", GuardStat.REPORTED, TrackStat.REPORTED),
        ("guard_records_dropped", GuardStat.DROPPED, TrackStat.DROPPED),
        ("guard_records_muted", GuardStat.MUTED, TrackStat.MUTED),
    ):
        metrics.set(name, {"connects": guard[ours], "life": track[lifes]})
    metrics.set_one("guard_undecodable", health.undecodable)
    metrics.set("guard_sweeps", {"done": health.sweeps, "failed": health.sweeps_failed})
    metrics.set_one("guard_cgroups", health.cgroups)
    metrics.set_one("guard_cgroups_evicted", health.cgroups_evicted)
    metrics.set("guard_map_entries", {name: full.entries for name, full in health.maps.items()})
    metrics.set("guard_map_capacity", {name: full.capacity for name, full in health.maps.items()})
    metrics.set("guard_missed", {name: facts.missed for name, facts in health.programs.items()})
    metrics.set("guard_runs", {name: facts.runs for name, facts in health.programs.items()})
    metrics.set("guard_run_seconds", {name: facts.run_ns / 1e9 for name, facts in health.programs.items()})
    metrics.set("guard_rung", {rung: 1})
    metrics.set_one("guard_pinned", extras.pinned)
    metrics.set("guard_sockets", {label_of(which): health.sockets.get(which, 0) for which in SocketClass})
    metrics.set_one("guard_waiting_paths", extras.waiting_paths)
    metrics.set_one("guard_denied_cgroups", extras.denied_cgroups)


class Pulse:
    """Beats until it is cancelled."""

    def __init__(self, metrics: Metrics, ping: Callable[[], Awaitable[object]], beat: Callable[[], None]) -> None:
        """``ping`` asks the engine and raises EngineError; ``beat`` is everything that needs no waiting."""
        self._metrics: Final = metrics
        self._ping: Final = ping
        self._beat: Final = beat

    async def run(self) -> None:
        """Beat every PULSE_SECONDS."""
        while True:
            try:
                self._beat()
            except KernelError:
                _log.exception("the guard's numbers cannot be read")
            try:
                await self._ping()
                self._metrics.engine_up = True
            except EngineError:
                self._metrics.engine_up = False
            await asyncio.sleep(PULSE_SECONDS)
