"""What must hold on a kernel without BTF: the rung bcc, chosen by ``auto`` and compiled in the machine.

One stage for all cases: a compile takes a minute there.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.vm.guest import cases, roads
from tests.vm.guest.cases import KILLED, same
from tests.vm.guest.stage import Ending, Stage

from sockwarden import abi
from sockwarden.kernel.events import Taken
from sockwarden.kernel.guard import GuardSettings
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from tests.vm.guest.report import Report


def the_compiled_rung_holds(report: Report) -> None:
    with Stage(GuardSettings(action=abi.Action.KILL)) as stage:
        report.tell("bcc: seconds to compile and start", round(stage.start_seconds, 1))
        report.tell("bcc: compiler's MiB at most", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
        report.tell("bcc: agent's MiB at most", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
        with report.case("auto: bcc is in force, proved by the canary, and every row has its reason"):
            rows = {row.name: row for row in stage.guard.report.rows}
            same([row.name for row in rows.values() if row.in_force], ["bcc"])
            same([row.name for row in rows.values() if not row.reason], [])
            same([name for name in ("fmod_ret", "lsm", "kprobe") if "BTF" not in rows[name].reason], [])
        _every_road_is_killed(report, stage)
        _the_others_live(report, stage)
        _who_connects_is_known(report, stage)
        _life_is_told(report, stage)
        _other_actions(report, stage)
        stage.guard.close()
        with report.case("bcc: once closed, the road is open again"):
            same(stage.send(roads.direct), Ending(0, accepted=1))


def _every_road_is_killed(report: Report, stage: Stage) -> None:
    for road in roads.ROADS:
        with report.case(f"bcc: {road.name} is killed and told"):
            pid = stage.begin(road.walk, stay=True)
            same(stage.end(pid), KILLED)
            stage.accepted(stage.guarded)
            stage.until(lambda pid=pid: bool(stage.events(pid)))  # type: ignore[misc]
            same({event.connect.socket for event in stage.events(pid)}, {stage.guarded})
    with report.case("bcc: the kernel kills by itself, while the agent does nothing"):
        pid = stage.begin(roads.direct, stay=True)
        same(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), KILLED)
        stage.accepted(stage.guarded)
    with report.case("bcc: a host-only socket kills others"):
        same(stage.end(stage.begin(lambda _place: roads.connect(str(stage.host_only)), stay=True)), KILLED)


def _the_others_live(report: Report, stage: Stage) -> None:
    with report.case("bcc: the agent itself connects"):
        same((roads.connect(str(stage.guarded)), stage.accepted(stage.guarded)), (0, 1))
    with report.case("bcc: a process of the host lives"):
        same(stage.send(roads.direct, outside=False), Ending(0, accepted=1))
    with report.case("bcc: ordinary and public sockets stay open to all"):
        for path in (stage.ordinary, stage.public):
            same(stage.end(stage.begin(lambda _place, path=path: roads.connect(str(path)))), 0)  # type: ignore[misc]
        same(stage.accepted(stage.public), 1)


def _who_connects_is_known(report: Report, stage: Stage) -> None:
    with report.case("bcc: the connector is known by the accepted descriptor when it is dead already"):
        pid = stage.begin(lambda _place: roads.connect(str(stage.public)))
        same(stage.end(pid), 0)
        with cases._accepted(stage) as one:
            actor = cases._connector(stage, one)
            same(actor is not None, True)
            if actor is not None:
                same((actor.tgid, actor.cgroup_id), (pid, stage.cgroup.stat().st_ino))
                same(actor.mnt_ns not in (0, process.host_mount_namespace()), True)


def _life_is_told(report: Report, stage: Stage) -> None:
    with report.case("bcc: a new cgroup is known by its id"):
        number = stage.cgroup.stat().st_ino
        stage.until(lambda: stage.guard.cgroup_path(number) == f"/{stage.cgroup.name}")
    with report.case("bcc: the init of a new pid namespace is told from birth to end"):
        subprocess.run(["unshare", "--pid", "--fork", "true"], check=True)
        stage.until(lambda: any(cases._kind(record) is abi.Kind.INIT_EXIT for record in stage.life))
        told = [kind for kind in map(cases._kind, stage.life) if kind is not None]
        same(told, [abi.Kind.INIT_BORN, abi.Kind.INIT_EXEC, abi.Kind.INIT_EXIT])


def _other_actions(report: Report, stage: Stage) -> None:
    with report.case("bcc: block cuts the connection, and the process lives"):
        stage.guard.set_action(abi.Action.BLOCK)
        pid = stage.begin(_wait_for_the_end)
        same(stage.end(pid), 0)
        stage.until(lambda: bool(stage.events(pid)))
        same({event.taken for event in stage.events(pid)}, {Taken.CUT})
        stage.accepted(stage.guarded)
    with report.case("bcc: audit lets pass and reports"):
        stage.guard.set_action(abi.Action.AUDIT)
        pid = stage.begin(roads.direct)
        same(Ending(stage.end(pid), stage.accepted(stage.guarded)), Ending(0, accepted=1))
        stage.until(lambda: bool(stage.events(pid)))


def _wait_for_the_end(place: roads.Place) -> int:
    """Connect and read until the connection is cut; anything else is no end."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(place.text)
        return len(one.recv(1))
