"""What the guard costs on stock kernels: .venv/bin/python -m tests.vm.bench, one machine at a time.

Prints ratios, which say something under software emulation too, and writes every figure to ``build/vm/bench.json``.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.vm import archive, images, machine, run
from tests.vm.rows import BENCH_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULT: Final = run.LOGS / "bench.json"

TARGETS: Final = {"other": 1.15, "allowed": 1.45, "denied": None}
"""At most, of one connect() without a guard: 0.5 and 1.5 microseconds more than 3.3."""

WORDS: Final = {"other": "not guarded", "allowed": "guarded, allowed", "denied": "guarded, denied"}


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(nanoseconds: Mapping[str, Sequence[int]], kind: str) -> list[float]:
    """Return how much longer a connect() of ``kind`` took than one without a guard, round by round."""
    return [one / bare for one, bare in zip(nanoseconds[kind], nanoseconds["none"], strict=True)]


def table(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line per kernel, rung and kind, and one for what a start costs."""
    lines = [f"{'kernel, rung':28}{'connect() to a socket':24}{'ratio':>7}{'quartiles':>14}{'target':>10}"]
    for name, told in measured.items():
        for kind, target in TARGETS.items():
            low, middle, high = quartiles(ratios(told["nanoseconds"], kind))
            verdict = "" if target is None else f"<= {target}" + (" MISSED" if middle > target else "")
            lines.append(f"{name:28}{WORDS[kind]:24}{middle:7.2f}{low:8.2f}-{high:.2f}  {verdict}")
        start, canary = statistics.median(told["start"]), statistics.median(told["canary"])
        before, after = told["kib"]
        lines.append(
            f"{name:28}start {start:.2f} s, of which the canary {canary:.2f} s; "
            f"bare connect() {statistics.median(told['nanoseconds']['none']) / 1000:.1f} us; "
            f"resident {before >> 10} MiB before, {after >> 10} MiB after"
        )
    return lines


def main() -> int:
    """Measure; 0 if every machine came to its end."""
    accelerator = machine.fastest()
    if accelerator is machine.EMULATION:
        run.say("bench-vm: software emulation: only the ratios mean something, and not more than roughly")
    measured: dict[str, Any] = {}
    failed = False
    with tempfile.TemporaryDirectory(prefix="sockwarden-vm-") as folder:
        try:
            run.build(BENCH_ROWS, 1)
            programs = images.programs(Path(folder))
            for row in BENCH_ROWS:
                ending = run.run(row, programs, Path(folder), accelerator)
                run.say(*run.troubles(row, ending))
                failed = failed or not ending.ok
                kernel = images.kernel(row.suite, run.say).version
                for rung in row.bench:
                    if said := ending.told.get(f"bench: {rung}"):
                        measured[f"{kernel} {rung}"] = json.loads(said)
        except archive.ArchiveError as error:
            run.say(f"bench-vm: {error}")
            return 1
    RESULT.write_text(json.dumps({"by": accelerator.name, "measured": measured}, indent=1) + "\n", "utf-8")
    run.say(*table(measured), f"every figure is in {RESULT}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
