"""What is done about a connection, by what the kernel did, what the judge says and what the action is."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sockwarden import abi
from sockwarden.abi import Action, KernelVerdict, SocketClass, Source
from sockwarden.kernel.connections.cutter import End
from sockwarden.kernel.connections.dealing import Dealer, GuardedSocket
from sockwarden.kernel.connections.holders import Holder
from sockwarden.kernel.connections.sockets import SocketIdentity
from sockwarden.kernel.events import GuardEvent, Sighting, Taken
from sockwarden.kernel.life import process
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE = SocketIdentity(1, 11)
GONE_PID = 2**22 - 1


class FakeShears:
    """Cuts nothing, and says what it is told to say."""

    def __init__(self) -> None:
        self.orders: list[Holder] = []
        self.outcome = Outcome.DONE
        self.finds = True

    def cut(self, holder: Holder, done: Callable[[tuple[Holder, ...], Outcome], None]) -> None:
        self.orders.append(holder)
        done((replace(holder, inode=holder.inode or 77),) if self.finds else (), self.outcome)


class Desk:
    def __init__(self) -> None:
        self.told: list[GuardEvent] = []
        self.sweeps = 0
        self.may = False
        self.dealer = Dealer(lambda _: self.may, self.told.append, lambda _: "/docker/x", self._sweep)
        self.shears = FakeShears()
        self.dealer.shears = self.shears
        self.dealer.action = Action.BLOCK
        self.dealer.sockets = {ENGINE: GuardedSocket(Path("/run/engine.sock"), SocketClass.ENGINE, ENGINE)}

    @property
    def taken(self) -> list[Taken]:
        return [event.taken for event in self.told]

    def _sweep(self) -> None:
        self.sweeps += 1


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def other() -> Iterator[int]:
    """Another process than this one, which is the agent."""
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child.pid
        child.kill()


def record(
    pid: int, *, source: Source = Source.LISTENER, refused: bool = False, killed: bool = False
) -> abi.ConnectRecord:
    start = (process.start_ticks(pid) or 0) * process.TICK_NS
    actor = abi.Actor(5, start, 0, pid, pid, 0, 0, 1, 1, pid, 0, "evil")
    return abi.ConnectRecord(
        1, actor, ENGINE.inode, ENGINE.device, SocketClass.ENGINE, KernelVerdict.DENY, source, b"", refused, killed
    )


def holder(pid: int, inode: int = 5, *, hidden: bool = False) -> Holder:
    server = End(1, 1, 6) if hidden else None
    return Holder(pid, process.start_ticks(pid) or 0, ENGINE, inode, server, hidden)


def test_what_the_kernel_refused_is_blocked(desk: Desk, other: int) -> None:
    desk.dealer.connected(record(other, refused=True))
    assert (desk.taken, desk.shears.orders) == ([Taken.BLOCKED], [])


def test_what_the_kernel_killed_is_killed_and_its_heirs_are_looked_for(desk: Desk) -> None:
    desk.dealer.connected(record(GONE_PID, refused=True, killed=True))
    assert (desk.taken, desk.sweeps) == ([Taken.KILLED], 1)


@pytest.mark.parametrize("killed", [False, True])
def test_what_the_kernel_stopped_and_the_judge_allows_is_disputed_and_never_allowed(
    desk: Desk, other: int, killed: bool
) -> None:
    desk.may = True
    desk.dealer.connected(record(other, refused=True, killed=killed))
    assert (desk.taken, desk.dealer.counts["disputed"]) == ([Taken.DISPUTED], 1)


def test_what_the_judge_allows_and_the_kernel_let_pass_is_allowed(desk: Desk, other: int) -> None:
    desk.may = True
    desk.dealer.connected(record(other))
    assert desk.taken == [Taken.ALLOWED]


def test_what_no_rung_has_blocked_is_cut_and_its_process_lives(desk: Desk, other: int) -> None:
    desk.dealer.connected(record(other))
    assert (desk.taken, [order.pid for order in desk.shears.orders]) == ([Taken.CUT], [other])
    assert process.start_ticks(other) is not None


def test_a_connection_that_is_not_found_is_gone_and_looked_for_elsewhere(desk: Desk, other: int) -> None:
    desk.shears.finds, desk.shears.outcome = False, Outcome.GONE
    desk.dealer.connected(record(other))
    assert (desk.taken, desk.sweeps) == ([Taken.GONE], 1)


def test_a_cut_that_the_kernel_refuses_is_told(desk: Desk, other: int) -> None:
    desk.shears.outcome = Outcome.REFUSED
    desk.dealer.connected(record(other))
    assert desk.taken == [Taken.REFUSED]


def test_in_audit_a_denied_connection_goes_on(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.AUDIT
    desk.dealer.connected(record(other))
    assert (desk.taken, desk.shears.orders) == ([Taken.REPORTED], [])


def test_the_action_kill_kills_and_looks_for_heirs(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.KILL
    desk.dealer.connected(record(other))
    assert (desk.taken, desk.sweeps, desk.shears.orders) == ([Taken.KILLED], 1, [])


def test_the_action_kill_kills_who_was_only_refused(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.KILL
    desk.dealer.connected(record(other, refused=True))
    assert desk.taken == [Taken.KILLED]


def test_a_record_of_a_process_that_is_long_gone_kills_nobody(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.KILL
    old = record(other)
    desk.dealer.connected(replace(old, actor=replace(old.actor, start_ns=process.TICK_NS)))
    assert (desk.taken, process.start_ticks(other) is None) == ([Taken.GONE], False)


def test_a_hand_over_is_told_as_one(desk: Desk, other: int) -> None:
    desk.dealer.connected(record(other, source=Source.RECEIVE, refused=True))
    assert [(event.connect.sighting, event.taken) for event in desk.told] == [(Sighting.HANDED, Taken.BLOCKED)]


def test_who_held_a_connection_before_is_judged_and_cut_once(desk: Desk, other: int) -> None:
    desk.dealer.held((holder(other),))
    desk.dealer.held((holder(other),))
    assert [(event.connect.sighting, event.taken) for event in desk.told] == [(Sighting.HELD, Taken.CUT)]


def test_another_connection_of_the_same_process_is_cut_as_well(desk: Desk, other: int) -> None:
    desk.dealer.held((holder(other, 5), holder(other, 7)))
    assert desk.taken == [Taken.CUT, Taken.CUT]


def test_in_audit_a_connection_that_an_event_told_of_is_not_told_again(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.AUDIT
    desk.dealer.connected(record(other))
    desk.dealer.held((holder(other),))
    assert desk.taken == [Taken.REPORTED]


def test_a_new_policy_judges_holders_anew(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.AUDIT
    desk.dealer.held((holder(other),))
    desk.dealer.judge_anew()
    desk.dealer.held((holder(other),))
    assert desk.taken == [Taken.REPORTED, Taken.REPORTED]


def test_the_agent_itself_is_never_judged(desk: Desk) -> None:
    desk.dealer.held((holder(os.getpid()),))
    assert desk.told == []


def test_a_hidden_connection_is_cut_even_where_the_action_is_to_kill(desk: Desk, other: int) -> None:
    desk.dealer.action = Action.KILL
    desk.dealer.held((holder(other, hidden=True),))
    assert (desk.taken, [order.hidden for order in desk.shears.orders]) == ([Taken.CUT], [True])


def test_a_hidden_connection_whose_connector_is_gone_is_cut(desk: Desk) -> None:
    desk.dealer.held((holder(GONE_PID, hidden=True),))
    assert (desk.taken, desk.told[0].connect.start_ticks) == ([Taken.CUT], 0)


def test_a_holder_that_ended_meanwhile_is_not_told(desk: Desk) -> None:
    desk.dealer.held((Holder(GONE_PID, 5, ENGINE, 5),))
    assert desk.told == []
