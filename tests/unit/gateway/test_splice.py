"""Streams in a thread: exactly what was asked for, and back in the loop whatever happens."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest
import uvloop
from tests.unit.gateway.sides import between, read_all

from sockwarden.gateway import splice
from sockwarden.gateway.splice import MAX_THREADS, Handover

DATA = random.Random(1).randbytes(3_000_000)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    def run(main):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(main, 30))

    return run


async def send(sender, data=DATA):
    await asyncio.get_running_loop().sock_sendall(sender, data)
    sender.shutdown(socket.SHUT_WR)


def test_a_stream_arrives_whole_and_its_end_with_it(run):
    async def main():
        async with between(1000, None) as (sender, reader, _):
            received, _ = await asyncio.gather(read_all(reader), send(sender))
            return received

    assert run(main()) == DATA


def test_not_one_byte_more_than_asked_for_is_moved(run):
    async def main():
        async with between(1, 1_000_000) as (sender, reader, relay):
            received, _ = await asyncio.gather(read_all(reader), send(sender))
            return received, await relay.returned

    assert run(main()) == (DATA, (1_000_000, 0))


def test_what_is_behind_is_read_by_the_loop(run):
    async def main():
        async with between(1, 1_000_000) as (sender, reader, relay):
            await asyncio.gather(read_all(reader), send(sender))
            return relay.passed

    assert run(main()) == len(DATA)


def test_a_silent_stream_goes_back_to_the_loop(run, monkeypatch):
    monkeypatch.setattr(splice, "SILENT_SECONDS", 0.01)

    async def main():
        async with between(1, None) as (sender, reader, relay):
            await asyncio.get_running_loop().sock_sendall(sender, b"first")
            back = await relay.returned
            relay.threshold = 1 << 40
            received, _ = await asyncio.gather(read_all(reader), send(sender, b"second"))
            return back, received

    assert run(main()) == ((0, 0), b"firstsecond")


def test_a_reader_that_stands_still_gets_what_the_thread_held(run, monkeypatch):
    monkeypatch.setattr(splice, "SILENT_SECONDS", 0.01)

    async def main():
        async with between(1, None) as (sender, reader, relay):
            sending = asyncio.get_running_loop().create_task(send(sender))
            _, rest = await relay.returned
            received = await read_all(reader)
            await sending
            return rest > 0, received

    assert run(main()) == (True, DATA)


def test_a_target_that_has_gone_ends_the_thread(run):
    async def main():
        async with between(1, None) as (sender, reader, relay):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sender, b"x")
            await loop.sock_recv(reader, 1)
            reader.close()
            return await relay.returned

    assert run(main()) == (0, 0)


def test_a_cancelled_one_says_nothing_and_lets_the_source_be_read(run):
    async def main():
        async with between(1, None) as (sender, reader, relay):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sender, b"first")
            await loop.sock_recv(reader, 5)
            assert relay.handover is not None
            relay.handover.cancel()
            relay.handover.cancel()
            received, _ = await asyncio.gather(read_all(reader), send(sender, b"second"))
            return received, relay.returned.done(), Handover.running

    assert run(main()) == (b"second", False, 0)


def test_one_that_is_cancelled_before_its_thread_starts_is_over_at_once(run):
    async def main():
        async with between(1 << 40, None) as (_, _, relay):
            handover = Handover(relay, relay.target, None, lambda *_: None)
            handover.cancel()
            left = Handover.running
            await asyncio.sleep(0)
            return left

    assert run(main()) == 0


def test_a_recalled_one_comes_back(run):
    async def main():
        async with between(1, None) as (sender, reader, relay):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sender, b"first")
            await loop.sock_recv(reader, 5)
            assert relay.handover is not None
            relay.handover.recall()
            return await relay.returned

    assert run(main()) == (0, 0)


def test_one_that_is_recalled_before_its_thread_starts_comes_back_at_once(run):
    async def main():
        async with between(1 << 40, None) as (_, _, relay):
            done = asyncio.get_running_loop().create_future()
            handover = Handover(relay, relay.target, None, lambda *result: done.set_result(result))
            handover.recall()
            return await done, Handover.running

    assert run(main()) == ((0, b""), 0)


def test_one_that_is_recalled_and_cancelled_says_nothing(run):
    async def main():
        async with between(1 << 40, None) as (_, _, relay):
            said: list[object] = []
            handover = Handover(relay, relay.target, None, lambda *result: said.append(result))
            handover.recall()
            handover.cancel()
            handover.recall()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return said, Handover.running

    assert run(main()) == ([], 0)


def test_without_a_descriptor_to_spare_the_loop_goes_on(run, monkeypatch):
    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    async def main():
        async with between(1, None) as (sender, reader, relay):
            monkeypatch.setattr("os.eventfd", fail)
            received, _ = await asyncio.gather(read_all(reader), send(sender))
            return received, await relay.returned

    assert run(main()) == (DATA, (0, 0))


def test_a_connection_that_closes_meanwhile_gets_no_thread(run):
    async def main():
        async with between(1 << 40, None) as (_, _, relay):
            done = asyncio.get_running_loop().create_future()
            handover = Handover(relay, relay.target, None, lambda *result: done.set_result(result))
            relay.target.transport.abort()
            result = await done
            handover.cancel()
            return result

    assert run(main()) == (0, b"")


def test_there_is_room_for_a_bounded_number(monkeypatch):
    monkeypatch.setattr(Handover, "running", MAX_THREADS)
    assert not Handover.possible()
