"""What the end of a connection is worth when it is given to another process.

Owns the ways by which a descriptor reaches a process that has not opened it, and what must hold of each. Not
among them: fork(), which the kernel asks nobody about.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.vm.guest import roads
from tests.vm.guest.cases import same, settings
from tests.vm.guest.stage import BROKEN, Stage

from sockwarden import abi
from sockwarden.kernel.events import Taken

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.vm.guest.report import Report

_libc: Final = ctypes.CDLL(None, use_errno=True)

_PIDFD_GETFD: Final = 438  # the same number on every machine
_SECCOMP: Final = 317
_GETPPID: Final = 110
_PR_SET_NO_NEW_PRIVS: Final = 38
_NEW_LISTENER: Final = 1 << 3
_NOTIF_RECV: Final = 0xC0502100
_NOTIF_SEND: Final = 0xC0182101
_NOTIF_ADDFD: Final = 0x40182103

_FILTER: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the number of the system call
        (0x15, 0, 1, _GETPPID),
        (0x06, 0, 0, 0x7FC00000),  # ask the supervisor
        (0x06, 0, 0, 0x7FFF0000),  # allow
    )
)


@dataclass(frozen=True, slots=True)
class Way:
    """``give`` runs in the process that connected, ``take`` in the other; each returns an errno or 0.

    Both have an end of a socket pair to talk over; ``give`` also gets the connection.
    """

    name: str
    give: Callable[[socket.socket, socket.socket], int]
    take: Callable[[socket.socket], int]


def _send_rights(talk: socket.socket, one: socket.socket) -> int:
    socket.send_fds(talk, [b"!"], [one.fileno()])
    return 0


def _receive_rights(talk: socket.socket) -> int:
    _, descriptors, flags, _ = socket.recv_fds(talk, 1, 1)
    return 0 if descriptors and not flags & socket.MSG_CTRUNC else errno.EPERM


def _receive_rights_by_peeking(talk: socket.socket) -> int:
    _, descriptors, flags, _ = socket.recv_fds(talk, 1, 1, socket.MSG_PEEK)
    return 0 if descriptors and not flags & socket.MSG_CTRUNC else errno.EPERM


def _tell_number(talk: socket.socket, one: socket.socket) -> int:
    talk.send(f"{os.getpid()} {one.fileno()}".encode())
    talk.recv(1)  # stay until it was tried
    return 0


def _fetch(talk: socket.socket) -> int:
    giver, number = map(int, talk.recv(64).split())
    try:
        got = _libc.syscall(_PIDFD_GETFD, os.pidfd_open(giver), number, 0)
        return 0 if got >= 0 else ctypes.get_errno()
    finally:
        talk.send(b"!")


def _supervise(talk: socket.socket, one: socket.socket) -> int:
    """Answer the other's system call, and put a descriptor into its table meanwhile."""
    _, (listener,), _, _ = socket.recv_fds(talk, 1, 1)
    asked = array.array("B", bytes(80))
    fcntl.ioctl(listener, _NOTIF_RECV, asked)
    (number,) = struct.unpack_from("=Q", asked)
    status = 0
    try:
        fcntl.ioctl(listener, _NOTIF_ADDFD, struct.pack("=QIIII", number, 0, one.fileno(), 0, 0))
    except OSError as error:
        status = error.errno or BROKEN
    fcntl.ioctl(listener, _NOTIF_SEND, array.array("B", struct.pack("=QqiI", number, 0, 0, 0)))
    return status


def _be_supervised(talk: socket.socket) -> int:
    code = ctypes.create_string_buffer(_FILTER)
    program = struct.pack("=HxxxxxxQ", len(_FILTER) // 8, ctypes.addressof(code))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = _libc.syscall(_SECCOMP, 1, _NEW_LISTENER, program)
    if listener < 0:
        return BROKEN
    socket.send_fds(talk, [b"!"], [listener])
    os.getppid()
    return 0


WAYS: Final = (
    Way("SCM_RIGHTS", _send_rights, _receive_rights),
    Way("SCM_RIGHTS with MSG_PEEK", _send_rights, _receive_rights_by_peeking),
    Way("pidfd_getfd", _tell_number, _fetch),
    Way("a seccomp supervisor", _supervise, _be_supervised),
)


def hand(path: Path, way: Way, become: Callable[[], None]) -> Callable[[roads.Place], int]:
    """Return a road: connect to ``path``, and hand the connection to a child that did ``become`` first."""

    def walk(_place: roads.Place) -> int:
        ours, theirs = socket.socketpair()
        child = os.fork()  # before connect(), else the child has the connection already
        if child == 0:
            os._exit(_be_the_other(way, become, theirs))
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))
            given = way.give(ours, one)
            taken = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return given or abs(taken)

    return walk


