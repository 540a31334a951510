from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sockwarden.kernel.probes import Answer, missing, survey

if TYPE_CHECKING:
    from pathlib import Path

ALL_CAPS = "CapEff:\t000001ffffffffff\n"


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
        ("lockdown", "sys/kernel/security/lockdown", "none integrity [confidentiality]\n", False),
        ("lockdown", "sys/kernel/security/lockdown", "none [integrity] confidentiality\n", True),
        ("lockdown", "unrelated", "", True),
        ("lsm", "sys/kernel/security/lsm", "lockdown,capability,bpf\n", True),
        ("lsm", "sys/kernel/security/lsm", "lockdown,capability\n", False),
        ("lsm", "sys/kernel/security/lsm", "lockdown,bpfish\n", False),
        ("bpffs", "proc/mounts", "bpf /sys/fs/bpf bpf rw 0 0\n", True),
        ("bpffs", "proc/mounts", "tmpfs /bpf tmpfs rw 0 0\n", False),
        ("cgroup2", "proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", True),
        ("cgroup2", "proc/mounts", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n", False),
    ],
)
def test_a_feature_is_answered_from_the_kernels_own_words(
    tmp_path: Path, feature: str, file: str, text: str, expected: bool
) -> None:
    assert machine(tmp_path, {file: text})[feature].ok is expected


def test_every_missing_feature_has_a_reason_and_a_remedy(tmp_path: Path) -> None:
    answers = machine(tmp_path, {}).values()
    assert all(answer.reason and (answer.ok or answer.remedy) for answer in answers)


def test_the_first_needed_feature_that_lacks_is_named(tmp_path: Path) -> None:
    lacking = missing(tuple(machine(tmp_path, {"proc/self/status": ALL_CAPS}).values()))
    assert lacking is not None
    assert lacking.name == "btf"


def test_what_no_rung_needs_may_lack(tmp_path: Path) -> None:
    files = {"proc/self/status": ALL_CAPS, "sys/kernel/btf/vmlinux": "x"}
    assert missing(tuple(machine(tmp_path, files).values())) is None
