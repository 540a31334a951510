"""Memory of the proxies: idle, after the run, during a long stream, and with connections that only wait."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import cells, machine
from bench.figures import Target
from bench.rounds import LOAD, run_load
from bench.ways import BenchError, Way

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.cells import Sizes

LARGE_ENTRIES: Final = 10_000
LARGE_CONTAINERS: Final = 1_000
STALLED_BYTES: Final = cells.GIB


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of memory of one way."""

    title: str
    way: str
    value: float
    unit: str
    target: Target | None = None

    @property
    def reached(self) -> bool | None:
        """Whether sockwarden's figure is within its target; None without one."""
        if self.target is None or self.way != cells.SOCKWARDEN:
            return None
        return self.target.reached(self.value)


def resting(title: str, way: Way, pid: int, target: Target | None = None) -> list[Reading]:
    """Read RSS and PSS of a proxy as they are now."""
    now = machine.memory(pid)
    return [
        Reading(f"{title}, RSS", way.name, now.rss / 1024, "MiB", target),
        Reading(f"{title}, PSS", way.name, now.pss / 1024, "MiB"),
    ]


def growth(way: Way, pid: int, sizes: Sizes) -> list[Reading]:
    """Stream a long chunked download and upload, and read by how much the peak lies above what was there before."""
    gib = sizes.growth_bytes / cells.GIB
    download = f"/v1.41/images/get?names=x&framing=chunked&bytes={sizes.growth_bytes}"
    found = []
    for name, arguments in (
        ("download", ["download", str(way.socket), download]),
        ("upload", ["upload", str(way.socket), "/v1.41/images/load", str(sizes.growth_bytes), "chunked"]),
    ):
        machine.reset_peak(pid)
        before = machine.memory(pid).rss
        run_load(arguments)
        grown = (machine.memory(pid).peak - before) / 1024
        found.append(Reading(f"peak growth, {gib:g} GiB {name}", way.name, grown, "MiB", Target("<=", 4, unit="MiB")))
    return found


@contextlib.contextmanager
def _held(arguments: list[str]) -> Iterator[None]:
    """Hold the load generator's connections open for the length of the block."""
    with subprocess.Popen([LOAD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None or b"ready" not in process.stdout.readline():
            raise BenchError(f"load {' '.join(arguments)}: the connections cannot be opened")
        yield
        # Leaving the inner context closes stdin, which ends the program.


def waiting(way: Way, pid: int, sizes: Sizes) -> list[Reading]:
    """Read what one idle connection, and one download that nobody reads, cost while they last."""
    download = f"/v1.41/images/get?names=x&bytes={STALLED_BYTES}"
    found = []
    for title, count, verb, rest in (
        ("idle connections", sizes.idle_clients, "idle", ()),
        ("stalled downloads", sizes.stalled_clients, "stalled", (download,)),
    ):
        before = machine.memory(pid).rss
        with _held([verb, str(way.socket), str(count), *rest]):
            held = machine.memory(pid).rss
        found.append(Reading(f"{count} {title}, each", way.name, (held - before) / count, "KiB"))
    return found


def large(way: Way, pid: int) -> list[Reading]:
    """Read the agent with a long image list in front of an engine with many containers."""
    run_load(["requests", str(way.socket), "1", "0.1", "keep"])
    title = f"{LARGE_CONTAINERS:,} containers, {LARGE_ENTRIES:,} entries"
    return resting(title, way, pid, Target("<=", 40, unit="MiB"))


def tell(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def log_sizes(directory: Path) -> str:
    """Return how much the proxies logged: proof that the audit was on."""
    sizes = {
        path.name: path.stat().st_size for path in sorted(directory.iterdir()) if path.suffix in {".jsonl", ".log"}
    }
    return ", ".join(f"{name} {size / cells.MIB:.1f} MiB" for name, size in sizes.items() if size > cells.MIB // 10)
