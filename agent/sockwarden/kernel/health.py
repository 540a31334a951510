"""How the guard itself fares: what its programs and maps have to say of themselves, as one value.

Owns reading of counters, program facts and map sizes from whatever holds them, and that no counter ever goes back.
Must not judge the numbers, nor wait for anything.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sockwarden.abi import GuardStat, SocketClass, TrackStat
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf.maps import Fullness, fullness, per_cpu_sum
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    import enum
    from collections.abc import Iterable, Mapping

COUNT_SECONDS: Final = 15.0
"""Between two counts of all entries: with every map full one takes 15 ms, and Prometheus asks as often by default."""

GUARD_MAPS: Final = ("sw_guarded", "sw_verdicts", "sw_pending", "sw_identity", "sw_clients", "sw_budgets")
"""The hashes of the guard; the ring is told by what was dropped."""

LIFE_BUDGETS: Final = "sw_budgets"
"""The one hash of the tracking programs, a map of its own with the same name."""

MAPS: Final = (*GUARD_MAPS, "sw_life_budgets")
"""Every name in ``Health.maps``."""

PROGRAMS: Final = (
    *("guard_fmod_ret", "guard_lsm", "guard_kprobe", "guard_listener", "guard_syscall"),
    *("identity_graft", "identity_free", "receive_fmod_ret", "receive_lsm"),
    *("track_cgroup_mkdir", "track_cgroup_rmdir", "track_fork", "track_exec", "track_exit"),
)
"""Every name in ``Health.programs``; a later one counts nowhere until it stands here."""


DECIDING: Final = ("guard_", "receive_")
"""How the names of programs begin that decide whether a connection may be."""


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """``missed``: the kernel skipped the program because it was running on that CPU already.

    ``runs`` and ``run_ns`` stay 0 unless kernel.bpf_stats_enabled is on.
    """

    missed: int = 0
    runs: int = 0
    run_ns: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """All numbers of a guard at one moment; those that count never go back while the agent runs."""

    guard: Mapping[GuardStat, int]
    track: Mapping[TrackStat, int]
    programs: Mapping[str, ProgramFacts]
    maps: Mapping[str, Fullness]
    sockets: Mapping[SocketClass, int]
    lost: int = 0
    undecodable: int = 0
    sweeps: int = 0
    sweeps_failed: int = 0
    cgroups: int = 0
    cgroups_evicted: int = 0

    @property
    def unjudged(self) -> int:
        """Runs that the kernel skipped of programs that decide; the others' cost no more than a record."""
        return sum(facts.missed for name, facts in self.programs.items() if name.startswith(DECIDING))


class Source(Protocol):
    """What holds programs and maps; see ``force.Force`` and ``lifefeed.LifeFeed``."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of its programs."""

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map; raises KernelError where there is none."""

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a program; raises KernelError where there is none."""


class Gauge:
    """Reads the numbers of one guard, whose programs and maps may be replaced meanwhile."""

    def __init__(self) -> None:
        self._bases: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._fullness: dict[str, Fullness] = {}
        self._counted_at = -COUNT_SECONDS

    def guard_stats(self, source: Source | None) -> dict[GuardStat, int]:
        """Return the counters of the guard's programs."""
        return {which: self._stat(source, "sw_guard_stats", which) for which in GuardStat}

    def track_stats(self, source: Source | None) -> dict[TrackStat, int]:
        """Return the counters of the tracking programs."""
        return {which: self._stat(source, "sw_track_stats", which) for which in TrackStat}

    def programs(self, sources: Iterable[Source | None]) -> dict[str, ProgramFacts]:
        """Return the facts of every program that runs."""
        found = {}
        for source in sources:
            for name in source.programs if source is not None else ():
                try:
                    raw = program_facts(source.program_fd(name)) if source is not None else ProgramFacts()
                except (KernelError, OSError):
                    continue  # a kernel that keeps no such numbers
                found[name] = ProgramFacts(
                    self.never_back(f"{name}.missed", raw.missed),
                    self.never_back(f"{name}.runs", raw.runs),
                    self.never_back(f"{name}.run_ns", raw.run_ns),
                )
        return found

    def maps(self, guard: Source | None, life: Source | None) -> Mapping[str, Fullness]:
        """Return how full every map is, as it was COUNT_SECONDS ago at most."""
        now = time.monotonic()
        if now - self._counted_at < COUNT_SECONDS:
            return self._fullness
        self._counted_at = now
        wanted = [(guard, name, name) for name in GUARD_MAPS] + [(life, LIFE_BUDGETS, MAPS[-1])]
        counted = {}
        for source, name, label in wanted:
            if source is not None:
                try:
                    counted[label] = fullness(source.map_fd(name))
                except KernelError:
                    continue  # this rung has no such map, or a kernel before 5.6 cannot count it
        self._fullness = counted
        return counted

    def never_back(self, key: str, raw: int) -> int:
        """Return a counter that goes on where it was when what it is read from was replaced and begins anew."""
        last = self._last.get(key, 0)
        if raw < last:
            self._bases[key] = self._bases.get(key, 0) + last
        self._last[key] = raw
        return self._bases.get(key, 0) + raw

    def _stat(self, source: Source | None, name: str, which: enum.IntEnum) -> int:
        key = f"{name}.{which.name}"
        if source is None:
            return self._bases.get(key, 0) + self._last.get(key, 0)
        return self.never_back(key, per_cpu_sum(source.map_fd(name), which))


def program_facts(fd: int) -> ProgramFacts:
    """Return what the kernel says of a loaded program (kernel/bpf/syscall.c: bpf_prog_show_fdinfo).

    Raises:
        OSError: the descriptor is not open.
    """
    descriptor = os.open(process.PROC / "self" / "fdinfo" / str(fd), os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, 4096).decode("ascii", "replace")
    finally:
        os.close(descriptor)
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    numbers = (facts.get(name, "0").strip() for name in ("recursion_misses", "run_cnt", "run_time_ns"))
    return ProgramFacts(*(int(number) if number.isdigit() else 0 for number in numbers))
