"""Arguments of the benchmark, the order of its parts, and what it prints."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import cells, footprint, rounds, table
from bench.report import Report
from bench.ways import HERE, BenchError, Way, all_ways, log_tail, sockwarden, stand_in_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.decisions import Cost
    from bench.footprint import Reading
    from bench.rounds import Measure

MEMORY: Final = "memory"
DECISION: Final = "decision"
DOCKERD: Final = "dockerd"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run.py",
        description="Measure sockwarden next to a direct connection and to HAProxy, in one run, as ratios.",
    )
    parser.add_argument("--quick", action="store_true", help="three short rounds with small bodies, less than a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (default 5, with --quick 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round to FILE as well")
    parser.add_argument(
        "--only", metavar="NAME", action="append", help="only this cell or part; a wrong name lists all"
    )
    parser.add_argument("--against", choices=["stand-in", DOCKERD], default="stand-in", help="the engine behind it all")
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


def _each(ways: list[Way], broken: list[str], read: Callable[[Way, int], list[Reading]]) -> list[Reading]:
    """Read something of every proxy; one that cannot be read is broken, and the others go on."""
    found = []
    for way in ways:
        if way.pid is None:
            continue
        try:
            found += read(way, way.pid)
        except (BenchError, OSError) as error:
            broken.append(f"{way.name}: {error}; its log says:\n{log_tail(way.log)}")
    return found


def _measure_large(directory: Path, broken: list[str]) -> list[Reading]:
    directory.mkdir()
    try:
        with (
            stand_in_engine(directory, footprint.LARGE_CONTAINERS) as engine,
            sockwarden(engine, directory, footprint.LARGE_ENTRIES) as way,
        ):
            return _each([way], broken, footprint.large)
    except BenchError as error:
        broken.append(f"{footprint.LARGE_ENTRIES:,} entries: {error}")
        return []


def _memory_before(ways: list[Way], sizes: cells.Sizes, broken: list[str]) -> list[Reading]:
    """Read what has to be read while the heaps are small."""
    footprint.tell("memory: idle connections and stalled downloads")
    found = _each(ways, broken, lambda way, pid: footprint.resting("idle", way, pid))
    return found + _each(ways, broken, lambda way, pid: footprint.waiting(way, pid, sizes))


def _memory_after(ways: list[Way], sizes: cells.Sizes, directory: Path, broken: list[str]) -> list[Reading]:
    footprint.tell("memory: long streams")
    found = _each(ways, broken, lambda way, pid: footprint.resting("after the rounds", way, pid))
    found += _each(ways, broken, lambda way, pid: footprint.growth(way, pid, sizes))
    if any(way.name == cells.SOCKWARDEN for way in ways):
        footprint.tell("memory: a long image list and many containers")
        found += _measure_large(directory / "large", broken)
    return found


def _measure_decisions() -> list[Cost]:
    try:
        from bench import decisions  # noqa: PLC0415  # everything else can be measured without the package
    except ImportError as error:
        raise BenchError(f"decisions cannot be timed: {error}") from None
    footprint.tell("decisions")
    return decisions.measure()


@contextlib.contextmanager
def _engine(options: argparse.Namespace, directory: Path) -> Iterator[tuple[Path, Measure]]:
    """Start the engine to measure against; yields its socket and what measures a cell."""
    if options.against == DOCKERD:
        from bench.dockerd import real_engine  # noqa: PLC0415  # the stand-in needs no package

        footprint.tell("starting a throw-away dockerd")
        with real_engine(directory) as engine:
            yield engine.socket, engine.measure
    else:
        with stand_in_engine(directory) as path:
            yield path, rounds.by_load


def _plan(options: argparse.Namespace) -> tuple[Sequence[cells.Cell], Sequence[table.Row]]:
    """Return the cells to measure and the rows to show."""
    available: Sequence[cells.Cell]
    rows: Sequence[table.Row]
    if options.against == DOCKERD:
        from bench import dockerd  # noqa: PLC0415  # the stand-in needs no package

        available, rows = dockerd.CELLS, dockerd.ROWS_DOCKERD
    else:
        available, rows = cells.CELLS, table.ROWS
    names = [*(cell.name for cell in available), MEMORY, DECISION]
    unknown = set(options.only or ()) - set(names)
    if unknown:
        raise BenchError(f"--only: there is no {', '.join(sorted(unknown))}; choose from: {', '.join(names)}")
    return [cell for cell in available if not options.only or cell.name in options.only], rows


def _run(options: argparse.Namespace) -> Report:
    sizes = _sizes(options)
    chosen, rows = _plan(options)
    with_memory = MEMORY in options.only if options.only else options.against != DOCKERD
    with_decision = DECISION in options.only if options.only else options.against != DOCKERD
    costs = _measure_decisions() if with_decision else []
    readings: list[Reading] = []
    results = rounds.Results()
    with tempfile.TemporaryDirectory(prefix="sockwarden-bench-") as name:
        directory = Path(name)
        with (
            _engine(options, directory) as (engine, measure),
            all_ways(engine, directory, options.ways) as ways,
        ):
            if with_memory:
                readings += _memory_before(ways, sizes, results.broken)
            rounds.run(chosen, ways, sizes, results, measure)
            if with_memory:
                readings += _memory_after(ways, sizes, directory, results.broken)
        logged = footprint.log_sizes(directory)
    return Report(sizes.rounds, results, table.lines(results, rows), readings, costs, logged)


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns 0 unless something of it did not work, whatever the figures are."""
    options = _arguments(argv)
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        started = time.monotonic()
        try:
            _build()
            report = _run(options)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        print(f"\n{report.render()}")
        if options.json:
            report.write(options.json)
        for fault in report.results.broken:
            print(f"bench: BROKEN: {fault}", file=sys.stderr)
        print(report.closing(time.monotonic() - started))
        return 1 if report.results.broken else 0
    print("bench: interrupted; everything it started is gone", file=sys.stderr)
    return 130
