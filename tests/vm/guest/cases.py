"""What must hold in a machine, rung by rung.

Each function takes the report and plays whole cases. What a rung must do stands in the expectations that
the host sent along (tests/vm/rows.py).
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import resource
import select
import signal
import socket
import subprocess
import traceback
from typing import TYPE_CHECKING, Final

from tests.vm.guest import roads
from tests.vm.guest.stage import Ending, Stage

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import libbpf, loader
from sockwarden.kernel.bpf.maps import fullness
from sockwarden.kernel.events import Sighting, Taken
from sockwarden.kernel.guard import GuardSettings
from sockwarden.kernel.life import process
from sockwarden.kernel.life.lifefeed import TRACK_PROGRAMS
from sockwarden.kernel.rungs import PROGRAMS, WATCHERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.vm.guest.report import Report

BLOCKING: Final = ("fmod_ret", "lsm")

PUBLICATIONS: Final = 100
"""How often the sockets are published anew while a client hammers at one of them."""

FLOOD: Final = 200
"""Connects whose records do not fit into a ring of one page."""

WAITING: Final = 20
"""Connections that wait for accept() at one time."""

KILLED: Final = -signal.SIGKILL

REFUSED_AT_ONCE: Final = Ending(errno.EPERM, accepted=0)


def settings(rung: str, action: abi.Action = abi.Action.BLOCK) -> GuardSettings:
    """Return what asks for a rung, or for one watcher of the rung tracepoint."""
    if rung in WATCHERS:
        return GuardSettings(mode="tracepoint", watcher=rung, action=action)
    return GuardSettings(mode=rung, action=action)


def same(found: object, wanted: object) -> None:
    """Fail with both sides: a machine has no test framework to show them."""
    if found != wanted:
        raise AssertionError(f"found {found}, wanted {wanted}")


def every_program_passes_the_verifier(report: Report, rungs: Mapping[str, str]) -> None:
    """Also those of a rung that never fires; not those that hook what a kernel does not have."""
    refused = {f"guard_{rung.removeprefix('guard_')}" for rung, wanted in rungs.items() if wanted == "refused"}
    programs = [(loader.GUARD, program) for sets in PROGRAMS.values() for one in sets for program in one]
    programs += [(loader.TRACK, program) for program in TRACK_PROGRAMS]
    if "guard_fmod_ret" in refused:
        return  # the kernel takes no program that reads its memory
    for name, program in dict.fromkeys(programs):
        if program in refused:
            continue
        with report.case(f"verifier: {program}"):
            loader.BpfObject(name, (program,)).close()


def the_canary_finds_out_a_rung_that_never_fires(report: Report, rung: str) -> None:
    with report.case(f"{rung}: the canary finds out that it never fires"):
        same("loads and attaches, but a connect() that must not pass" in refusal(rung), True)


def the_kernel_refuses_a_rung(report: Report, rung: str) -> None:
    with report.case(f"{rung}: refused with its reason"):
        report.tell(f"{rung}: refusal", refusal(rung))


def refusal(rung: str) -> str:
    """Return how a rung that cannot be had is refused."""
    try:
        with Stage(settings(rung)):
            raise AssertionError(f"{rung} is in force")
    except KernelError as error:
        return f"{error}; {error.remedy}"


def a_blocking_rung_holds(report: Report, rung: str) -> None:
    with Stage(settings(rung)) as stage:
        _tell_cost(report, rung, stage)
        for road in roads.ROADS:
            with report.case(f"{rung}: {road.name} fails with EPERM"):
                pid = stage.begin(road.walk)
                same(Ending(stage.end(pid), stage.accepted(stage.guarded)), REFUSED_AT_ONCE)
                stage.until(lambda pid=pid: bool(stage.events(pid)))  # type: ignore[misc]
                told = {(event.taken, event.connect.socket) for event in stage.events(pid)}
                same(told, {(Taken.BLOCKED, stage.guarded)})
        with report.case(f"{rung}: the agent itself connects"):
            same((roads.connect(str(stage.guarded)), stage.accepted(stage.guarded)), (0, 1))
        with report.case(f"{rung}: a process of the host connects"):
            same(stage.send(roads.direct, outside=False), Ending(0, accepted=1))
        with report.case(f"{rung}: an ordinary socket stays open to all"):
            same(stage.end(stage.begin(lambda _place: roads.connect(str(stage.ordinary)))), 0)
        with report.case(f"{rung}: a public socket stays open to all"):
            same(stage.end(stage.begin(lambda _place: roads.connect(str(stage.public)))), 0)
        with report.case(f"{rung}: a host-only socket is closed to others"):
            same(stage.end(stage.begin(lambda _place: roads.connect(str(stage.host_only)))), errno.EPERM)
        with report.case(f"{rung}: an abstract socket stays open to all"):
            same(_connect_to_abstract(stage), 0)
        with report.case(f"{rung}: no instant is open while sockets are published anew"):
            _publish_under_fire(stage)
        with report.case(f"{rung}: audit lets pass and reports"):
            stage.guard.set_action(abi.Action.AUDIT)
            pid = stage.begin(roads.direct)
            same(Ending(stage.end(pid), stage.accepted(stage.guarded)), Ending(0, accepted=1))
            stage.until(lambda: bool(stage.events(pid)))
            same({event.taken for event in stage.events(pid)}, {Taken.REPORTED})
        with report.case(f"{rung}: kill ends the process before anything is accepted"):
            stage.guard.set_action(abi.Action.KILL)
            same(stage.send(roads.direct, stay=True), Ending(KILLED, accepted=0))
        stage.guard.close()
        for road in roads.ROADS:  # else a road that fails by itself would look like a wall
            with report.case(f"{rung}: {road.name} is open again when the guard is closed"):
                same(stage.send(road.walk), Ending(0, accepted=1))


def a_flood_does_not_open_a_blocking_rung(report: Report, rung: str) -> None:
    with Stage(dataclasses.replace(settings(rung), ring_bytes=resource.getpagesize())) as stage:
        with report.case(f"{rung}: a full ring loses records, counted, and no decision"):
            pid = stage.begin(lambda place: max({roads.connect(place.text) for _ in range(FLOOD)}, key=_unlike_refusal))
            # The agent reads nothing meanwhile: the loop runs only after the client's end.
            same(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), errno.EPERM)
            counters = stage.guard.counters()
            same((counters["guard_denied"] >= FLOOD, counters["guard_dropped"] > 0), (True, True))
            same(stage.accepted(stage.guarded), 0)
        with report.case(f"{rung}: a socket that was made anew is guarded after the next publication"):
            stage.guarded.unlink()
            stage.listen(stage.guarded.name)
            stage.publish()
            same(stage.send(roads.direct), REFUSED_AT_ONCE)


def the_agent_may_have_a_namespace_of_its_own(report: Report, rung: str) -> None:
    """As a service with a sandbox has: neither it nor the host may be taken for a container."""
    with report.case(f"{rung}: an agent outside the host's mount namespace"):
        agent = os.fork()
        if agent == 0:
            os._exit(_be_an_agent_outside(rung))
        same(os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]), 0)


def a_killing_rung_holds(report: Report, rung: str) -> None:
    """Not a wall: how many bytes get through is not asked, only that the process dies of it."""
    with Stage(settings(rung, abi.Action.KILL)) as stage:
        _tell_cost(report, rung, stage)
        for road in roads.ROADS:
            if rung == "guard_syscall" and not road.by_syscall:
                continue
            with report.case(f"{rung}: {road.name} is killed"):
                pid = stage.begin(road.walk, stay=True)
                same(stage.end(pid), KILLED)
            stage.accepted(stage.guarded)
        with report.case(f"{rung}: a process of the host lives"):
            same(stage.send(roads.direct, outside=False), Ending(0, accepted=1))
        with report.case(f"{rung}: an ordinary socket stays open to all"):
            same(stage.end(stage.begin(lambda _place: roads.connect(str(stage.ordinary)))), 0)
        if rung == "guard_syscall":
            with report.case(f"{rung}: a path that is re-pointed after connect() is seen through by socket diag"):
                pid = _re_pointing_client(stage)
                same(stage.end(pid), KILLED)
                same({event.connect.sighting for event in stage.events(pid)}, {Sighting.HELD})


def the_connector_is_known_by_the_accepted_descriptor(report: Report, rung: str) -> None:
    """The programs' side only: the agent does not read this map yet."""
    with Stage(settings(rung)) as stage:
        with report.case(f"{rung}: the connector is known when it is dead already"):
            pid = stage.begin(lambda _place: roads.connect(str(stage.public)))
            same(stage.end(pid), 0)
            with _accepted(stage) as one:
                actor = _connector(stage, one)
                same(actor is not None, True)
                if actor is not None:
                    same((actor.tgid, actor.cgroup_id), (pid, stage.cgroup.stat().st_ino))
                    same(actor.mnt_ns not in (0, process.host_mount_namespace()), True)
                    same((actor.mnt_id > 0, actor.mnt_id < 1 << 40), (True, True))  # counted from 1, no address
        with report.case(f"{rung}: two waiting connectors are told apart"):
            pids = [stage.begin(lambda _place: roads.connect(str(stage.public))) for _ in range(2)]
            for pid in pids:
                same(stage.end(pid), 0)
            with _accepted(stage) as first, _accepted(stage) as second:
                found = [actor for actor in (_connector(stage, first), _connector(stage, second)) if actor]
                same(sorted(actor.tgid for actor in found), sorted(pids))
                same(len({actor.mnt_id for actor in found}), 2)
        with report.case(f"{rung}: an ordinary connection has no connector"):
            same(stage.end(stage.begin(lambda _place: roads.connect(str(stage.ordinary)))), 0)
            with _accepted(stage, stage.ordinary) as other:
                same(_connector(stage, other), None)
        with report.case(f"{rung}: another descriptor has no connector"):
            left, right = socket.socketpair()
            with left, right:
                same(_connector(stage, left), None)
        with report.case(f"{rung}: a connection that is over leaves no connector behind"):
            pid = stage.begin(lambda _place: max(roads.connect(str(stage.public)) for _ in range(WAITING)))
            same(stage.end(pid), 0)
            same((_entries(stage, "sw_pending"), _entries(stage, "sw_clients")), (WAITING, WAITING))
            same(stage.accepted(stage.public), WAITING)
            same((_entries(stage, "sw_pending"), _entries(stage, "sw_clients")), (0, 0))


