"""Arguments of the benchmark, the order of its parts, and what it prints."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import cells, footprint, machine, rounds, table
from bench.figures import Target, number
from bench.ways import HERE, BenchError, Way, all_ways, sockwarden, stand_in_engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.decisions import Cost
    from bench.footprint import Reading
    from bench.rounds import Results
    from bench.table import Line

MEMORY: Final = "memory"
DECISION: Final = "decision"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [cell.name for cell in cells.CELLS] + [MEMORY, DECISION]
    parser = argparse.ArgumentParser(
        prog="bench/run.py",
        description="Measure sockwarden next to a direct connection and to HAProxy, in one run, as ratios.",
    )
    parser.add_argument("--quick", action="store_true", help="three short rounds with small bodies, less than a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (default 5, with --quick 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round to FILE as well")
    parser.add_argument("--only", metavar="NAME", action="append", choices=names, help=f"only: {', '.join(names)}")
    parser.add_argument("--ways", default=",".join(cells.ALL_WAYS), help="comma-separated roads (default: all)")
    options = parser.parse_args(argv)
    options.ways = tuple(options.ways.split(","))
    if not set(options.ways) <= set(cells.ALL_WAYS):
        parser.error(f"--ways: choose from {', '.join(cells.ALL_WAYS)}")
    return options


def _build() -> None:
    done = subprocess.run(["make", "-s", "-C", str(HERE), "programs"], check=False)
    if done.returncode:
        raise BenchError("the C programs of the benchmark cannot be built")


def _sizes(options: argparse.Namespace) -> cells.Sizes:
    sizes = cells.QUICK if options.quick else cells.FULL
    return dataclasses.replace(sizes, rounds=options.rounds) if options.rounds else sizes


def _measure_large(directory: Path) -> list[Reading]:
    directory.mkdir()
    with (
        stand_in_engine(directory, footprint.LARGE_CONTAINERS) as engine,
        sockwarden(engine, directory, footprint.LARGE_ENTRIES) as way,
    ):
        rounds.run_load(["requests", str(way.socket), "1", "0.1", "keep"])
        return footprint.large(way)


def _measure_memory(ways: list[Way], sizes: cells.Sizes, directory: Path) -> list[Reading]:
    footprint.tell("memory: long streams")
    found = footprint.growth(ways, sizes)
    footprint.tell("memory: idle connections and stalled downloads")
    found += footprint.waiting(ways, sizes)
    if any(way.name == cells.SOCKWARDEN for way in ways):
        footprint.tell("memory: a long image list and many containers")
        found += _measure_large(directory / "large")
    return found


def _render_memory(readings: list[Reading]) -> str:
    proxies = cells.ALL_WAYS[1:]
    by_title: dict[str, dict[str, Reading]] = {}
    for reading in readings:
        by_title.setdefault(f"{reading.title}, {reading.unit}", {})[reading.way] = reading
    rows: list[tuple[str, ...]] = [("", *proxies, "target", "reached")]
    for title, by_way in by_title.items():
        shown = [number(by_way[way].value) if way in by_way else "-" for way in proxies]
        own = by_way.get(cells.SOCKWARDEN)
        rows.append((title, *shown, str((own and own.target) or "-"), table.verdict(own.reached if own else None)))
    return table.columns(rows)


def _measure_decisions() -> list[Cost]:
    try:
        from bench import decisions  # noqa: PLC0415  # everything else can be measured without the package
    except ImportError as error:
        raise BenchError(f"decisions cannot be timed: {error}") from None
    footprint.tell("decisions")
    return decisions.measure()


def _render_decisions(costs: list[Cost]) -> str:
    rows: list[tuple[str, ...]] = [("", "median us", "worst us", "target", "reached")]
    for cost in costs:
        limits = [f"{cost.median_target}" if cost.median_target else "-"]
        limits += [f"worst {cost.worst_target}"] if cost.worst_target else []
        reached = [limit.reached(value) for limit, value in _limits(cost)]
        verdict = table.verdict(all(reached) if reached else None)
        rows.append((cost.title, f"{cost.median:.2f}", f"{cost.worst:.2f}", ", ".join(limits), verdict))
    return table.columns(rows) + "\n\n" + "\n".join(f"dearest: {cost.worst_request}" for cost in costs[:1])


def _limits(cost: Cost) -> list[tuple[Target, float]]:
    pairs = ((cost.median_target, cost.median), (cost.worst_target, cost.worst))
    return [(target, value) for target, value in pairs if target]


def _noise(results: Results) -> str:
    if not results.steal:
        return "host: nothing measured"
    idle, steal = statistics.median(results.idle), statistics.median(results.steal)
    return (
        f"host: {machine.describe()}; of the time of a cell idle {idle:.0%} (median), stolen by the hypervisor "
        f"{steal:.1%} (median), {max(results.steal):.0%} (worst of {len(results.steal)} cells)"
    )


def _write_json(path: Path, results: Results, filled: list[Line], readings: list[Reading], costs: list[Cost]) -> None:
    document = {
        "host": machine.describe(),
        "idle": results.idle,
        "steal": results.steal,
        "broken": results.broken,
        "figures": results.figures,
        "table": [dataclasses.asdict(line) for line in filled],
        "decisions": [dataclasses.asdict(cost) for cost in costs],
        "memory": [dataclasses.asdict(reading) | {"reached": reading.reached} for reading in readings],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _run(options: argparse.Namespace) -> int:
    started = time.monotonic()
    _build()
    sizes = _sizes(options)
    chosen = [cell for cell in cells.CELLS if not options.only or cell.name in options.only]
    with_memory = not options.only or MEMORY in options.only
    costs = _measure_decisions() if not options.only or DECISION in options.only else []
    readings: list[Reading] = []
    with tempfile.TemporaryDirectory(prefix="sockwarden-bench-") as name:
        directory = Path(name)
        with stand_in_engine(directory) as engine, all_ways(engine, directory, options.ways) as ways:
            if with_memory:
                readings += footprint.resting("idle", ways)
            results = rounds.run(chosen, ways, sizes)
            if with_memory:
                readings += footprint.resting("after the rounds", ways)
                readings += _measure_memory(ways, sizes, directory)
        logged = footprint.log_sizes(directory)
    filled = table.lines(results)
    if filled:
        print(f"\n{sizes.rounds} interleaved rounds; medians, and sockwarden's ratios [lowest-highest round]\n")
        print(table.render(filled))
    if readings:
        print(f"\nmemory of the proxies\n\n{_render_memory(readings)}")
    if costs:
        print(f"\none decision, in the agent's own Python\n\n{_render_decisions(costs)}")
    print(f"\n{_noise(results)}")
    if logged:
        print(f"logged meanwhile: {logged}")
    if options.json:
        _write_json(options.json, results, filled, readings, costs)
    for fault in results.broken:
        print(f"bench: BROKEN: {fault}", file=sys.stderr)
    judged = [line.reached for line in filled if line.reached is not None]
    judged += [reading.reached for reading in readings if reading.reached is not None]
    judged += [limit.reached(value) for cost in costs for limit, value in _limits(cost)]
    print(
        f"bench: {sum(judged)} of {len(judged)} targets reached, {len(results.broken)} cells broken, "
        f"in {time.monotonic() - started:.0f} s"
    )
    return 1 if results.broken else 0


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns 0 unless something of it did not work, whatever the figures are."""
    options = _arguments(argv)
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            return _run(options)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    print("bench: interrupted; everything it started is gone", file=sys.stderr)
    return 130
