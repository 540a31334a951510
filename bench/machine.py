"""Readings of the host: CPU time and memory of a process tree, and how busy others kept the machine."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RESET_PEAK: Final = "5"
"""What to write to /proc/PID/clear_refs to make VmHWM start again from the present RSS (proc(5))."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree in KiB. ``peak`` is the sum of the peaks since the last ``reset_peak``."""

    rss: int
    pss: int
    peak: int


@dataclass(frozen=True, slots=True)
class HostTime:
    """The first line of /proc/stat, as far as noise goes, in clock ticks."""

    total: int
    idle: int
    steal: int


def process_tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue  # the thread has just ended
    return found


def cpu_seconds(pid: int) -> float:
    """Return user and system time of the tree.

    It is the sum that /proc/PID/stat gives in ticks of 10 ms, read from the process's own clock, which has nanoseconds;
    clock_getcpuclockid(3) makes the number of that clock in the same way.
    """
    total = 0.0
    for member in process_tree(pid):
        try:
            total += time.clock_gettime((~member << 3) | 2)
        except OSError:
            continue  # it has just ended
    return total


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def memory(pid: int) -> Memory:
    """Return the memory of the tree. Raises OSError when the process is gone."""
    rss = pss = peak = 0
    for member in process_tree(pid):
        rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        rss += _field(rollup, "Rss")
        pss += _field(rollup, "Pss")
        peak += _field(Path(f"/proc/{member}/status").read_text(), "VmHWM")
    return Memory(rss, pss, peak)


def reset_peak(pid: int) -> None:
    """Let the peaks of the tree start from what it uses now."""
    for member in process_tree(pid):
        Path(f"/proc/{member}/clear_refs").write_text(RESET_PEAK)


def host_time() -> HostTime:
    """Read how the host has spent its time since boot."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return HostTime(total=sum(ticks[:8]), idle=ticks[3] + ticks[4], steal=ticks[7])


def shares(before: HostTime, after: HostTime) -> tuple[float, float]:
    """Return the shares of time that were idle and stolen by the hypervisor between two readings."""
    total = max(1, after.total - before.total)
    return (after.idle - before.idle) / total, (after.steal - before.steal) / total


def describe() -> str:
    """Return one line that says on what the figures were taken."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{os.cpu_count()} x {model[1] if model else os.uname().machine}, Linux {os.uname().release}"