def life_is_told(report: Report) -> None:
    with Stage(GuardSettings()) as stage:
        with report.case("life: a new cgroup is known by its id"):
            number = stage.cgroup.stat().st_ino
            stage.until(lambda: stage.guard.cgroup_path(number) == f"/{stage.cgroup.name}")
        with report.case("life: the init of a new pid namespace is told from birth to end"):
            subprocess.run(["unshare", "--pid", "--fork", "true"], check=True)
            stage.until(lambda: any(_kind(record) is abi.Kind.INIT_EXIT for record in stage.life))
            told = [kind for kind in map(_kind, stage.life) if kind is not None]
            same(told, [abi.Kind.INIT_BORN, abi.Kind.INIT_EXEC, abi.Kind.INIT_EXIT])


def the_ladder_by_itself(report: Report, wanted: str) -> None:
    with report.case(f"auto: {wanted} is in force and every row has its reason"), Stage(GuardSettings()) as stage:
        rows = stage.guard.report.rows
        same([row.name for row in rows if row.in_force], [wanted])
        same([row.name for row in rows if not row.reason], [])


def _be_an_agent_outside(rung: str) -> int:
    try:
        roads.leave_host()
        with Stage(settings(rung)) as stage:
            same((roads.connect(str(stage.guarded)), stage.accepted(stage.guarded)), (0, 1))
            same(stage.send(roads.direct), REFUSED_AT_ONCE)
            same(stage.send(roads.from_the_host, outside=False), Ending(0, accepted=1))
    except BaseException:  # a fork must never play the other cases
        traceback.print_exc()
        return 1
    return 0


