"""What this machine offers to the guard, each as an answer with its reason and remedy.

Owns reading of the kernel's own statements. Must change nothing and never raise: an answer that cannot be
had is a "no" with the reason. Which rung needs which answer is the ladder's business.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.compiled import headers

if TYPE_CHECKING:
    from collections.abc import Callable

_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
_CAP_BPF: Final = 39
"""linux/capability.h."""

_SKIPS: Final = (5, 12)
"""The first release that skips a tracing program while it runs on the same processor (kernel/bpf/trampoline.c:
``__bpf_prog_enter_recur``)."""

_LSM_NEVER_SKIPPED: Final = (6, 2)
"""The first release whose LSM programs run without the check for a run under way (include/linux/bpf_verifier.h:
``bpf_prog_check_recur``; before, kernel/bpf/trampoline.c checked them as it checks tracing programs)."""


_UNKNOWN_VERSION: Final = (1 << 16, 0)


@dataclass(frozen=True, slots=True)
class Answer:
    """One feature. ``reason`` says what was found, ``remedy`` what to do where the answer is no.

    ``told`` is false where the machine does not say, so that the answer is the careful one.
    """

    name: str
    ok: bool
    reason: str
    remedy: str = ""
    told: bool = True


def survey(root: Path = Path("/")) -> tuple[Answer, ...]:
    """Return every answer for the machine whose ``/proc``, ``/sys``, ``/boot`` and ``/lib`` lie under ``root``."""
    return tuple(probe(root) for probe in _PROBES)


def _btf(root: Path) -> Answer:
    if (root / "sys/kernel/btf/vmlinux").is_file():
        return Answer("btf", ok=True, reason="/sys/kernel/btf/vmlinux is there")
    return Answer(
        "btf",
        ok=False,
        reason="the kernel has no BTF (/sys/kernel/btf/vmlinux)",
        remedy="use a kernel with CONFIG_DEBUG_INFO_BTF, as every Debian kernel from 5.10 is",
    )


def _libbpf(_root: Path) -> Answer:
    try:
        return Answer("libbpf", ok=True, reason=f"libbpf {libbpf.version()}")
    except KernelError as error:
        return Answer("libbpf", ok=False, reason=str(error), remedy=error.remedy)


def _capabilities(root: Path) -> Answer:
    effective = 0
    for line in _read(root / "proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    held = {number for number in (_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF) if effective >> number & 1}
    if _CAP_SYS_ADMIN in held or {_CAP_BPF, _CAP_PERFMON} <= held:
        return Answer("capabilities", ok=True, reason="CAP_BPF and CAP_PERFMON are held")
    return Answer(
        "capabilities",
        ok=False,
        reason="CAP_BPF and CAP_PERFMON are not held",
        remedy="run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE",
    )


def _lockdown(root: Path) -> Answer:
    text = _read(root / "sys/kernel/security/lockdown").strip()
    if "[confidentiality]" in text:
        return Answer(
            "lockdown",
            ok=False,
            reason="the kernel is locked down for confidentiality: no BPF program may read kernel memory",
            remedy="boot with lockdown=integrity, which Secure Boot uses by itself",
        )
    return Answer("lockdown", ok=True, reason=f"lockdown: {text or 'off'}")


def _lsm(root: Path) -> Answer:
    active = _read(root / "sys/kernel/security/lsm").strip()
    if "bpf" in active.split(","):
        return Answer("lsm", ok=True, reason=f"active LSMs: {active}")
    return Answer(
        "lsm",
        ok=False,
        reason=f"bpf is not among the active LSMs ({active or 'unknown'}): its programs load and never fire",
        remedy="add bpf to the lsm= boot parameter; the rung fmod_ret does without",
        told=bool(active),
    )


def _kprobes(root: Path) -> Answer:
    if (root / "sys/bus/event_source/devices/kprobe/type").is_file():
        return Answer("kprobes", ok=True, reason="the kernel has kprobes")
    return Answer(
        "kprobes",
        ok=False,
        reason="the kernel has no kprobes (/sys/bus/event_source/devices/kprobe)",
        remedy="use a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS; the blocking rungs do without",
    )


def _preempt(root: Path) -> Answer:
    model, source = _preemption(root)
    said = f"preemption: {model} ({source})"
    if model in ("none", "voluntary"):
        return Answer("preempt", ok=True, reason=said)
    if _version(root) < _SKIPS:
        return Answer("preempt", ok=True, reason=f"{said}; Linux {_release(root)} skips no program for it")
    # unix_stream_connect() holds spin locks around the hook (net/unix/af_unix.c): only PREEMPT_RT switches tasks there.
    which = "a connect()" if model in ("rt", "unknown") else "the hand-over of a connection"
    return Answer(
        "preempt",
        ok=False,
        reason=f"{said}: a tracing program that runs already on a processor is skipped there, so {which} may pass",
        remedy="boot with preempt=voluntary, or with bpf in lsm=, where auto prefers the rung lsm",
        told=model != "unknown",
    )


def _preemption(root: Path) -> tuple[str, str]:
    """Return the model of preemption in force, and what says so."""
    version = _read(root / "proc/version").split()
    if "PREEMPT_RT" in version:
        return "rt", "PREEMPT_RT"
    chosen = re.search(r"\((\w+)\)", _read(root / "sys/kernel/debug/sched/preempt"))
    if chosen:
        return chosen[1], "debugfs"
    if "PREEMPT" in version:
        return "full", "/proc/version"
    if "PREEMPT_DYNAMIC" not in version:
        # A kernel without any form of it does not say so by a word of its own.
        return ("none", "/proc/version") if version else ("unknown", "no /proc/version")
    asked = re.findall(r"(?:^|\s)preempt=(none|voluntary|full|lazy)(?=\s|$)", _read(root / "proc/cmdline"))
    if asked:
        return asked[-1], "the kernel's command line"
    config = _read(root / f"boot/config-{_release(root)}")
    built = re.search(r"^CONFIG_PREEMPT(_NONE|_VOLUNTARY|_LAZY|)=y$", config, re.MULTILINE)
    if built:
        return built[1].removeprefix("_").lower() or "full", "the kernel's build"
    return "unknown", "PREEMPT_DYNAMIC; debugfs and the kernel's build are not to be seen"


def _reentry(root: Path) -> Answer:
    release = _release(root)
    if _LSM_NEVER_SKIPPED <= _version(root) < _UNKNOWN_VERSION:
        return Answer("reentry", ok=True, reason=f"LSM programs are never skipped (Linux {release})")
    return Answer(
        "reentry",
        ok=False,
        reason=f"LSM programs can be skipped as tracing programs can (Linux {release or 'unknown'})",
        remedy="of no matter without full preemption; else use Linux 6.2 or later",
    )


def _bpffs(root: Path) -> Answer:
    where = _mounted(root, "bpf")
    if where:
        return Answer("bpffs", ok=True, reason=f"mounted on {where}")
    return Answer(
        "bpffs",
        ok=False,
        reason="bpffs is not mounted: the guard ends with the agent",
        remedy="mount -t bpf bpf /sys/fs/bpf",
    )


def _cgroup2(root: Path) -> Answer:
    where = _mounted(root, "cgroup2")
    if where:
        return Answer("cgroup2", ok=True, reason=f"mounted on {where}")
    return Answer(
        "cgroup2",
        ok=False,
        reason="no cgroup v2 tree is mounted: the kernel cannot tell containers apart by cgroup",
        remedy="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
    )


def _headers(root: Path) -> Answer:
    release = _release(root)
    try:
        headers.find(root, release)
    except KernelError as error:
        return Answer("headers", ok=False, reason=f"{error}; only the rung bcc needs them", remedy=error.remedy)
    return Answer("headers", ok=True, reason=f"the headers of Linux {release} are there")


def _bcc(_root: Path) -> Answer:
    if importlib.util.find_spec("bcc") is not None:
        return Answer("bcc", ok=True, reason="the Python module bcc is there")
    return Answer(
        "bcc",
        ok=False,
        reason="the Python module bcc is not installed; only the rung bcc needs it",
        remedy="install python3-bpfcc (Debian) or python3-bcc (Fedora)",
    )


_PROBES: Final[tuple[Callable[[Path], Answer], ...]] = (
    _btf,
    _libbpf,
    _capabilities,
    _lockdown,
    _lsm,
    _kprobes,
    _preempt,
    _reentry,
    _bpffs,
    _cgroup2,
    _headers,
    _bcc,
)


def _release(root: Path) -> str:
    return _read(root / "proc/sys/kernel/osrelease").strip()


def _version(root: Path) -> tuple[int, int]:
    """Return the first two numbers of the release; where they are not to be seen, one above all others."""
    numbers = re.match(r"(\d+)\.(\d+)", _release(root))
    return (int(numbers[1]), int(numbers[2])) if numbers else _UNKNOWN_VERSION


def _mounted(root: Path, kind: str) -> str:
    """Return where the first file system of a type is mounted, "" if it is not."""
    for line in _read(root / "proc/mounts").splitlines():
        fields = line.split(" ")
        if fields[2:3] == [kind]:
            return fields[1]
    return ""


def _read(path: Path) -> str:
    """Return the text of a small kernel file; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
