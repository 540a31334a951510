"""One machine under software emulation: boots, runs its tests, ends.

Owns the emulator's command line, the console's log, the time limit, and how an ending is read from the log.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.vm.images import Kernel

EMULATOR: Final = "qemu-system-x86_64"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How the machine's instructions are run: words of the emulator's command line."""

    name: str
    accel: str
    processor: str


EMULATION: Final = Accelerator("software emulation", "tcg,thread=multi", "max,-cx16")
"""Without cmpxchg16b: Linux 6.12 ends in a double fault in its allocator where qemu 7.2 emulates it."""

KVM: Final = Accelerator("KVM", "kvm", "host")

MEMORY_MIB: Final = 2048

LIMIT_SECONDS: Final = 1200.0
"""Of the host's clock: ten times what a row takes on one slow processor; rows beside it are no failure."""

_COMMAND_LINE: Final = "console=ttyS0 quiet loglevel=3 panic=-1"


@dataclass(frozen=True, slots=True)
class Case:
    """One case as the machine reported it."""

    name: str
    ok: bool
    seconds: float
    said: str


@dataclass(frozen=True, slots=True)
class Ending:
    """``trouble`` says why the machine's word cannot be taken; empty if it came to its end."""

    seconds: float
    cases: tuple[Case, ...]
    told: dict[str, str]
    trouble: str

    @property
    def failed(self) -> tuple[Case, ...]:
        """The cases that did not hold."""
        return tuple(case for case in self.cases if not case.ok)

    @property
    def ok(self) -> bool:
        """Whether everything was played and held."""
        return not self.trouble and not self.failed


def fastest() -> Accelerator:
    """Return KVM where the processor's own virtualization stands behind it, else software emulation.

    A /dev/kvm without it, as some virtual machines have, takes only kernels made for that.
    """
    flags = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    return KVM if flags & {"vmx", "svm"} and os.access("/dev/kvm", os.R_OK | os.W_OK) else EMULATION


def boot(
    kernel: Kernel,
    root: Path,
    payload: Path,
    command_line: str,
    log: Path,
    *,
    accelerator: Accelerator = EMULATION,
    processors: int = 1,
) -> Ending:
    """Run one machine to its end; the console goes to ``log``."""
    command = [EMULATOR, "-accel", accelerator.accel, "-cpu", accelerator.processor]
    command += ["-smp", str(processors), "-m", str(MEMORY_MIB)]
    command += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{log}"]
    command += ["-kernel", str(kernel.image), "-initrd", str(kernel.initramfs)]
    command += ["-append", f"{_COMMAND_LINE} {command_line}"]
    command += ["-drive", f"file={root},if=virtio,format=raw,snapshot=on"]
    command += ["-drive", f"file={payload},if=virtio,format=raw,readonly=on"]
    log.write_bytes(b"")
    started = time.monotonic()
    trouble = ""
    try:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
        if done.returncode != 0:
            trouble = f"{EMULATOR} ended with {done.returncode}: {done.stderr.strip()[-500:]}"
    except subprocess.TimeoutExpired:
        trouble = f"the machine did not end within {LIMIT_SECONDS:.0f} s"
    return read_console(log, time.monotonic() - started, trouble)


def read_console(log: Path, seconds: float, trouble: str) -> Ending:
    """Take the machine's word from its console: marked lines, of which none may be missing."""
    marked: dict[str, list[Any]] = {"case": [], "told": [], "sum": [], "end": []}
    for line in log.read_text("utf-8", "replace").splitlines():
        mark, _, said = line.strip().partition(" ")
        if mark.removeprefix("@@") in marked and mark.startswith("@@"):
            try:
                marked[mark.removeprefix("@@")].append(json.loads(said))
            except ValueError:
                trouble = trouble or f"a line of the console is broken: {line[:200]}"
    cases = tuple(Case(**fields) for fields in marked["case"])
    failed = sum(not case.ok for case in cases)
    if not trouble and len(marked["end"]) != 1:
        trouble = "the machine went down before its end"
    if not trouble and marked["sum"] != [{"cases": len(cases), "failed": failed}]:
        trouble = f"the tests did not come to their end: {marked['sum']} is not {len(cases)} and {failed}"
    if not trouble and marked["end"] != [min(failed, 100)]:
        trouble = f"the tests ended with {marked['end']}"
    if not cases:
        trouble = trouble or "no case was played"
    return Ending(seconds, cases, {fields["name"]: fields["said"] for fields in marked["told"]}, trouble)
