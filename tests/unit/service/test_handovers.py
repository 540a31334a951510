"""What is a hand-over, and what is done about one."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.identity.container import ContainerResolver
from sockwarden.kernel.connections.holders import Passed, Scan
from sockwarden.kernel.events import GuardEvent, Sighting, Taken
from sockwarden.kernel.life import process
from sockwarden.model import Client, Container, ContainerClient, HostClient, IdentitySource, Peer, Rule, UnknownClient
from sockwarden.service.handovers import LOOK_SECONDS, Handovers, is_handover

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwarden.identity.peer import PeerSnapshot

IMAGE = "sha256:" + "a" * 64
PEER = Peer(1, 0, 0, 1, IdentitySource.CRED)
ONE = ContainerClient(PEER, Container("1" * 64, IMAGE, "one"))
SAME = ContainerClient(Peer(2, 0, 0, 2, IdentitySource.EVENT), Container("1" * 64, IMAGE, "one"))
OTHER = ContainerClient(PEER, Container("2" * 64, IMAGE, "other"))
HOST = HostClient(PEER)
STRANGER = UnknownClient(PEER, Rule.UNKNOWN_CONTAINER, "a pod")
NOBODY_SAYS = UnknownClient(PEER, Rule.ENGINE, "the engine is down")


class NoEngine:
    async def inspect_container(self, id_or_name: str, /) -> Mapping[str, Any] | None:
        raise AssertionError(id_or_name)


class Resolver(ContainerResolver):
    """Says of everybody what it is told to, at once or when asked again."""

    def __init__(self, answer: Client, *, at_once: bool) -> None:
        super().__init__(NoEngine())
        self._answer = answer
        self._at_once = at_once

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        assert snapshot.peer is not None
        return self._answer if self._at_once else None

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        assert snapshot.peer is not None
        return self._answer


class Gate:
    def __init__(self, clients: dict[int, Client]) -> None:
        self.clients = clients
        self.dropped: list[int] = []
        self.told: list[GuardEvent] = []

    def drop(self, inode: int) -> bool:
        self.dropped.append(inode)
        return inode in self.clients

    def handovers(self, holder: Client, *, at_once: bool = True, enforcing: bool = True) -> Handovers:
        made = Handovers(Resolver(holder, at_once=at_once), lambda: self.clients, self.drop, self.told.append)
        made.enforcing = enforcing
        return made


def mine(accepted: int = 7) -> Passed:
    start = process.start_ticks(os.getpid())
    assert start is not None
    return Passed(os.getpid(), start, accepted)


def sweep(handovers: Handovers, *passed: Passed) -> None:
    async def run() -> None:
        handovers.swept(Scan(passed=passed))
        await asyncio.gather(*handovers._asking)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("client", "holder", "answer"),
    [
        (ONE, SAME, False),
        (ONE, OTHER, True),
        (ONE, HOST, False),
        (ONE, STRANGER, True),
        (ONE, NOBODY_SAYS, False),
        (HOST, HOST, False),
        (HOST, OTHER, True),
        (HOST, STRANGER, True),
    ],
)
def test_a_container_may_use_only_what_was_opened_in_it(client: Client, holder: Client, answer: bool) -> None:
    assert is_handover(client, holder) is answer


@pytest.mark.parametrize("at_once", [True, False])
def test_a_hand_over_is_cut_and_told(at_once: bool) -> None:
    gate = Gate({7: ONE})
    sweep(gate.handovers(OTHER, at_once=at_once), mine())
    assert (gate.dropped, [(event.connect.sighting, event.taken) for event in gate.told]) == (
        [7],
        [(Sighting.HANDED, Taken.CUT)],
    )


def test_in_audit_mode_a_hand_over_is_told_once_and_goes_on() -> None:
    gate = Gate({7: ONE})
    handovers = gate.handovers(OTHER, enforcing=False)
    sweep(handovers, mine())
    sweep(handovers, mine())
    assert (gate.dropped, [event.taken for event in gate.told]) == ([], [Taken.REPORTED])


def test_who_may_hold_it_is_left_alone() -> None:
    gate = Gate({7: ONE})
    sweep(gate.handovers(SAME), mine())
    assert (gate.dropped, gate.told) == ([], [])


def test_the_connector_itself_is_not_looked_at() -> None:
    own = mine()
    peer = Peer(own.pid, 0, 0, own.start_ticks, IdentitySource.CRED)
    gate = Gate({7: ContainerClient(peer, ONE.container)})
    sweep(gate.handovers(OTHER), own)
    assert gate.told == []


def test_a_connection_that_was_closed_meanwhile_is_gone() -> None:
    gate = Gate({})
    sweep(gate.handovers(OTHER), mine())
    assert gate.told == []


def test_a_holder_that_ended_meanwhile_is_not_judged() -> None:
    gate = Gate({7: ONE})
    sweep(gate.handovers(OTHER), Passed(2**22 - 1, 1, 7))
    assert gate.told == []


def test_a_number_that_became_another_connections_while_the_engine_was_asked_is_left_alone() -> None:
    gate = Gate({7: ONE})
    handovers = gate.handovers(OTHER, at_once=False)

    async def run() -> None:
        handovers.swept(Scan(passed=(mine(),)))
        gate.clients[7] = HOST
        await asyncio.gather(*handovers._asking)

    asyncio.run(run())
    assert gate.told == []


def test_only_who_is_placed_is_looked_for() -> None:
    assert list(Gate({7: ONE, 8: STRANGER, 9: HOST}).handovers(OTHER).accepted()) == [7, 9]


def test_a_look_is_due_while_containers_are_connected_and_not_too_often() -> None:
    handovers, idle = Gate({7: ONE}).handovers(OTHER), Gate({9: HOST}).handovers(OTHER)
    times = (100.0, 100.0 + LOOK_SECONDS / 2, 100.0 + LOOK_SECONDS)
    assert ([handovers.is_due(now) for now in times], idle.is_due(100.0)) == ([True, False, True], False)
