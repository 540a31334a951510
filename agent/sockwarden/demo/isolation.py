"""Private namespaces for throw-away programs, and a launcher that ties them to their parent's life.

Owns what keeps a throw-away engine apart from the host: a mount namespace whose ``/run`` and
``/etc/docker`` are empty, so that the engine finds no containerd that runs already, and leaves nothing
there; on demand a network namespace with only its loopback. It must never change a mount of the host.

``python -m sockwarden.demo.isolation [--private] [--] PROGRAM ARG...`` starts one program so.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

from sockwarden.errors import PermissionNeededError, SockwardenError

CLONE_NEWNS: Final = 0x00020000  # unshare(2)
CLONE_NEWNET: Final = 0x40000000
PR_SET_PDEATHSIG: Final = 1  # prctl(2)
SIOCSIFFLAGS: Final = 0x8914  # netdevice(7)
IFF_UP: Final = 1

PRIVATE_DIRECTORIES: Final = (Path("/run"), Path("/etc/docker"))
"""Directories that an engine writes to whatever its flags say (containerd's shim sockets, key.json)."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def enter(*, network: bool = False) -> list[Path]:
    """Put the calling thread, and all processes that it starts from now on, into private namespaces.

    Returns the directories that had to be made as mount points: ``leave`` them empty to ``forget``.
    Raises ``PermissionNeededError`` where the kernel refuses (not root, or a container without CAP_SYS_ADMIN), and
    ``SockwardenError`` where a mount fails.
    """
    if _libc.unshare(CLONE_NEWNS | (CLONE_NEWNET if network else 0)) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise PermissionNeededError(
            f"private namespaces are refused: {reason}",
            remedy="run as root, on the host or in a container that has CAP_SYS_ADMIN",
        )
    # Slave: a mount of the host still arrives here, none of ours goes back.
    _mount("--make-rslave", "/")
    made = []
    for directory in PRIVATE_DIRECTORIES:
        if not directory.exists():
            directory.mkdir()
            made.append(directory)
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(directory))
    if network:
        _loopback_up()
    return made


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise SockwardenError(
            f"mount {' '.join(arguments)} failed: {reason[0]}",
            remedy="run on the host itself or in a virtual machine: in a chroot the root directory is no mount point",
        )


def forget(made: list[Path]) -> None:
    """Remove the mount points that ``enter`` had to make; one that somebody filled since then stays."""
    for directory in made:
        with contextlib.suppress(OSError):
            subprocess.run(["umount", directory], check=False, stderr=subprocess.DEVNULL)
            directory.rmdir()


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, even by SIGKILL."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before prctl() could know
        sys.exit(1)


def launcher(*, private: bool) -> list[str]:
    """Return the words to put before a command so that it starts through this module."""
    words = [sys.executable, "-m", "sockwarden.demo.isolation", str(os.getpid())]
    return [*words, "--private", "--"] if private else [*words, "--"]


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main(arguments: list[str]) -> None:
    """Become the program that follows ``--``."""
    split = arguments.index("--")
    options, command = arguments[:split], arguments[split + 1 :]
    if "--private" in options:
        enter()
    die_with_parent(int(options[0]))
    os.execvp(command[0], command)  # the point of a launcher


if __name__ == "__main__":
    main(sys.argv[1:])
