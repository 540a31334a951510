"""Records that are older than the agent that reads them; see ``kernel.connections.dealing``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sockwarden import abi
from sockwarden.kernel.connections.dealing import GONE, Dealer, GuardedSocket
from sockwarden.kernel.connections.sockets import SocketIdentity
from sockwarden.kernel.events import GuardEvent, Taken
from sockwarden.kernel.life import process

ENGINE = GuardedSocket(Path("/run/engine.sock"), abi.SocketClass.ENGINE, SocketIdentity(1, 10))


def record(**changes: object) -> abi.ConnectRecord:
    """Return what the kernel tells of a connect() that it refused, by a process that is still there."""
    ticks = process.start_ticks(os.getpid())
    assert ticks is not None
    actor = abi.Actor(
        cgroup_id=5,
        start_ns=ticks * process.TICK_NS,
        mnt_id=3,
        tgid=os.getpid(),
        pid=os.getpid(),
        uid=0,
        gid=0,
        pid_ns=1,
        mnt_ns=2,
        ns_pid=1,
        ns_level=1,
        comm="client",
    )
    told = abi.ConnectRecord(
        time_ns=1,
        actor=actor,
        inode=10,
        device=1,
        socket_class=abi.SocketClass.ENGINE,
        verdict=abi.KernelVerdict.DENY,
        source=abi.Source.FMOD_RET,
        path=b"",
        refused=True,
        killed=False,
    )
    return replace(told, **changes)  # type: ignore[arg-type]


@pytest.fixture
def told() -> list[GuardEvent]:
    return []


@pytest.fixture
def dealer(told: list[GuardEvent]) -> Dealer:
    made = Dealer(lambda _event: False, told.append, lambda _cgroup: "", lambda: None)
    made.sockets = {ENGINE.identity: ENGINE}
    made.action = abi.Action.BLOCK
    return made


def test_what_the_kernel_refused_is_told_as_blocked(dealer: Dealer, told: list[GuardEvent]) -> None:
    dealer.connected(record())
    assert [(one.taken, one.connect.socket) for one in told] == [(Taken.BLOCKED, ENGINE.path)]


def test_a_socket_of_an_agent_before_has_the_path_of_its_class(dealer: Dealer, told: list[GuardEvent]) -> None:
    dealer.connected(record(inode=9))
    assert [one.connect.socket for one in told] == [ENGINE.path]


def test_a_socket_of_a_class_that_is_not_there_any_more_is_told_without_a_path(
    dealer: Dealer, told: list[GuardEvent]
) -> None:
    dealer.connected(record(inode=9, socket_class=abi.SocketClass.HOST_ONLY))
    assert [one.connect.socket for one in told] == [GONE]


def test_the_canary_of_an_agent_before_is_nobodys_business(dealer: Dealer, told: list[GuardEvent]) -> None:
    dealer.connected(record(inode=9, socket_class=abi.SocketClass.CANARY))
    assert told == []


def test_the_cgroup_of_who_is_still_there_is_read(dealer: Dealer, told: list[GuardEvent]) -> None:
    dealer.connected(record())
    assert [one.connect.cgroup_path for one in told] == [process.cgroup_path(os.getpid())]


def test_who_has_the_number_of_a_dead_process_does_not_lend_it_a_cgroup(dealer: Dealer, told: list[GuardEvent]) -> None:
    late = record()
    dealer.connected(replace(late, actor=replace(late.actor, start_ns=late.actor.start_ns + process.TICK_NS)))
    assert [one.connect.cgroup_path for one in told] == [""]
