"""Who a client is, with the agent's own reader: the dead, the moved, and those whose number is another's by now.

Owns the clients that lie. What a machine's lower steps say of the same connection stands beside each case: SO_PEERPIDFD
is there from Linux 6.5.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.guest import roads
from tests.vm.guest.cases import same, settings
from tests.vm.guest.stage import Stage

from sockwarden.identity.peer import EXITED, REUSED, TICKS_PER_SECOND, PeerSnapshot, identify
from sockwarden.identity.procfs import Procfs
from sockwarden.kernel.life.tracker import MAX_CGROUPS
from sockwarden.model import IdentitySource

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.vm.guest.report import Report

    from sockwarden.abi import Actor
    from sockwarden.kernel.connections.connectors import Connectors

_LAST_PID: Final = Path("/proc/sys/kernel/ns_last_pid")

_TRIES: Final = 20
"""At getting one process number again: others may fork meanwhile."""


class _Nowhere:
    """A reader that knows connectors, and no cgroup's path: as on a host where only cgroup v1 is mounted."""

    def __init__(self, connectors: Connectors) -> None:
        self._connectors = connectors

    def take(self, descriptor: int, /) -> Actor | None:
        return self._connectors.take(descriptor)

    def cgroup_path(self, _cgroup_id: int, /) -> str:
        return ""


def clients_are_who_they_were(report: Report, rung: str) -> None:
    with Stage(settings(rung)) as stage:
        connectors = stage.guard.connectors
        if connectors is None:
            raise AssertionError(f"{rung} has no connectors")
        with report.case(f"{rung}: a live client is the same by every step"):
            pid, here = _live_client(stage)
            with here, _accepted(stage) as one:
                first, second = identify(one, connectors=connectors), identify(one)
                same((_who(first), first.cgroup_lines), ((pid, IdentitySource.KERNEL), second.cgroup_lines))
                same(first.peer and first.peer.start_ticks, Procfs().start_ticks(pid))
                same(second.peer and second.peer.pid, pid)
        with report.case(f"{rung}: a connector is read once"):
            pid, here = _live_client(stage)
            with here, _accepted(stage) as one:
                taken = connectors.take(one.fileno())
                same((taken and taken.tgid, connectors.take(one.fileno())), (pid, None))
        with report.case(f"{rung}: a client that is dead before accept() is known with its cgroup"):
            pid = _dead_client(stage, stage.cgroup)
            with _accepted(stage) as one:
                found = identify(one, connectors=connectors)
                same((_who(found), found.cgroup_lines), ((pid, IdentitySource.KERNEL), f"0::/{stage.cgroup.name}\n"))
                same([identify(one, pidfd=pidfd).reason for pidfd in (True, False)], [EXITED] * 2)
        with report.case(f"{rung}: a dead client whose cgroup is gone too is still known with it"):
            _gone_with_its_cgroup(stage, connectors)
        with report.case(f"{rung}: a cgroup that a flood pushed out of the tracker is found again"):
            _dead_client(stage, stage.cgroup)
            stage.guard.tracker.seed((1 << 48 | number, "/flood") for number in range(MAX_CGROUPS))
            same(stage.guard.tracker.find(stage.cgroup.stat().st_ino), None)
            with _accepted(stage) as one:
                same(identify(one, connectors=connectors).cgroup_lines, f"0::/{stage.cgroup.name}\n")
        with report.case(f"{rung}: a client that moved after it connected stays where it connected"):
            _moved(stage, connectors)
        with report.case(f"{rung}: two waiting clients are told apart, each with its cgroup"):
            cgroups = (stage.cgroup, stage.make_cgroup())
            wanted = {_dead_client(stage, cgroup): f"0::/{cgroup.name}\n" for cgroup in cgroups}
            with _accepted(stage) as one, _accepted(stage) as other:
                both = [identify(each, connectors=connectors) for each in (one, other)]
                same({found.peer.pid: found.cgroup_lines for found in both if found.peer}, wanted)
        with report.case(f"{rung}: a client whose number another process has by now is not that one"):
            _reused(report, stage, connectors)
        with report.case(f"{rung}: a client of a socket that is not the gateway's is identified by a lower step"):
            pid, here = _live_client(stage, stage.ordinary)
            with here, _accepted(stage, stage.ordinary) as one:
                found = identify(one, connectors=connectors)
                same((found.peer and found.peer.pid, _who(found)[1] is IdentitySource.KERNEL), (pid, False))


