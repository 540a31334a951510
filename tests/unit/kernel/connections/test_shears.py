"""Cuts off the loop's thread: found at once or a little later, one order for two, and no more than may wait."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from sockwarden.kernel.connections import shears
from sockwarden.kernel.connections.holders import Holder
from sockwarden.kernel.connections.shears import ShearsThread
from sockwarden.kernel.connections.sockets import SocketIdentity, identify
from sockwarden.kernel.life import process
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    from pathlib import Path

Answer = tuple[tuple[Holder, ...], Outcome]


def cut_all(*orders: Holder) -> list[Answer]:
    async def run() -> list[Answer]:
        thread = ShearsThread(asyncio.get_running_loop())
        answers: list[asyncio.Future[Answer]] = []
        for order in orders:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            answers.append(answer)
            thread.cut(order, lambda found, outcome, answer=answer: answer.set_result((found, outcome)))  # type: ignore[misc]
        try:
            return await asyncio.gather(*answers)
        finally:
            thread.close()

    return asyncio.run(run())


def mine(identity: SocketIdentity, inode: int = 0) -> Holder:
    start = process.start_ticks(os.getpid())
    assert start is not None
    return Holder(os.getpid(), start, identity, inode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


def test_every_connection_of_a_process_is_cut_when_no_one_of_them_is_named(path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as one,
        socket.socket(socket.AF_UNIX) as two,
    ):
        listener.bind(str(path))
        listener.listen()
        one.connect(str(path))
        two.connect(str(path))
        ((found, outcome),) = cut_all(mine(identify(path)))
        assert (len(found), outcome, one.recv(1), two.recv(1)) == (2, Outcome.DONE, b"", b"")


def test_a_named_connection_is_cut_and_no_other(path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as one,
        socket.socket(socket.AF_UNIX) as two,
    ):
        listener.bind(str(path))
        listener.listen()
        one.connect(str(path))
        two.connect(str(path))
        ((_, outcome),) = cut_all(mine(identify(path), os.fstat(one.fileno()).st_ino))
        two.send(b"x")
        assert (outcome, one.recv(1)) == (Outcome.DONE, b"")


def test_two_orders_for_the_same_are_answered_alike() -> None:
    order = mine(SocketIdentity(1, 1))
    assert cut_all(order, order) == [((), Outcome.GONE), ((), Outcome.GONE)]


def test_more_than_may_wait_is_left_to_the_next_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shears, "MAX_WAITING", 1)
    answers = cut_all(mine(SocketIdentity(1, 1)), mine(SocketIdentity(1, 2)))
    assert answers == [((), Outcome.GONE), ((), Outcome.GONE)]


def test_a_connection_that_comes_after_the_first_look_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter((False, True))

    def look(pid: int, identities: tuple[SocketIdentity, ...]) -> tuple[Holder, ...]:
        return (mine(identities[0], 1),) if next(looks) and pid else ()

    monkeypatch.setattr(shears, "look_at", look)
    ((found, _),) = cut_all(mine(SocketIdentity(1, 1)))
    assert [holder.inode for holder in found] == [1]


def test_an_order_that_comes_while_another_is_carried_out_is_carried_out_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order, begun, go_on = mine(SocketIdentity(1, 1)), threading.Event(), threading.Event()
    looks: list[int] = []

    def look(pid: int, identities: tuple[SocketIdentity, ...]) -> tuple[Holder, ...]:
        looks.append(pid)
        begun.set()
        go_on.wait()
        return (mine(identities[0], len(looks)),)

    monkeypatch.setattr(shears, "look_at", look)

    async def run() -> list[int]:
        thread = ShearsThread(asyncio.get_running_loop())
        found: list[int] = []
        both = asyncio.Event()

        def done(holders: tuple[Holder, ...], _outcome: Outcome) -> None:
            found.append(holders[0].inode)
            if len(found) == 2:
                both.set()

        thread.cut(order, done)
        await asyncio.to_thread(begun.wait)
        thread.cut(order, done)
        go_on.set()
        await both.wait()
        thread.close()
        return found

    assert asyncio.run(run()) == [1, 2]
