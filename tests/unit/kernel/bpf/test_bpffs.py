from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import bpffs
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of mounts in which the test's own file system is listed as the test says."""
    path = tmp_path / "mountinfo"
    monkeypatch.setattr(bpffs, "_MOUNTINFO", path)
    return path


def line(path: Path, kind: str) -> str:
    device = path.stat().st_dev
    return f"36 35 {os.major(device)}:{os.minor(device)} / {path} rw,noatime shared:1 - {kind} none rw\n"


def test_a_folder_on_bpffs_is_known_by_its_device(tmp_path: Path, table: Path) -> None:
    table.write_text(line(tmp_path, "bpf"))
    assert bpffs.holds(tmp_path)


def test_a_folder_that_is_not_there_yet_is_where_the_nearest_one_above_it_is(tmp_path: Path, table: Path) -> None:
    table.write_text(line(tmp_path, "bpf"))
    assert bpffs.holds(tmp_path / "not" / "yet")


def test_another_file_system_is_no_bpffs(tmp_path: Path, table: Path) -> None:
    table.write_text(line(tmp_path, "tmpfs"))
    assert not bpffs.holds(tmp_path)


def test_a_mounted_bpffs_is_not_mounted_again(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table.write_text("36 35 0:27 / /sys/fs/bpf rw - bpf bpf rw\n")
    monkeypatch.setattr(subprocess, "run", None)  # calling it would fail
    bpffs.mount()


def test_without_the_kernels_folder_there_is_nothing_to_mount_on(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write_text("")
    monkeypatch.setattr(bpffs, "MOUNT_POINT", tmp_path / "none")
    with pytest.raises(KernelError, match="there is no"):
        bpffs.mount()


def test_nothing_is_mounted_from_a_mount_namespace_of_ones_own(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write_text("")
    monkeypatch.setattr(bpffs, "MOUNT_POINT", tmp_path)
    monkeypatch.setattr(process, "host_mount_namespace", lambda: 1)
    with pytest.raises(KernelError, match="of one's own it cannot be") as caught:
        bpffs.mount()
    assert caught.value.remedy.startswith("on the host: mount -t bpf")


def test_what_the_mount_says_is_told(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table.write_text("")
    monkeypatch.setattr(bpffs, "MOUNT_POINT", tmp_path)
    monkeypatch.setattr(process, "host_mount_namespace", lambda: process.namespace("self", "mnt"))
    monkeypatch.setattr(bpffs, "_KIND", "no-such-file-system")
    with pytest.raises(KernelError, match=r"cannot be mounted on .*: mount: "):
        bpffs.mount()