def a_connection_cannot_be_handed_over(report: Report, rung: str) -> None:
    """To nobody who could not have made it; everybody else is not touched."""
    with Stage(settings(rung)) as stage:
        for way in WAYS:
            _from_a_container(report, f"{rung}: {way.name}", stage, way)
            _from_the_host(report, f"{rung}: {way.name}", stage, way)
        with report.case(f"{rung}: the agent may be given a connection"):
            same(_given_to_the_agent(stage), 1)
        with report.case(f"{rung}: an ordinary connection is handed to anybody"):
            same(stage.end(stage.begin(hand(stage.ordinary, WAYS[0], roads.leave_host))), 0)
        with report.case(f"{rung}: a hand-over that was refused is told"):
            stage.until(lambda: any(_is_refusal(event.connect.socket, event.taken, stage) for event in stage.seen))
        with report.case(f"{rung}: audit lets a hand-over pass and counts it"):
            stage.guard.set_action(abi.Action.AUDIT)
            before = stage.guard.counters()["guard_handed"]
            status = stage.end(stage.begin(hand(stage.public, WAYS[0], roads.leave_host)))
            same((status, stage.guard.counters()["guard_handed"] - before), (0, 1))
        with report.case(f"{rung}: kill ends who takes a connection"):
            stage.guard.set_action(abi.Action.KILL)
            same(stage.end(stage.begin(hand(stage.public, WAYS[0], roads.leave_host))), signal.SIGKILL)
        stage.guard.close()
        for way in WAYS:  # else a way that fails by itself would look like a wall
            with report.case(f"{rung}: {way.name} is open again when the guard is closed"):
                same(stage.end(stage.begin(hand(stage.public, way, roads.leave_host))), 0)


def _from_a_container(report: Report, name: str, stage: Stage, way: Way) -> None:
    with report.case(f"{name} to another namespace is refused"):
        before = stage.guard.counters()["guard_handed"]
        status = stage.end(stage.begin(hand(stage.public, way, roads.leave_host)))
        same((status, stage.guard.counters()["guard_handed"] > before), (errno.EPERM, True))
    with report.case(f"{name} within the connector's namespace passes"):
        same(stage.end(stage.begin(hand(stage.public, way, _stay))), 0)
    with report.case(f"{name} of a client to the host passes"):
        same(stage.end(stage.begin(hand(stage.public, way, roads.enter_host))), 0)


def _from_the_host(report: Report, name: str, stage: Stage, way: Way) -> None:
    with report.case(f"{name} of an engine's connection to an outsider is refused"):
        same(stage.end(stage.begin(hand(stage.guarded, way, roads.leave_host), outside=False)), errno.EPERM)
    with report.case(f"{name} of an engine's connection within the host passes"):
        same(stage.end(stage.begin(hand(stage.guarded, way, _stay), outside=False)), 0)


def _stay() -> None:
    """Be the same container."""


def _be_the_other(way: Way, become: Callable[[], None], talk: socket.socket) -> int:
    try:
        become()
        return way.take(talk)
    except BaseException:  # a fork must never play the other cases
        traceback.print_exc()
        return BROKEN


def _given_to_the_agent(stage: Stage) -> int:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def walk(_place: roads.Place) -> int:
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(stage.public))
                return _send_rights(theirs, one)

        same(stage.end(stage.begin(walk)), 0)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        for descriptor in descriptors:
            os.close(descriptor)
        return len(descriptors)


def _is_refusal(where: Path, taken: Taken, stage: Stage) -> bool:
    return (where, taken) == (stage.public, Taken.BLOCKED)