def _gone_with_its_cgroup(stage: Stage, connectors: Connectors) -> None:
    top = stage.cgroup.parent
    lost = top / "lost"
    lost.mkdir()
    number = lost.stat().st_ino
    stage.until(lambda: stage.guard.tracker.find(number) is not None)
    pid = _dead_client(stage, lost)
    lost.rmdir()
    stage.until(lambda: stage.guard.tracker.find(number) is None)
    with _accepted(stage) as one:
        found = identify(one, connectors=connectors)
        same((_who(found), found.cgroup_lines), ((pid, IdentitySource.KERNEL), "0::/lost\n"))


def _moved(stage: Stage, connectors: Connectors) -> None:
    there = stage.make_cgroup()
    pid, here = _live_client(stage, then=there)
    with here, _accepted(stage) as one:
        found, lower = identify(one, connectors=connectors), identify(one)
        same((_who(found), found.cgroup_lines), ((pid, IdentitySource.KERNEL), f"0::/{stage.cgroup.name}\n"))
        same(lower.cgroup_lines, f"0::/{there.name}\n")  # where it is now: what the lower steps can know


def _reused(report: Report, stage: Stage, connectors: Connectors) -> None:
    """The second process sits in the host's own cgroup: to be taken for it would be the way out."""
    pids = [_dead_client(stage, stage.cgroup) for _ in range(2)]
    first = pids[0]
    died = time.clock_gettime(time.CLOCK_BOOTTIME)
    while time.clock_gettime(time.CLOCK_BOOTTIME) < died + 2 / TICKS_PER_SECOND:
        os.sched_yield()  # start times are told in ticks
    with _process_with_number(first), _accepted(stage) as one, _accepted(stage) as other:
        found = identify(one, connectors=connectors)
        same((_who(found), found.cgroup_lines), ((first, IdentitySource.KERNEL), f"0::/{stage.cgroup.name}\n"))
        same(Procfs().cgroup(first), "0::/\n")
        alone = identify(one)
        report.tell("a reused number by the lower steps alone", alone)
        # By SO_PEERCRED alone this is what cannot be seen; SO_PEERPIDFD names nobody.
        same(alone.reason == EXITED or _who(alone) == (first, IdentitySource.CRED), True)
        same(_who(identify(other, connectors=connectors)), (pids[1], IdentitySource.KERNEL))
    first = _dead_client(stage, stage.cgroup)
    died = time.clock_gettime(time.CLOCK_BOOTTIME)
    while time.clock_gettime(time.CLOCK_BOOTTIME) < died + 2 / TICKS_PER_SECOND:
        os.sched_yield()
    with _process_with_number(first), _accepted(stage) as one:
        bound = identify(one, connectors=_Nowhere(connectors), pidfd=False)
        same(bound, PeerSnapshot(None, reason=REUSED))


def _who(found: PeerSnapshot) -> tuple[int, IdentitySource | None]:
    return (found.peer.pid, found.peer.source) if found.peer else (0, None)


def _dead_client(stage: Stage, cgroup: Path) -> int:
    """Let a client connect to the gateway's socket and end; return the number that it had."""
    pid = stage.begin(lambda _place: roads.connect(str(stage.public)), cgroup=cgroup)
    same(stage.end(pid), 0)
    return pid


def _live_client(
    stage: Stage, path: Path | None = None, then: Path | None = None
) -> tuple[int, contextlib.AbstractContextManager[None]]:
    """Start a client that has connected, and has gone to the cgroup ``then``; leaving the context ends it."""
    reading, writing = os.pipe()

    def walk(_place: roads.Place) -> int:
        status = roads.connect(str(path or stage.public))
        if then is not None:
            (then / "cgroup.procs").write_text(str(os.getpid()), "ascii")
        os.write(writing, b"!")
        return status

    pid = stage.begin(walk, stay=True)
    os.close(writing)
    os.read(reading, 1)  # also ends when the client does
    os.close(reading)
    return pid, _ending(pid)


@contextlib.contextmanager
def _ending(pid: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def _process_with_number(wanted: int) -> Iterator[None]:
    """Run a process of the host that has this number."""
    for _ in range(_TRIES):
        _LAST_PID.write_text(str(wanted - 1), "ascii")
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        with _ending(pid):
            if pid == wanted:
                yield
                return
    raise AssertionError(f"no process got the number {wanted} in {_TRIES} tries")


def _accepted(stage: Stage, path: Path | None = None) -> socket.socket:
    one = stage.accept(path or stage.public)
    if one is None:
        raise AssertionError("nothing was accepted")
    return one
