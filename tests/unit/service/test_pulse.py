"""The pulse: numbers under their names, the canary's minute, and what of the guard is a problem."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from sockwarden.abi import GuardStat, SocketClass, TrackStat
from sockwarden.errors import EngineError, KernelError
from sockwarden.kernel.bpf.maps import Fullness
from sockwarden.kernel.health import MAPS, PROGRAMS, Health, ProgramFacts
from sockwarden.kernel.ladder import rung_named
from sockwarden.kernel.vigil import Findings
from sockwarden.observe.audit import AuditLog
from sockwarden.observe.metrics import Metrics, registry_of
from sockwarden.observe.process import ProcessCache
from sockwarden.observe.sink import AuditSink
from sockwarden.service import pulse
from sockwarden.service.pulse import CANARY_SECONDS, STALE_SECONDS, Extras, GuardWatch, Pulse, guard_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry

HEALTH = Health(
    guard={which: 100 + which for which in GuardStat},
    track={which: 200 + which for which in TrackStat},
    programs={"guard_lsm": ProgramFacts(missed=1, runs=7, run_ns=2_000_000_000)},
    maps={"sw_guarded": Fullness(3, 1024)},
    sockets={SocketClass.ENGINE: 2},
    undecodable=4,
    sweeps=5,
    sweeps_failed=6,
    cgroups=7,
    cgroups_evicted=8,
)


@dataclass
class FakeVigil:
    findings: Findings = field(default_factory=lambda: Findings(held=True, held_at=0.0))
    flights: int = 0

    def fly(self) -> None:
        self.flights += 1


class FakeReport:
    def __init__(self, rung: str) -> None:
        self.rung = rung_named(rung)


class FakeGuard:
    def __init__(self, rung: str = "lsm") -> None:
        self.report = FakeReport(rung)
        self.now = HEALTH
        self.sweeps = self.published = 0
        self.full = False
        self.vigil: FakeVigil | None = FakeVigil()
        self.tell: Callable[[Findings], None] | None = None

    def health(self) -> Health:
        return self.now

    def sweep(self) -> None:
        self.sweeps += 1

    def publish_again(self) -> None:
        self.published += 1
        if self.full:
            raise KernelError("no room")

    def keep_vigil(self, _folder: Path, tell: Callable[[Findings], None]) -> FakeVigil | None:
        self.tell = tell
        return self.vigil


class Stage:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, guard: FakeGuard) -> None:
        self.now = 0.0
        self.guard = guard
        self.file = folder / "audit"
        self.metrics = Metrics("1", (), (), guard_metrics())
        self.registry: CollectorRegistry = registry_of(self.metrics)
        log = AuditLog(AuditSink(str(self.file)), ProcessCache(lambda _pid: None), "")
        self.watch = GuardWatch(guard, self.metrics.guard, log, folder)  # type: ignore[arg-type]
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.watch.begin()

    def beat(self, now: float, extras: Extras | None = None) -> None:
        self.now = now
        self.watch.beat(extras or Extras())

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"sockwarden_guard_{name}", labels)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeGuard], Stage]:
    return lambda guard: Stage(tmp_path, monkeypatch, guard)


@pytest.fixture
def stage(make: Callable[[FakeGuard], Stage]) -> Stage:
    return make(FakeGuard())


@pytest.mark.parametrize(
    ("name", "labels", "number"),
    [
        ("connects_total", {"outcome": "denied"}, 100 + GuardStat.DENIED),
        ("life_total", {"outcome": "skipped"}, 200 + TrackStat.SKIPPED),
        ("records_total", {"ring": "connects"}, 100 + GuardStat.REPORTED),
        ("records_dropped_total", {"ring": "life"}, 200 + TrackStat.DROPPED),
        ("records_muted_total", {"ring": "connects"}, 100 + GuardStat.MUTED),
        ("undecodable_total", {}, 4),
        ("sweeps_total", {"result": "done"}, 5),
        ("sweeps_total", {"result": "failed"}, 6),
        ("cgroups", {}, 7),
        ("cgroups_evicted_total", {}, 8),
        ("map_entries", {"map": "sw_guarded"}, 3),
        ("map_capacity", {"map": "sw_guarded"}, 1024),
        ("missed_total", {"program": "guard_lsm"}, 1),
        ("runs_total", {"program": "guard_lsm"}, 7),
        ("run_seconds_total", {"program": "guard_lsm"}, 2),
        ("rung", {"rung": "lsm"}, 1),
        ("rung", {"rung": "none"}, 0),
        ("pinned", {}, 1),
        ("sockets", {"class": "engine"}, 2),
        ("sockets", {"class": "public"}, 0),
        ("waiting_paths", {}, 9),
        ("denied_cgroups", {}, 10),
        ("canary_held", {}, 1),
        ("canary_age_seconds", {}, 3),
    ],
)
def test_a_beat_puts_every_number_under_its_name(
    stage: Stage, name: str, labels: dict[str, str], number: float
) -> None:
    stage.beat(3.0, Extras(pinned=True, waiting_paths=9, denied_cgroups=10))
    assert stage.value(name, **labels) == number


def test_every_map_and_program_has_a_series_before_the_first_beat(stage: Stage) -> None:
    assert [stage.value("map_entries", map=name) for name in MAPS] == [0] * len(MAPS)
    assert [stage.value("missed_total", program=name) for name in PROGRAMS] == [0] * len(PROGRAMS)


def test_the_canary_flies_once_a_minute(stage: Stage) -> None:
    for second in range(int(2.5 * CANARY_SECONDS)):
        stage.beat(float(second))
    assert stage.guard.vigil is not None
    assert stage.guard.vigil.flights == 2


def test_where_there_is_no_rung_there_is_no_canary(make: Callable[[FakeGuard], Stage]) -> None:
    guard = FakeGuard("none")
    guard.vigil = None
    stage = make(guard)
    stage.beat(CANARY_SECONDS + 1)
    assert (stage.value("canary_held"), stage.watch.problems(), stage.watch.status()["canary"]) == (None, [], None)


def test_a_canary_that_cannot_be_put_up_does_not_stop_the_agent(
    make: Callable[[FakeGuard], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("no room")

    guard = FakeGuard()
    monkeypatch.setattr(guard, "keep_vigil", refuse)
    make(guard).beat(1.0)


def test_a_canary_that_was_not_held_is_a_problem_and_is_recorded(stage: Stage) -> None:
    failed = Findings(held=False, held_at=0.0, flights=1, failures=1)
    assert stage.guard.vigil is not None
    assert stage.guard.tell is not None
    stage.guard.vigil.findings = failed
    stage.guard.tell(failed)
    stage.beat(1.0)
    assert "did not hold its canary" in stage.watch.problems()[0]
    assert (stage.value("canary_held"), stage.value("canary_flights_total", result="failed")) == (0, 1)
    assert (json.loads(stage.file.read_text())["event"], stage.guard.published) == ("canary-failed", 1)


@pytest.mark.parametrize("full", [True, False])
def test_after_a_first_failure_it_flies_again_at_once_and_then_once_a_minute(stage: Stage, full: bool) -> None:
    failed = Findings(held=False, held_at=0.0, flights=1, failures=1)
    assert stage.guard.vigil is not None
    assert stage.guard.tell is not None
    stage.guard.full = full
    for second in range(10):
        stage.guard.tell(failed)
        stage.beat(float(second))
    assert (stage.guard.vigil.flights, stage.guard.published) == (1, 10)


def test_a_canary_that_was_held_is_not_recorded(stage: Stage) -> None:
    assert stage.guard.tell is not None
    stage.guard.tell(Findings(held=True, held_at=0.0, flights=1))
    assert stage.file.read_text() == ""


def test_a_canary_that_cannot_fly_is_a_problem_after_a_while(stage: Stage) -> None:
    assert stage.guard.vigil is not None
    stage.guard.vigil.findings = Findings(held=True, held_at=0.0, fault="no more processes")
    assert pulse.canary_problems(stage.guard.vigil.findings, STALE_SECONDS) == []
    stage.now = STALE_SECONDS + 1
    assert stage.watch.problems() == [f"the kernel guard has not been proved for {stage.now:.0f} s: no more processes"]


def skip(stage: Stage) -> None:
    facts = stage.guard.now.programs["guard_lsm"]
    more = replace(facts, missed=facts.missed + 1)
    stage.guard.now = replace(stage.guard.now, programs={"guard_lsm": more})


def test_a_skipped_run_asks_for_a_sweep_and_is_a_problem_for_an_hour(stage: Stage) -> None:
    stage.beat(1.0)
    skip(stage)
    stage.beat(2.0)
    stage.beat(3.0)
    said = stage.watch.problems()
    stage.now = 2.0 + pulse.SKIPPED_SECONDS
    assert stage.guard.vigil is not None
    stage.guard.vigil.findings = Findings(held=True, held_at=stage.now)
    assert (stage.guard.sweeps, said, stage.watch.problems()) == (
        1,
        ["the kernel skipped the guard 2 times, the last time 1 s ago"],
        [],
    )


def test_what_was_skipped_before_this_agent_is_no_problem_of_now(stage: Stage) -> None:
    stage.beat(1.0)
    assert (stage.guard.sweeps, stage.watch.problems(), stage.watch.status()["unjudged"]) == (0, [], 1)


def test_on_a_rung_that_is_no_wall_a_skipped_run_changes_nothing_for_the_status(
    make: Callable[[FakeGuard], Stage],
) -> None:
    stage = make(FakeGuard("tracepoint"))
    stage.beat(1.0)
    skip(stage)
    stage.beat(2.0)
    assert (stage.guard.sweeps, stage.watch.problems()) == (1, [])


def test_the_status_has_the_canary_and_the_maps(stage: Stage) -> None:
    stage.beat(2.0)
    status = stage.watch.status()
    assert (status["canary"]["held"], status["canary"]["age_seconds"], status["maps"]) == (
        True,
        2.0,
        {"sw_guarded": [3, 1024]},
    )


@pytest.mark.parametrize("up", [True, False])
def test_the_pulse_goes_on_whatever_fails(up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PULSE_SECONDS", 0.0)
    metrics = Metrics("1", ())
    beats: list[None] = []

    async def ping() -> None:
        if len(beats) == 3:
            raise asyncio.CancelledError
        if not up:
            raise EngineError("down")

    def beat() -> None:
        beats.append(None)
        raise KernelError("no counters")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Pulse(metrics, ping, beat).run())
    assert (len(beats), metrics.engine_up) == (3, up)