def _unlike_refusal(status: int) -> bool:
    return status != errno.EPERM


def _tell_cost(report: Report, rung: str, stage: Stage) -> None:
    report.tell(f"{rung}: seconds to start", round(stage.start_seconds, 2))
    report.tell("resident MiB at most", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def _connect_to_abstract(stage: Stage) -> int:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0abstract")
        listener.listen()
        return stage.end(stage.begin(lambda _place: roads.connect("\0abstract")))


def _publish_under_fire(stage: Stage) -> None:
    """A client connects in a loop until told to stop; one success is one too many."""
    told_reading, told_writing = os.pipe()
    stop_reading, stop_writing = os.pipe()

    def hammer(place: roads.Place) -> int:
        tries = 0
        while not select.select([stop_reading], [], [], 0)[0]:
            if roads.connect(place.text) != errno.EPERM:
                return 1
            tries += 1
            if tries in (1, PUBLICATIONS):
                os.write(told_writing, b"!")
        os.write(told_writing, str(tries).encode())
        return 0

    try:
        pid = stage.begin(hammer, cgroup=stage.make_cgroup())  # what it cannot tell any more, others still can
        os.close(told_writing)  # a client that dies early ends the read below
        os.read(told_reading, 1)
        published = 0
        while published < PUBLICATIONS or not select.select([told_reading], [], [], 0)[0]:
            stage.publish()
            published += 1
            os.sched_yield()  # one processor: the client must have its turn
        os.write(stop_writing, b"!")
        status = stage.end(pid)
        tries = int(os.read(told_reading, 20).strip(b"!") or b"0")
        same((status, stage.accepted(stage.guarded), tries >= PUBLICATIONS), (0, 0, True))
    finally:
        for descriptor in (told_reading, stop_reading, stop_writing):
            os.close(descriptor)


def _re_pointing_client(stage: Stage) -> int:
    """Start a client whose path leads elsewhere before the agent's loop runs again; return its pid."""
    reading, writing = os.pipe()

    def walk(place: roads.Place) -> int:
        link = place.private / "link"
        link.symlink_to(place.guarded)
        status = roads.connect(str(link))
        link.unlink()
        link.symlink_to(stage.ordinary)
        os.write(writing, b"!")
        return status

    pid = stage.begin(walk, stay=True)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return pid


def _accepted(stage: Stage, where: Path | None = None) -> socket.socket:
    one = stage.accept(where or stage.public)
    if one is None:
        raise AssertionError("nothing was accepted")
    return one


def _connector(stage: Stage, accepted: socket.socket) -> abi.RawActor | None:
    force = stage.guard._force
    if force is None:
        raise AssertionError("no rung is in force")
    inode, actor = ctypes.c_uint64(os.fstat(accepted.fileno()).st_ino), abi.RawActor()
    descriptor = force.map_fd("sw_identity")
    result = libbpf.library().bpf_map_lookup_elem(descriptor, ctypes.byref(inode), ctypes.byref(actor))
    return actor if result == 0 else None


def _entries(stage: Stage, name: str) -> int:
    force = stage.guard._force
    if force is None:
        raise AssertionError("no rung is in force")
    return fullness(force.map_fd(name)).entries


def _kind(record: abi.CgroupRecord | abi.ProcessRecord) -> abi.Kind | None:
    return record.kind if isinstance(record, abi.ProcessRecord) else None
