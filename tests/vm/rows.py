"""The matrix: which kernels are booted, how, and what each rung must do there. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HOLDS: Final = "holds"
"""The rung loads, the canary proves it, and it does what its row of the ladder says."""

FOUND_OUT: Final = "found out"
"""The program loads and attaches and never fires: the canary must refuse it."""

REFUSED: Final = "refused"
"""The kernel does not take the program, and the reason is said."""


@dataclass(frozen=True, slots=True)
class Row:
    """One machine. ``boot`` is added to the kernel's command line; ``rungs`` says what each must do.

    ``auto`` is the rung that the ladder chooses by itself. ``engine`` names the rung for an act with a real
    engine, the whole agent and real containers instead, and ``systemd`` the one that ``auto`` must take in a whole
    system. ``bench`` names rungs to measure instead of all tests. ``root`` is one of ``images.ROOTS``, ``processors``
    is how many the machine has.
    """

    name: str
    suite: str
    boot: str
    rungs: Mapping[str, str]
    auto: str = "fmod_ret"
    engine: str = ""
    systemd: str = ""
    bench: tuple[str, ...] = ()
    processors: int = 1
    root: str = "plain"


def _rungs(*, lsm: str, listener: str) -> Mapping[str, str]:
    return {
        "fmod_ret": HOLDS,
        "lsm": lsm,
        "kprobe": HOLDS,
        "guard_listener": listener,  # the two watchers of the rung tracepoint, by their programs' names
        "guard_syscall": HOLDS,
    }


ROWS: Final = (
    # Debian 11's default list of LSMs has no bpf in it, so its second row adds it.
    Row("bullseye-default", "bullseye", "", _rungs(lsm=FOUND_OUT, listener=REFUSED)),
    Row("bullseye-bpf", "bullseye", "lsm=lockdown,yama,apparmor,bpf", _rungs(lsm=HOLDS, listener=REFUSED)),
    Row("bookworm-default", "bookworm", "", _rungs(lsm=HOLDS, listener=REFUSED)),
    # As Secure Boot locks a kernel down, and further than that: then no program may read the kernel's memory.
    Row("bookworm-integrity", "bookworm", "lockdown=integrity", _rungs(lsm=HOLDS, listener=REFUSED)),
    Row(
        "bookworm-confidentiality",
        "bookworm",
        "lockdown=confidentiality",
        dict.fromkeys(("fmod_ret", "lsm", "kprobe", "guard_listener", "guard_syscall"), REFUSED),
        auto="none",
    ),
    Row("bookworm-nobpf", "bookworm", "lsm=landlock,lockdown,yama,apparmor", _rungs(lsm=FOUND_OUT, listener=REFUSED)),
    # Nothing in the machine says how far its kernel may be preempted, so auto takes the rung that is never skipped.
    Row("trixie-default", "trixie", "", _rungs(lsm=HOLDS, listener=HOLDS), auto="lsm"),
    Row("trixie-nobpf", "trixie", "lsm=landlock,lockdown,yama,apparmor", _rungs(lsm=FOUND_OUT, listener=HOLDS)),
    # A kernel without BTF, as far as the agent can see. It compiles for a minute there.
    Row("bullseye-bcc", "bullseye", "btf=hidden", {}, auto="bcc", root="bcc"),
    # None for bullseye: Debian 12's runc starts no container on Linux 5.10 here, with or without the agent.
    Row("bookworm-engine", "bookworm", "", {}, engine="fmod_ret", root="engine"),
    Row("trixie-engine", "trixie", "", {}, engine="lsm", root="engine"),
    # Two processors, emulated by two threads: what one processor never shows, such as a decision beside a publication.
    Row("bookworm-smp", "bookworm", "", _rungs(lsm=HOLDS, listener=REFUSED), processors=2),
    Row("bookworm-systemd", "bookworm", "userland=systemd", {}, systemd="fmod_ret", root="engine"),
    Row("trixie-systemd", "trixie", "userland=systemd", {}, systemd="fmod_ret", root="engine"),
)

BENCH_ROWS: Final = (
    Row("bench-bookworm", "bookworm", "", {}, bench=("fmod_ret", "lsm")),
    Row("bench-trixie", "trixie", "", {}, bench=("fmod_ret", "lsm")),
)
"""Not tests: ``make bench-vm`` boots them one after another."""
