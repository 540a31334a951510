"""The file system in which BPF objects have names: whether it is there, mounting it, and objects by path.

Owns these three. Must not know what is pinned or why.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.life import process

MOUNT_POINT: Final = Path("/sys/fs/bpf")
"""The empty directory that the kernel makes for it (kernel/bpf/inode.c: bpf_init)."""

MOUNT_SECONDS: Final = 10.0

_KIND: Final = "bpf"

_OPTIONS: Final = "nosuid,nodev,noexec,mode=700"
"""As systemd mounts it (src/shared/mount-setup.c); without a mode the kernel lets everybody write."""

_MOUNTINFO: Final = Path("/proc/self/mountinfo")


def holds(path: Path) -> bool:
    """Return whether ``path``, or the nearest folder above it that exists, lies on bpffs."""
    while not os.path.exists(path):  # Path.exists() fails where bpffs refuses a name
        path = path.parent
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(found == number for found, _, kind in _mounts() if kind == _KIND)


def mount() -> None:
    """Mount bpffs at its usual place, as systemd does; where it is mounted already nothing happens.

    Raises:
        KernelError: the kernel has none, or the mount would end with this process's own mount namespace.
    """
    if any(point == str(MOUNT_POINT) and kind == _KIND for _, point, kind in _mounts()):
        return
    by_hand = f"mount -t bpf -o {_OPTIONS} bpf {MOUNT_POINT}"
    if not MOUNT_POINT.is_dir():
        raise KernelError(f"there is no {MOUNT_POINT}", remedy="use a kernel with CONFIG_BPF_SYSCALL, and mount sysfs")
    if process.namespace("self", "mnt") != process.host_mount_namespace():
        reason = f"bpffs is not mounted on {MOUNT_POINT}, and from a mount namespace of one's own it cannot be"
        raise KernelError(reason, remedy=f"on the host: {by_hand}")
    command = ["mount", "-t", _KIND, "-o", _OPTIONS, _KIND, str(MOUNT_POINT)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=MOUNT_SECONDS)
        said = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said:
        raise KernelError(f"bpffs cannot be mounted on {MOUNT_POINT}: {said}", remedy=by_hand)


def pin(fd: int, path: Path) -> None:
    """Give the object behind a descriptor a name; from then on it outlives this process.

    Raises:
        KernelError: the kernel refused, or the name is taken.
    """
    libbpf.forget_log()
    libbpf.check(f"pin {path}", libbpf.library().bpf_obj_pin(fd, os.fsencode(path)))


def get(path: Path) -> int:
    """Return a descriptor of the object with a name, which is the caller's to close.

    Raises:
        KernelError: there is none.
    """
    libbpf.forget_log()
    return libbpf.check(f"open {path}", libbpf.library().bpf_obj_get(os.fsencode(path)))


def _mounts() -> list[tuple[str, str, str]]:
    """Return device, mount point and type of every mount that this process sees (proc_pid_mountinfo(5))."""
    mounts = []
    for line in _MOUNTINFO.read_text("utf-8", "backslashreplace").splitlines():
        mount, _, origin = line.partition(" - ")
        fields = mount.split(" ")
        mounts.append((fields[2], fields[4], origin.split(" ")[0]))
    return mounts
