"""One exchange after the other: what reaches the engine, what reaches the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.gateway.stage import generation

from sockwarden.model import Mode

if TYPE_CHECKING:
    from tests.unit.gateway.stage import Line, Stage, Theatre

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
PUSH = b"POST /v1.41/images/x/push HTTP/1.1\r\nHost: d\r\n\r\n"
LOAD = b"POST /v1.41/images/load HTTP/1.1\r\nHost: d\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


async def pong(stage: Stage, line: Line) -> None:
    while True:
        await stage.request(line)
        await line.send(OK)


async def echo_length(stage: Stage, line: Line) -> None:
    """Answer a request with the body that came with it, by its Content-Length."""
    while True:
        head = await stage.request(line)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        body = await line.exactly(length)
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, body))


def test_two_requests_use_one_connection_to_the_engine(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        for _ in range(2):
            assert await stage.ask(client, PING) == OK[:-2]
            assert await client.exactly(2) == b"OK"
        assert len([line for line in stage.engine_lines if not line.reader.at_eof()]) >= 1
        assert len(stage.requests) == 2

    theatre.run(pong, story)


def test_a_head_is_written_anew(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await stage.ask(client, b"GET /v1.41/containers/json? HTTP/1.1\r\nhost:d\r\nx-a:  b \r\nUpgrade: tcp\r\n\r\n")
        assert stage.requests == [b"GET /v1.41/containers/json HTTP/1.1\r\nHost: d\r\nx-a: b\r\n\r\n"]

    theatre.run(pong, story)


def test_an_upgrade_is_stripped_where_the_route_does_not_hijack(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await stage.ask(client, b"GET /info HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        assert b"pgrade" not in stage.requests[0]

    theatre.run(pong, story)


def test_pipelined_requests_are_judged_one_by_one(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING + PUSH + PING)
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        assert await client.exactly(2) == b"OK"
        refusal = await client.head()
        assert refusal.startswith(b"HTTP/1.1 403 ")
        await client.exactly(int(refusal.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        assert [request.split()[1] for request in stage.requests] == [b"/_ping", b"/_ping"]

    theatre.run(pong, story)


def test_thousands_of_refusals_in_one_read_are_all_answered(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        sending = asyncio.create_task(client.send(PUSH * 3000))
        for _ in range(3000):
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 403 ")
            await client.exactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
        await sending
        assert len(stage.recorder.verdicts) == 3000
        assert not stage.recorder.failures

    theatre.run(pong, story)


def test_a_client_that_reads_no_refusal_is_not_answered_for_ever(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a client that does not read
        client.writer.write(PUSH * 40000)
        seen = -1
        while seen != len(stage.recorder.verdicts):
            seen = len(stage.recorder.verdicts)
            await asyncio.sleep(0.05)
        assert 0 < seen < 8000
        client.writer.transport.abort()

    theatre.run(pong, story)


def test_requests_that_wait_for_a_slow_reader_are_answered_when_it_reads(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(PUSH * 4000)
        client.end()
        await stage.until(lambda: len(stage.recorder.verdicts) > 500)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await client.rest()).count(b"HTTP/1.1 403 ") == 4000

    theatre.run(pong, story)


@pytest.mark.parametrize("cut", [1, 7, 64, 100000])
def test_a_chunked_body_passes_as_it_is_however_it_is_cut(theatre: Theatre, cut: int) -> None:
    body = b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"
    got = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        got.append(await line.exactly(len(body)))
        await line.send(OK)
        await stage.request(line)
        await line.send(OK)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        text = LOAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + PING
        for start in range(0, len(text), cut):
            await client.send(text[start : start + cut])
            await asyncio.sleep(0)
        for _ in range(2):
            await client.head()
            await client.exactly(2)
        assert got == [body]
        assert stage.requests[1].startswith(b"GET /_ping ")

    theatre.run(script, story)


def test_a_body_by_length_passes_exactly(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        for size in (0, 1, 300000):
            body = b"x" * size
            await client.send(LOAD + b"Content-Length: %d\r\n\r\n" % size + body)
            await client.head()
            assert await client.exactly(size) == body

    theatre.run(echo_length, story)


def test_100_continue_comes_from_the_engine_for_a_streamed_body(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        assert b"Expect: 100-continue" in await stage.request(line)
        await line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await line.exactly(2) == b"hi"
        await line.send(OK)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        head = await stage.ask(client, LOAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert head == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await stage.ask(client, b"hi") == OK[:-2]

    theatre.run(script, story)


def test_a_head_request_is_followed_by_the_next_answer(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await stage.request(line)
        await line.send(OK)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        assert b"Content-Length: 2" in await stage.ask(client, PING.replace(b"GET", b"HEAD"))
        assert await stage.ask(client, PING) == OK[:-2]

    theatre.run(script, story)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_body_is_followed_by_the_next(theatre: Theatre, status: bytes) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"HTTP/1.1 " + status + b"\r\n\r\n")
        await stage.request(line)
        await line.send(OK)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        start = b"POST /containers/a/start HTTP/1.1\r\nHost: d\r\n\r\n"
        assert await stage.ask(client, start) == b"HTTP/1.1 " + status + b"\r\n\r\n"
        assert await stage.ask(client, PING) == OK[:-2]

    theatre.run(script, story)


def test_a_close_delimited_answer_ends_with_the_connection(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 500000)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await stage.ask(client, b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        assert await client.rest() == b"x" * 500000

    theatre.run(script, story)


def test_an_early_answer_to_an_upload_reaches_a_client_that_still_sends(theatre: Theatre) -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad"

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(answer)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.writer.write(LOAD + b"Content-Length: 5000000\r\n\r\n" + b"x" * 2000000)
        assert await client.rest() == answer
        await client.send(b"x" * 3000000)

    theatre.run(script, story)


def test_a_refused_upload_reads_the_whole_refusal_while_it_sends(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        size = 4000000
        client.writer.write(PUSH[:-2] + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        assert answer.endswith(b"}\n")
        assert not stage.requests

    theatre.run(pong, story)


def test_a_malformed_chunk_ends_the_request_with_400(theatre: Theatre) -> None:
    ended = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        ended.append(await line.rest())

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(LOAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await stage.until(lambda: len(stage.requests) == 1)
        await client.send(b"5\nhello\r\n0\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 400 ")
        await client.rest()
        await stage.until(lambda: bool(ended))
        assert b"5\nhello" not in ended[0]

    theatre.run(script, story)


def test_garbage_is_answered_with_400_and_the_end(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(b"\x16\x03\x01\x02\x00\x01")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        assert len(stage.recorder.malformed_verdicts) == 1

    theatre.run(pong, story)


def test_a_wish_to_close_is_granted_after_the_answer(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING[:-2] + b"Connection: close\r\n\r\n")
        assert await client.rest() == OK

    theatre.run(pong, story)


def test_the_answers_of_a_client_that_ended_its_half_all_come(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING * 3)
        client.end()
        assert await client.rest() == OK * 3

    theatre.run(pong, story)


def test_audit_mode_passes_what_it_records_as_denied(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        stage.wiring.generation = generation(Mode.AUDIT)
        client = await stage.client()
        assert await stage.ask(client, PUSH) == OK[:-2]
        assert [verdict.allowed for verdict in stage.recorder.verdicts] == [False]

    theatre.run(pong, story)


def test_bytes_behind_an_answer_do_not_answer_the_next_request(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING + PING)
        assert b"evil" not in await client.rest()

    theatre.run(script, story)
