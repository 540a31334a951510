"""What an engine said before it closed is read, even where a write finds out first that it has closed."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.unit.gateway.stage import LOOPS

from sockwarden.errors import EngineError
from sockwarden.gateway.capture import Capture
from sockwarden.gateway.engineline import EngineConnection

ANSWER = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"


@pytest.fixture(params=list(LOOPS))
def run(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(asyncio.wait_for(main, 5))

    return run


async def answered_to_a_write_that_fails(said: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    ours, engine = socket.socketpair()
    lost = asyncio.Event()
    _, connection = await loop.connect_accepted_socket(lambda: EngineConnection(lambda _: lost.set()), ours)
    capture = Capture()
    connection.expect_response(capture, "POST")
    connection.transport.write(b"unread")
    connection.transport.pause_reading()  # as if the loop came to the write first
    await asyncio.sleep(0)
    engine.sendall(said)
    engine.close()
    connection.transport.write(b"more")
    await lost.wait()
    return await capture.whole()


def test_an_answer_is_read_though_a_write_failed(run):
    assert run(answered_to_a_write_that_fails(ANSWER)) == ANSWER


def test_half_an_answer_is_none(run):
    with pytest.raises(EngineError):
        run(answered_to_a_write_that_fails(ANSWER[:-1]))


def test_no_answer_is_none(run):
    with pytest.raises(EngineError):
        run(answered_to_a_write_that_fails(b""))
