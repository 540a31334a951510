"""Every road to a socket that a process in a mount namespace of its own can walk.

Owns the table and the calls of each road; they run in a forked child that is already in its place. Each returns
the errno of its connect(), 0 if it connected.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT: Final = Path("/t/client")
NO_ROAD: Final = 200
"""What the client says when a kernel has no such road at all."""

_NOBODY: Final = 65534
_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_BIND: Final = 4096
_MS_PRIVATE_ALL: Final = 0x4000 | 1 << 18

_libc: Final = ctypes.CDLL(None, use_errno=True)

_connected: Final[list[socket.socket]] = []
"""Kept open until the process ends."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client stands: the guarded socket, a folder of its own to make things in, and the agent's pid."""

    guarded: Path
    private: Path
    agent: int
    stay: bool = False

    @property
    def text(self) -> str:
        """The guarded socket's own path."""
        return str(self.guarded)


@dataclass(frozen=True, slots=True)
class Road:
    """``by_syscall``: the 64-bit connect() is called, which the watcher by path text needs."""

    name: str
    walk: Callable[[Place], int]
    by_syscall: bool = True


def leave_host() -> None:
    """Give the calling process a mount namespace of its own, as a container has."""
    _called("unshare", _libc.unshare(_CLONE_NEWNS))
    _called("mount", _libc.mount(None, b"/", None, _MS_PRIVATE_ALL, None))


def connect(path: str) -> int:
    """Connect, and send at once what a request would begin with."""
    one = socket.socket(socket.AF_UNIX)
    try:
        one.connect(path)
        one.send(b"GET /")
    except OSError as error:
        return error.errno or NO_ROAD
    _connected.append(one)
    return 0


def direct(place: Place) -> int:
    return connect(place.text)


def relative(place: Place) -> int:
    os.chdir(place.guarded.parent)
    return connect(place.guarded.name)


def symlink(place: Place) -> int:
    (place.private / "link").symlink_to(place.guarded)
    return connect(str(place.private / "link"))


def hard_link(place: Place) -> int:
    other = place.guarded.with_name("hard.sock")
    os.link(place.guarded, other)
    try:
        return connect(str(other))
    finally:
        other.unlink()


def bind_of_the_file(place: Place) -> int:
    spot = place.private / "spot"
    spot.touch()
    _bind(place.guarded, spot)
    return connect(str(spot))


def bind_of_the_folder(place: Place) -> int:
    spot = place.private / "folder"
    spot.mkdir()
    _bind(place.guarded.parent, spot)
    return connect(str(spot / place.guarded.name))


def root_of_the_agent(place: Place) -> int:
    return connect(f"/proc/{place.agent}/root{place.text}")


def own_root(place: Place) -> int:
    return connect(f"/proc/self/root{place.text}")


def descriptor(place: Place) -> int:
    held = os.open(place.guarded, os.O_PATH)
    return connect(f"/proc/self/fd/{held}")


def chroot(place: Place) -> int:
    spot = place.private / "root"
    spot.mkdir()
    _bind(place.guarded.parent, spot)
    os.chroot(spot)
    return connect(f"/../{place.guarded.name}")


def another_thread(place: Place) -> int:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(connect(place.text)))
    thread.start()
    thread.join()
    return answers[0]


def another_user(place: Place) -> int:
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    return connect(place.text)


def user_namespace(place: Place) -> int:
    _called("unshare", _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
    return connect(place.text)


def enter_host() -> None:
    """Be a process of the host, whatever the agent is: the way of a test, closed to a container."""
    with open("/proc/1/ns/mnt", "rb") as host:
        _called("setns", _libc.setns(host.fileno(), _CLONE_NEWNS))


def from_the_host(place: Place) -> int:
    enter_host()
    return connect(place.text)


def _by(how: str) -> Callable[[Place], int]:
    def walk(place: Place) -> int:
        stay = ["stay"] if place.stay else []
        os.execv(CLIENT, [str(CLIENT), how, place.text, *stay])

    return walk


def _bind(what: Path, where: Path) -> None:
    _called("mount", _libc.mount(os.fsencode(what), os.fsencode(where), None, _MS_BIND, None))


def _called(what: str, result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


ROADS: Final = (
    Road("direct", direct),
    Road("relative path", relative),
    Road("symlink", symlink),
    Road("hard link", hard_link),
    Road("bind mount of the file", bind_of_the_file),
    Road("bind mount of the folder", bind_of_the_folder),
    Road("/proc/PID/root of the agent", root_of_the_agent),
    Road("/proc/self/root", own_root),
    Road("/proc/self/fd", descriptor),
    Road("chroot", chroot),
    Road("another thread", another_thread),
    Road("another user", another_user),
    Road("user namespace of its own", user_namespace),
    Road("io_uring", _by("ring"), by_syscall=False),
    Road("io_uring in a worker", _by("ring-worker"), by_syscall=False),
    Road("io_uring with SQPOLL", _by("ring-poller"), by_syscall=False),
    Road("32-bit system call", _by("compat"), by_syscall=False),
)
