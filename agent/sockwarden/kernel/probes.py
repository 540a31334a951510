"""What this machine offers to the guard, each as an answer with its reason and remedy.

Owns reading of the kernel's own statements. Must change nothing and never raise: an answer that cannot be
had is a "no" with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError
from sockwarden.kernel import libbpf

if TYPE_CHECKING:
    from collections.abc import Callable

_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
_CAP_BPF: Final = 39
"""linux/capability.h."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One feature. ``needed``: no BPF rung works without it."""

    name: str
    ok: bool
    reason: str
    remedy: str = ""
    needed: bool = False


def survey(root: Path = Path("/")) -> tuple[Answer, ...]:
    """Return every answer for the machine whose ``/proc`` and ``/sys`` lie under ``root``."""
    return tuple(probe(root) for probe in _PROBES)


def missing(answers: tuple[Answer, ...]) -> Answer | None:
    """Return the first needed feature that is not there, or None."""
    return next((answer for answer in answers if answer.needed and not answer.ok), None)


def _btf(root: Path) -> Answer:
    if (root / "sys/kernel/btf/vmlinux").is_file():
        return Answer("btf", ok=True, reason="/sys/kernel/btf/vmlinux is there", needed=True)
    return Answer(
        "btf",
        ok=False,
        reason="the kernel has no BTF (/sys/kernel/btf/vmlinux)",
        remedy="use a kernel with CONFIG_DEBUG_INFO_BTF, as every Debian kernel from 5.10 is",
        needed=True,
    )


def _libbpf(_root: Path) -> Answer:
    try:
        return Answer("libbpf", ok=True, reason=f"libbpf {libbpf.version()}", needed=True)
    except KernelError as error:
        return Answer("libbpf", ok=False, reason=str(error), remedy=error.remedy, needed=True)


def _capabilities(root: Path) -> Answer:
    remedy = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
    effective = 0
    for line in _read(root / "proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    held = {number for number in (_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF) if effective >> number & 1}
    if _CAP_SYS_ADMIN in held or {_CAP_BPF, _CAP_PERFMON} <= held:
        return Answer("capabilities", ok=True, reason="CAP_BPF and CAP_PERFMON are held", needed=True)
    return Answer("capabilities", ok=False, reason="CAP_BPF and CAP_PERFMON are not held", remedy=remedy, needed=True)


def _lockdown(root: Path) -> Answer:
    text = _read(root / "sys/kernel/security/lockdown").strip()
    if "[confidentiality]" in text:
        return Answer(
            "lockdown",
            ok=False,
            reason="the kernel is locked down for confidentiality: no BPF program may read kernel memory",
            remedy="boot with lockdown=integrity, which Secure Boot uses by itself",
            needed=True,
        )
    return Answer("lockdown", ok=True, reason=f"lockdown: {text or 'off'}", needed=True)


def _lsm(root: Path) -> Answer:
    active = _read(root / "sys/kernel/security/lsm").strip()
    if "bpf" in active.split(","):
        return Answer("lsm", ok=True, reason=f"active LSMs: {active}")
    return Answer(
        "lsm",
        ok=False,
        reason=f"bpf is not among the active LSMs ({active or 'unknown'}): its programs load and never fire",
        remedy="add bpf to the lsm= boot parameter; the rung fmod_ret does without",
    )


def _bpffs(root: Path) -> Answer:
    for line in _read(root / "proc/mounts").splitlines():
        fields = line.split(" ")
        if fields[2:3] == ["bpf"]:
            return Answer("bpffs", ok=True, reason=f"mounted on {fields[1]}")
    return Answer("bpffs", ok=False, reason="bpffs is not mounted", remedy="mount -t bpf bpf /sys/fs/bpf")


def _cgroup2(root: Path) -> Answer:
    for line in _read(root / "proc/mounts").splitlines():
        fields = line.split(" ")
        if fields[2:3] == ["cgroup2"]:
            return Answer("cgroup2", ok=True, reason=f"mounted on {fields[1]}")
    return Answer(
        "cgroup2",
        ok=False,
        reason="no cgroup v2 tree is mounted: the kernel cannot tell containers apart by cgroup",
        remedy="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
    )


_PROBES: Final[tuple[Callable[[Path], Answer], ...]] = (
    _btf,
    _libbpf,
    _capabilities,
    _lockdown,
    _lsm,
    _bpffs,
    _cgroup2,
)


def _read(path: Path) -> str:
    """Return the text of a small kernel file; "" where there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
