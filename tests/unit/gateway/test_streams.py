"""Hijacked connections: raw both ways, each half ending by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.gateway.stage import Line, Stage, Theatre

ATTACH = b"POST /v1.41/containers/a/attach?stream=1 HTTP/1.1\r\nHost: d\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
RAW = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"


@pytest.mark.parametrize(("asked", "answer"), [(UPGRADE, SWITCHED), (b"\r\n", RAW)])
def test_the_client_ends_its_half_first(theatre: Theatre, asked: bytes, answer: bytes) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(answer)
        text = await line.rest()
        await line.send(text[::-1])

    async def story(stage: Stage) -> None:
        client = await stage.client()
        assert await stage.ask(client, ATTACH + asked) == answer
        await client.send(b"abc")
        client.end()
        assert await client.rest() == b"cba"

    theatre.run(script, story)


def test_the_engine_ends_its_half_first_and_still_gets_everything(theatre: Theatre) -> None:
    got: list[bytes] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(SWITCHED + b"bye")
        line.end()
        got.append(await line.rest())

    async def story(stage: Stage) -> None:
        client = await stage.client()
        assert await stage.ask(client, ATTACH + UPGRADE) == SWITCHED
        assert await client.rest() == b"bye"
        await client.send(b"x" * 3000000)
        client.end()
        await stage.until(lambda: bool(got))
        assert len(got[0]) == 3000000

    theatre.run(script, story)


def test_an_engine_that_ends_its_half_before_it_has_read_still_gets_everything(theatre: Theatre) -> None:
    got: list[bytes] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await line.send(SWITCHED)
        await stage.until(lambda: stage.lines[0].writer.transport.get_write_buffer_size() == 0)
        await asyncio.sleep(0.1)
        line.end()
        await asyncio.sleep(0.1)
        line.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got.append(await line.rest())

    async def story(stage: Stage) -> None:
        client = await stage.client()
        assert await stage.ask(client, ATTACH + UPGRADE) == SWITCHED
        await client.send(b"x" * 500000)
        client.end()
        await stage.until(lambda: bool(got))
        assert len(got[0]) == 500000

    theatre.run(script, story)


def test_bytes_sent_with_the_head_reach_the_stream(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(SWITCHED + b"hello")
        await line.send(await line.exactly(5))

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(ATTACH + UPGRADE + b"early")
        assert await client.rest() == SWITCHED + b"helloearly"

    theatre.run(script, story)


def test_a_switch_that_nobody_asked_for_is_no_answer(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(SWITCHED)
        await line.rest()

    async def story(stage: Stage) -> None:
        client = await stage.client()
        assert (await stage.ask(client, b"GET /info HTTP/1.1\r\nHost: d\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        assert b"switched protocols" in await client.rest()

    theatre.run(script, story)


def test_a_raw_stream_moves_megabytes_both_ways_at_once(theatre: Theatre) -> None:
    size = 8 * 1024 * 1024

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(SWITCHED)
        while data := await line.reader.read(65536):
            await line.send(data)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await stage.ask(client, ATTACH + UPGRADE)

        async def send() -> None:
            await client.send(b"abcdefgh" * (size // 8))
            client.end()

        sending = asyncio.create_task(send())
        assert await client.rest() == b"abcdefgh" * (size // 8)
        await sending

    theatre.run(script, story)


def test_an_engine_that_breaks_a_stream_ends_it(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(SWITCHED)
        line.writer.transport.abort()

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await stage.ask(client, ATTACH + UPGRADE)
        assert await client.rest() == b""
        await client.closed()
        await stage.until(lambda: stage.server.open_connections == 0)

    theatre.run(script, story)


def test_a_client_that_vanishes_from_a_stream_ends_it_at_the_engine(theatre: Theatre) -> None:
    ended: list[bytes] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(SWITCHED)
        ended.append(await line.rest())

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await stage.ask(client, ATTACH + UPGRADE)
        client.writer.transport.abort()
        await stage.until(lambda: bool(ended))

    theatre.run(script, story)
