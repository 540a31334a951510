from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sockwarden.kernel.compiled import headers
from sockwarden.kernel.ladder import NEEDS
from sockwarden.kernel.probes import Answer, survey

if TYPE_CHECKING:
    from pathlib import Path

ALL_CAPS = "CapEff:\t000001ffffffffff\n"
RELEASE = "proc/sys/kernel/osrelease"
SECURITY = "sys/kernel/security"


def machine(root: Path, files: dict[str, str]) -> dict[str, Answer]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {answer.name: answer for answer in survey(root)}


@pytest.mark.parametrize(
    ("feature", "file", "text", "expected"),
    [
        ("btf", "sys/kernel/btf/vmlinux", "x", True),
        ("btf", "unrelated", "", False),
        ("capabilities", "proc/self/status", ALL_CAPS, True),
        ("capabilities", "proc/self/status", f"CapEff:\t{1 << 38 | 1 << 39:016x}\n", True),
        ("capabilities", "proc/self/status", f"CapEff:\t{1 << 39:016x}\n", False),
        ("capabilities", "unrelated", "", False),
        ("lockdown", f"{SECURITY}/lockdown", "none integrity [confidentiality]\n", False),
        ("lockdown", f"{SECURITY}/lockdown", "none [integrity] confidentiality\n", True),
        ("lockdown", "unrelated", "", True),
        ("lsm", f"{SECURITY}/lsm", "lockdown,capability,bpf\n", True),
        ("lsm", f"{SECURITY}/lsm", "lockdown,capability\n", False),
        ("lsm", f"{SECURITY}/lsm", "lockdown,bpfish\n", False),
        ("kprobes", "sys/bus/event_source/devices/kprobe/type", "8\n", True),
        ("kprobes", "unrelated", "", False),
        ("reentry", RELEASE, "6.2.0\n", True),
        ("reentry", RELEASE, "6.1.0-50-cloud-amd64\n", False),
        ("reentry", "unrelated", "", False),
        ("bpffs", "proc/mounts", "bpf /sys/fs/bpf bpf rw 0 0\n", True),
        ("bpffs", "proc/mounts", "tmpfs /bpf tmpfs rw 0 0\n", False),
        ("cgroup2", "proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", True),
        ("cgroup2", "proc/mounts", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n", False),
        ("headers", "sys/kernel/kheaders.tar.xz", "x", True),
        ("headers", "unrelated", "", False),
    ],
)
def test_a_feature_is_answered_from_the_kernels_own_words(
    tmp_path: Path, feature: str, file: str, text: str, expected: bool
) -> None:
    assert machine(tmp_path, {file: text})[feature].ok is expected


def test_the_headers_are_those_of_the_running_kernel(tmp_path: Path) -> None:
    files = {
        RELEASE: "5.10.0\n",
        "lib/modules/5.10.0/build/include/linux/kconfig.h": "",
        "lib/modules/5.10.0/build/include/generated/utsrelease.h": '#define UTS_RELEASE "5.10.0"\n',
    }
    assert machine(tmp_path, files)["headers"].ok


def test_missing_headers_are_asked_for_by_their_package(tmp_path: Path) -> None:
    assert machine(tmp_path, {RELEASE: "5.10.0\n"})["headers"].remedy == headers.REMEDY.format(release="5.10.0")


@pytest.mark.parametrize(
    ("version", "files", "model", "told"),
    [
        ("#1 SMP PREEMPT_RT Debian", {}, "rt", True),
        ("#1 SMP PREEMPT Debian", {}, "full", True),
        ("#1 SMP PREEMPT_DYNAMIC", {"sys/kernel/debug/sched/preempt": "none voluntary (full)\n"}, "full", True),
        ("#1 SMP PREEMPT_DYNAMIC", {"sys/kernel/debug/sched/preempt": "none voluntary full (lazy)\n"}, "lazy", True),
        ("#1 SMP PREEMPT_DYNAMIC", {"proc/cmdline": "quiet preempt=none preempt=full\n"}, "full", True),
        ("#1 SMP PREEMPT_DYNAMIC", {"boot/config-6.12.0": "CONFIG_PREEMPT=y\n"}, "full", True),
        ("#1 SMP PREEMPT_DYNAMIC", {"boot/config-6.12.0": "CONFIG_PREEMPT_LAZY=y\n"}, "lazy", True),
        ("#1 SMP PREEMPT_DYNAMIC", {}, "unknown", False),
    ],
)
def test_a_kernel_that_may_preempt_its_programs_is_known(
    tmp_path: Path, version: str, files: dict[str, str], model: str, told: bool
) -> None:
    found = machine(tmp_path, {"proc/version": f"Linux version {version}\n", RELEASE: "6.12.0\n", **files})["preempt"]
    assert (found.ok, found.told) == (False, told)
    assert found.reason.startswith(f"preemption: {model} (")
    # Around the hook of connect() the kernel holds spin locks, which only PREEMPT_RT lets others interrupt.
    assert ("so a connect() may pass" in found.reason) is (model in ("rt", "unknown"))


@pytest.mark.parametrize(
    ("version", "files"),
    [
        ("#1 SMP Debian", {}),
        ("#1 SMP PREEMPT_DYNAMIC", {"sys/kernel/debug/sched/preempt": "none (voluntary) full\n"}),
        ("#1 SMP PREEMPT_DYNAMIC", {"proc/cmdline": "preempt=voluntary"}),
        ("#1 SMP PREEMPT_DYNAMIC", {"boot/config-6.12.0": "CONFIG_PREEMPT_DYNAMIC=y\nCONFIG_PREEMPT_VOLUNTARY=y\n"}),
    ],
)
def test_a_kernel_that_never_preempts_its_programs_is_known(
    tmp_path: Path, version: str, files: dict[str, str]
) -> None:
    assert machine(tmp_path, {"proc/version": version, RELEASE: "6.12.0\n", **files})["preempt"].ok


def test_a_kernel_that_skips_no_program_may_preempt_them(tmp_path: Path) -> None:
    assert machine(tmp_path, {"proc/version": "#1 SMP PREEMPT", RELEASE: "5.10.0\n"})["preempt"].ok


def test_every_missing_feature_has_a_reason_and_a_remedy(tmp_path: Path) -> None:
    found = machine(tmp_path, {}).values()
    assert all(answer.reason and (answer.ok or answer.remedy) for answer in found)


def test_whatever_a_rung_needs_is_asked_of_the_machine(tmp_path: Path) -> None:
    assert {need for needs in NEEDS.values() for need in needs} <= set(machine(tmp_path, {}))
