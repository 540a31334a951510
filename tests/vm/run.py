"""Boot every row of the matrix and say what holds: .venv/bin/python -m tests.vm.run [--row NAME] [--jobs N]."""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm import archive, images, machine
from tests.vm.rows import ROWS, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOGS: Final = images.TREE / "build" / "vm"
"""Each row's console, kept until the row runs again."""

BUDGET_MINUTES: Final = 35.0
"""No row begins after it, so that the last one ends, and the table is said, within the hour that .ci/run gives."""

_OVERHEAD_MIB: Final = 512
"""What the emulator needs besides its machine's memory: translated code, caches."""

_saying: Final = threading.Lock()


def say(*lines: str) -> None:
    """Write lines of progress, together."""
    with _saying:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


def default_jobs() -> int:
    """Return how many machines may run at once: one per processor, as far as memory goes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    available_mib = int(fields["MemAvailable"].split()[0]) >> 10
    return max(1, min(len(os.sched_getaffinity(0)), available_mib // (machine.MEMORY_MIB + _OVERHEAD_MIB)))


def build(rows: Sequence[Row], jobs: int) -> None:
    """Bring what the rows boot into the cache, each image once.

    Raises:
        ArchiveError: the archive does not have it, or a build failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        waiting: list[Future[object]] = [pool.submit(images.kernel, suite, say) for suite in {r.suite for r in rows}]
        waiting += [pool.submit(images.root_file_system, name, say) for name in {r.root for r in rows}]
        for one in waiting:
            try:
                one.result()
            except subprocess.CalledProcessError as error:
                raise archive.ArchiveError(f"{error.cmd[0]} failed: {str(error.stderr or '').strip()}") from error


def run(
    row: Row, programs: Sequence[Path], folder: Path, accelerator: machine.Accelerator = machine.EMULATION
) -> machine.Ending:
    """Boot one row and play its cases."""
    kernel = images.kernel(row.suite, say)
    root = images.root_file_system(row.root, say)
    payload = folder / f"{row.name}.tar"
    acts = {"engine": row.engine, "systemd": row.systemd, "bench": row.bench}
    images.write_payload(payload, programs, {"rungs": row.rungs, "auto": row.auto, **acts})
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{row.name}.log"
    return machine.boot(kernel, root, payload, row.boot, log, accelerator=accelerator, processors=row.processors)


def run_all(rows: Sequence[Row], jobs: int, folder: Path) -> dict[str, machine.Ending]:
    """Boot the rows, ``jobs`` at a time; each row's result is said as it ends."""
    programs = images.programs(folder)
    latest_start = time.monotonic() + BUDGET_MINUTES * 60

    def one(row: Row) -> machine.Ending:
        if time.monotonic() > latest_start:
            return machine.Ending(0.0, (), {}, f"not begun: the rows before it took {BUDGET_MINUTES:.0f} minutes")
        return run(row, programs, folder)

    endings: dict[str, machine.Ending] = {}
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(one, row): row for row in rows}
        for number, done in enumerate(as_completed(running), 1):
            row, ending = running[done], done.result()
            endings[row.name] = ending
            word = "holds" if ending.ok else "DOES NOT HOLD"
            headline = f"[{number}/{len(rows)}] {row.name}: {word}, {len(ending.cases)} cases, {ending.seconds:.0f} s"
            say(headline, *troubles(row, ending))
    return {row.name: endings[row.name] for row in rows}


def troubles(row: Row, ending: machine.Ending) -> list[str]:
    """Return what a row did not hold: failures with all they said."""
    lines = []
    for case in ending.failed:
        lines += [f"  FAILED {case.name}", *(f"    {line}" for line in case.said.splitlines())]
    if ending.trouble:
        lines.append(f"  TROUBLE {ending.trouble}; the console is in {LOGS / f'{row.name}.log'}")
    return lines


def table(endings: Mapping[str, machine.Ending]) -> list[str]:
    """Return one line per row: cases that hold of those played, by what stands before the colon of their names."""
    groups = list(dict.fromkeys(case.name.partition(":")[0] for end in endings.values() for case in end.cases))
    width = max(len(name) for name in endings)
    lines = ["  ".join([" " * width, *groups, "seconds"])]
    for name, ending in endings.items():
        played, held = collections.Counter[str](), collections.Counter[str]()
        for case in ending.cases:
            group = case.name.partition(":")[0]
            played[group] += 1
            held[group] += case.ok
        cells = [f"{held[group]}/{played[group]}".rjust(len(group)) if played[group] else "" for group in groups]
        cells = [cell.rjust(len(group)) for cell, group in zip(cells, groups, strict=True)]
        lines.append("  ".join([name.ljust(width), *cells, f"{ending.seconds:7.0f}"]))
    return lines


def main() -> int:
    """Run the rows that were asked for; 0 if everything holds."""
    parser = argparse.ArgumentParser(prog="tests.vm.run", description="boot stock Debian kernels and test the guard")
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], help="only this row; repeatable")
    parser.add_argument("--jobs", type=int, default=0, help="machines at once; default: one per processor")
    asked = parser.parse_args()
    rows = [row for row in ROWS if not asked.row or row.name in asked.row]
    jobs = max(1, asked.jobs or default_jobs())
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sockwarden-vm-") as folder:
        try:
            build(rows, jobs)
            at_once, waited = min(jobs, len(rows)), time.monotonic() - started
            say(f"vm: {len(rows)} rows, {at_once} at a time; the images took {waited:.0f} s")
            endings = run_all(rows, jobs, Path(folder))
        except archive.ArchiveError as error:
            say(f"vm: {error}")
            return 1
    say(*table(endings))
    failed = [name for name, ending in endings.items() if not ending.ok]
    took = f"{(time.monotonic() - started) / 60:.1f} minutes"
    say(f"vm: {', '.join(failed)} DO NOT HOLD, {took}" if failed else f"vm: every row holds, {took}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
