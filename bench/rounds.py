"""The interleaved rounds: every cell for every way, before the next cell begins, and all of that several times."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench import machine
from bench.ways import HERE, BenchError, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.cells import Cell, Sizes

    Measure = Callable[[Cell, Way, Sizes], dict[str, float]]

LOAD: Final = str(HERE / "bin" / "load")
CELL_SECONDS: Final = 120.0
"""A cell takes seconds; one that takes this long hangs."""


@dataclass(slots=True)
class Results:
    """What was measured: for each cell and way one entry per round, None where the cell failed."""

    figures: dict[str, dict[str, list[dict[str, float] | None]]] = field(default_factory=dict)
    idle: list[float] = field(default_factory=list)
    steal: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def series(self, cell: str, way: str, name: str) -> list[float | None]:
        """Return one figure of a cell over the rounds; empty when that was not measured."""
        entries = self.figures.get(cell, {}).get(way, [])
        return [entry.get(name) if entry else None for entry in entries]


def run_load(arguments: Sequence[str]) -> dict[str, float]:
    """Run the load generator once. Raises BenchError when it fails, hangs, or counts errors."""
    try:
        done = subprocess.run([LOAD, *arguments], capture_output=True, text=True, timeout=CELL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"load {' '.join(arguments)}: hangs") from None
    if done.returncode:
        raise BenchError(f"load {' '.join(arguments)}: {done.stderr.strip()}")
    figures: dict[str, float] = json.loads(done.stdout)
    if figures.get("errors"):
        raise BenchError(f"load {' '.join(arguments)}: {figures['errors']} requests failed")
    return figures


def derive(figures: dict[str, float], cpu_seconds: float | None) -> dict[str, float]:
    """Add what the table shows: rates, shares, and the proxy's CPU time per request (us) or per GB (s)."""
    derived = dict(figures)
    if "requests" in figures:
        derived["rps"] = figures["requests"] / figures["seconds"]
        if cpu_seconds is not None and figures["requests"]:
            derived["cpu_us"] = cpu_seconds / figures["requests"] * 1e6
    if "bytes" in figures:
        derived["mbps"] = figures["bytes"] / figures["seconds"] / 1e6
        if cpu_seconds is not None:
            derived["cpu_s_gb"] = cpu_seconds / (figures["bytes"] / 1e9)
    if "right" in figures:
        derived["right_share"] = figures["right"] / figures["count"]
    return derived


def by_load(cell: Cell, way: Way, sizes: Sizes) -> dict[str, float]:
    """Measure a cell with the load generator."""
    return run_load(cell.command(str(way.socket), sizes))


def _watched(measure: Measure, cell: Cell, way: Way, sizes: Sizes, results: Results) -> dict[str, float] | None:
    """Measure one cell of one way, with the proxy's CPU time and the host's noise beside it."""
    before = machine.host_time()
    cpu_before = machine.cpu_seconds(way.pid) if way.pid else None
    try:
        figures = measure(cell, way, sizes)
    except BenchError as error:
        results.broken.append(f"{way.name}: {error}")
        return None
    cpu = machine.cpu_seconds(way.pid) - cpu_before if way.pid and cpu_before is not None else None
    idle, steal = machine.shares(before, machine.host_time())
    results.idle.append(idle)
    results.steal.append(steal)
    return derive(figures, cpu)


def _short(figures: dict[str, float] | None) -> str:
    if figures is None:
        return "FAILED"
    if "rps" in figures:
        return f"{figures['rps']:,.0f}/s p50 {figures['p50_us']:.0f} us"
    if "mbps" in figures:
        return f"{figures['mbps']:,.0f} MB/s"
    if "ms" in figures:
        return f"{figures['ms']:.0f} ms"
    return f"{figures['right']:.0f} of {figures['count']:.0f} right"


def run(cells: Sequence[Cell], ways: Sequence[Way], sizes: Sizes, results: Results, measure: Measure = by_load) -> None:
    """Measure everything, and say on stderr how far it is. The first way of each round is another one each time."""
    for number in range(sizes.rounds):
        order = [*ways[number % len(ways) :], *ways[: number % len(ways)]]
        for cell in cells:
            shown = []
            for way in order:
                if way.name not in cell.ways:
                    continue
                figures = _watched(measure, cell, way, sizes, results)
                results.figures.setdefault(cell.name, {}).setdefault(way.name, []).append(figures)
                shown.append(f"{way.name} {_short(figures)}")
            print(f"round {number + 1}/{sizes.rounds}  {cell.title}: {', '.join(shown)}", file=sys.stderr, flush=True)
