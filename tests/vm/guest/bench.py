"""What the guard costs: one connect() with and without it, the time to put a rung in force, memory.

Owns the rounds. In each the guard is put in force anew and every kind of connect() is timed in turn, and again
without it, so that what slows the machine down slows all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.guest.cases import settings
from tests.vm.guest.stage import Stage

from sockwarden.kernel import canary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.guest import roads
    from tests.vm.guest.report import Report

ROUNDS: Final = 9

TIMES: Final = 3000
"""Connects of which one figure is the median."""

WARM_UP: Final = 300

KINDS: Final = ("none", "other", "allowed", "denied")
"""Without a guard; to a socket that is not guarded; to a public one, which is; to an engine's."""


def cost(report: Report, rung: str) -> None:
    """Tell, as JSON: nanoseconds by kind and round, seconds of each start with and without its canary, and KiB."""
    nanoseconds: dict[str, list[int]] = {kind: [] for kind in KINDS}
    starts: list[float] = []
    flights: list[float] = []
    before_kib = _resident_kib()
    in_force_kib = 0
    with report.case(f"bench: {rung}"):
        for _ in range(ROUNDS):
            with _timed_flights(flights), Stage(settings(rung)) as stage:
                starts.append(stage.start_seconds)
                paths = {"other": stage.ordinary, "allowed": stage.public, "denied": stage.guarded}
                for kind, path in paths.items():
                    nanoseconds[kind].append(_median(stage, path))
                in_force_kib = _resident_kib()
                stage.guard.close()
                nanoseconds["none"].append(_median(stage, stage.ordinary))
    told = {"nanoseconds": nanoseconds, "start": starts, "canary": flights, "kib": [before_kib, in_force_kib]}
    report.tell(f"bench: {rung}", json.dumps(told))
    report.tell("bench: KiB at most", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _median(stage: Stage, path: Path) -> int:
    """Let a client outside the host's namespace connect many times; return the median in nanoseconds."""
    out = stage.folder / "median"

    def walk(_place: roads.Place) -> int:
        # The client accepts by itself what it connects: no other process has a part in what is timed.
        listener = stage._listeners[path]
        os.set_inheritable(listener.fileno(), True)
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        listener.setblocking(True)
        os.execv("/t/connects", ["connects", "time", str(listener.fileno()), str(path), str(WARM_UP), str(TIMES)])

    status = stage.end(stage.begin(walk))
    if status != 0:
        raise AssertionError(f"the client ended with {status}")
    return int(out.read_text("ascii"))


@contextlib.contextmanager
def _timed_flights(seconds: list[float]) -> Iterator[None]:
    """Note how long the canary takes."""
    fly = canary.fly

    def timed(path: Path) -> canary.Flight:
        started = time.monotonic()
        try:
            return fly(path)
        finally:
            seconds.append(time.monotonic() - started)

    canary.fly = timed
    try:
        yield
    finally:
        canary.fly = fly


def _resident_kib() -> int:
    """Return what the process holds, after giving back what is free, as the agent does once it has started."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")
