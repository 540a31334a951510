"""What the programs decide and tell by themselves, from the maps that the agent wrote.

Owns the cases of the verdict map, the canary's class and the budget of records.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from tests.vm.guest import roads
from tests.vm.guest.cases import BLOCKING, KILLED, same, settings
from tests.vm.guest.stage import Stage

from sockwarden import abi
from sockwarden.kernel.connections.sockets import identify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.vm.guest.report import Report

    from sockwarden.kernel.publication import Publication

DEEP: Final = 33
"""Cgroups below one another: one more than the decision climbs (SW_CGROUP_CLIMB in bpf/abi.h)."""

CROWD: Final = 4 * abi.REPORTS_PER_SECOND
"""Connects of one flood. Three seconds would be needed to tell of them all."""

_ENGINE, _PUBLIC = abi.SocketClass.ENGINE, abi.SocketClass.PUBLIC
_ALLOW, _DENY = abi.KernelVerdict.ALLOW, abi.KernelVerdict.DENY


def verdicts_hold_by_cgroup(report: Report, rung: str) -> None:
    """ALLOW for exactly that cgroup, DENY for everything below as well."""
    with Stage(settings(rung)) as stage:
        publication = _publication(stage)
        leaf, sibling = stage.cgroup, stage.make_cgroup()
        below = stage.make_cgroup(leaf)

        def ask(where: Path, at: Path) -> int:
            return stage.end(stage.begin(_connect_to(where), cgroup=at))

        with report.case(f"{rung}: ALLOW opens exactly that cgroup"):
            publication.put_verdict(_number(leaf), _ENGINE, _ALLOW)
            same([ask(stage.guarded, at) for at in (leaf, below, sibling)], [0, errno.EPERM, errno.EPERM])
        with report.case(f"{rung}: ALLOW of one class says nothing about another"):
            same(ask(stage.host_only, leaf), errno.EPERM)
        with report.case(f"{rung}: DENY closes the cgroup and all below it"):
            publication.put_verdict(_number(leaf), _PUBLIC, _DENY)
            same([ask(stage.public, at) for at in (leaf, below, sibling)], [errno.EPERM, errno.EPERM, 0])
        with report.case(f"{rung}: the nearest verdict wins"):
            publication.put_verdict(_number(below), _PUBLIC, _ALLOW)
            same([ask(stage.public, at) for at in (leaf, below)], [errno.EPERM, 0])
        with report.case(f"{rung}: verdicts hold in the next generation, and a dropped one no more"):
            publication.drop_verdict(_number(below), _PUBLIC)
            stage.publish()
            same([ask(stage.public, at) for at in (leaf, below)], [errno.EPERM, errno.EPERM])
            same([ask(stage.guarded, at) for at in (leaf, below)], [0, errno.EPERM])
        with report.case(f"{rung}: who is nested deeper than can be looked up is denied"):
            deep = sibling
            for _ in range(DEEP):
                deep = stage.make_cgroup(deep)
            same([ask(stage.public, at) for at in (sibling, deep)], [0, errno.EPERM])


def the_canary_is_enforced_in_every_mode(report: Report, rung: str) -> None:
    """So that it can fly while everything else is only audited; and it disturbs no other number."""
    with Stage(settings(rung, abi.Action.AUDIT)) as stage, report.case(f"{rung}: a canary is dealt with under audit"):
        dummy = stage.listen("dummy.sock")
        publication = _publication(stage)
        publication.publish({**publication.sockets, identify(dummy): abi.SocketClass.CANARY}, abi.Action.AUDIT)
        before = stage.guard.counters()
        status = stage.end(stage.begin(_connect_to(dummy), stay=True))
        grown = {name: value - before[name] for name, value in stage.guard.counters().items() if name in before}
        same(status, errno.EPERM if rung in BLOCKING else KILLED)
        same([grown[f"guard_{name}"] for name in ("canary", "matched", "denied", "muted")], [1, 0, 0, 0])
        same(stage.end(stage.begin(roads.direct)), 0)


def a_flood_of_one_cgroup_hides_nothing_of_another(report: Report, rung: str) -> None:
    with Stage(settings(rung)) as stage, report.case(f"{rung}: a flood is muted, another's denial is told"):
        loud = stage.begin(lambda place: max(roads.connect(place.text) for _ in range(CROWD)))
        # The agent reads nothing meanwhile: the loop runs only after the client's end.
        same(os.waitstatus_to_exitcode(os.waitpid(loud, 0)[1]), errno.EPERM)
        counters = stage.guard.counters()
        same((counters["guard_denied"], counters["guard_muted"] > 0), (CROWD, True))
        same(counters["guard_dropped"], 0)
        quiet = stage.begin(roads.direct, cgroup=stage.make_cgroup())
        same(stage.end(quiet), errno.EPERM)
        stage.until(lambda: bool(stage.events(quiet)))


def _connect_to(where: Path) -> Callable[[roads.Place], int]:
    def walk(_place: roads.Place) -> int:
        with socket.socket(socket.AF_UNIX) as one:
            return one.connect_ex(str(where))

    return walk


def _publication(stage: Stage) -> Publication:
    force = stage.guard._force
    if force is None:
        raise AssertionError("no rung is in force")
    return force.publication


def _number(cgroup: Path) -> int:
    return cgroup.stat().st_ino
