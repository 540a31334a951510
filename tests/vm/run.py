"""Boot every row of the matrix and say what holds: .venv/bin/python -m tests.vm.run [--row NAME]."""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.vm import archive, images, machine
from tests.vm.rows import ROWS, Row

LOGS: Final = images.TREE / "build" / "vm"
"""Each row's console, kept until the row runs again."""


def say(line: str) -> None:
    """Write one line of progress."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(row: Row, client: Path, payload: Path) -> machine.Ending:
    """Boot one row and play its cases."""
    kernel = images.kernel(row.suite, say)
    root = images.root_file_system(say, engine=bool(row.engine))
    images.write_payload(payload, client, {"rungs": row.rungs, "auto": row.auto, "engine": row.engine})
    LOGS.mkdir(parents=True, exist_ok=True)
    return machine.boot(kernel, root, payload, row.boot, LOGS / f"{row.name}.log")


def show(row: Row, ending: machine.Ending) -> None:
    """Write what a row found, failures with all they said."""
    for case in ending.failed:
        say(f"  FAILED {case.name}")
        for line in case.said.splitlines():
            say(f"    {line}")
    if ending.trouble:
        say(f"  TROUBLE {ending.trouble}; the console is in {LOGS / f'{row.name}.log'}")


def table(endings: dict[str, machine.Ending]) -> list[str]:
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
    asked = parser.parse_args().row
    rows = [row for row in ROWS if not asked or row.name in asked]
    endings: dict[str, machine.Ending] = {}
    with tempfile.TemporaryDirectory(prefix="sockwarden-vm-") as folder:
        try:
            client = images.client(Path(folder))
            for number, row in enumerate(rows, 1):
                ending = run(row, client, Path(folder) / "payload.tar")
                endings[row.name] = ending
                word = "holds" if ending.ok else "DOES NOT HOLD"
                say(f"[{number}/{len(rows)}] {row.name}: {word}, {len(ending.cases)} cases, {ending.seconds:.0f} s")
                show(row, ending)
        except archive.ArchiveError as error:
            say(f"vm: {error}")
            return 1
    for line in table(endings):
        say(line)
    return 0 if all(ending.ok for ending in endings.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
