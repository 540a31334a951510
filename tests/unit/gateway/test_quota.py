"""How much of the gateway one client may hold."""

from __future__ import annotations

from sockwarden.gateway.quota import (
    MAX_COLLECTED_BYTES,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_CONTAINER,
    MAX_UNKNOWN_CONNECTIONS,
    Quota,
)
from sockwarden.model import Container, ContainerClient, HostClient, IdentitySource, Peer, Rule, UnknownClient

PEER = Peer(7, 0, 0, 1, IdentitySource.PIDFD)
HOST = HostClient(PEER)
UNKNOWN = UnknownClient(PEER, Rule.UNKNOWN_CONTAINER, "nobody knows it")


def container(letter: str) -> ContainerClient:
    return ContainerClient(PEER, Container(letter * 64, "sha256:" + "0" * 64, "busybox"))


def test_connections_are_bounded_as_a_whole() -> None:
    quota = Quota()
    assert all(quota.connect() for _ in range(MAX_CONNECTIONS))
    assert not quota.connect()


def test_a_container_may_hold_its_share_and_no_more() -> None:
    quota = Quota()
    assert all(quota.place(container("a")) for _ in range(MAX_CONNECTIONS_PER_CONTAINER))
    assert not quota.place(container("a"))


def test_one_container_takes_nothing_from_another_nor_from_the_host() -> None:
    quota = Quota()
    while quota.place(container("a")):
        pass
    assert quota.place(container("b"))
    assert quota.place(HOST)


def test_clients_that_cannot_be_placed_share_one_bound() -> None:
    quota = Quota()
    assert all(quota.place(UNKNOWN) for _ in range(MAX_UNKNOWN_CONNECTIONS))
    assert not quota.place(UNKNOWN)


def test_a_closed_connection_makes_room_again() -> None:
    quota = Quota()
    while quota.place(container("a")):
        quota.connect()
    quota.connect()
    quota.disconnect(container("a"))
    quota.disconnect(container("a"))
    assert quota.place(container("a"))


def test_a_connection_that_was_never_placed_is_forgotten_too() -> None:
    quota = Quota()
    quota.connect()
    quota.disconnect(None)
    assert quota.connections == 0


def test_nothing_is_remembered_of_a_container_that_left() -> None:
    quota = Quota()
    quota.connect()
    quota.place(container("a"))
    quota.disconnect(container("a"))
    assert not quota._by_container


def test_bodies_are_bounded_as_a_whole() -> None:
    quota = Quota()
    assert quota.collect(MAX_COLLECTED_BYTES)
    assert not quota.collect(1)
    quota.release(MAX_COLLECTED_BYTES)
    assert quota.collect(1)
