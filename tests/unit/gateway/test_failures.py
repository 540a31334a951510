"""What a client reads, and what is let go, when the engine or the client fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.gateway.stage import generation
from tests.unit.gateway.test_exchanges import LOAD, OK, PING, pong

from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway import intake as intake_module
from sockwarden.gateway import judging as judging_module
from sockwarden.gateway.ports import Judgement
from sockwarden.model import Mode, Rule, Verdict, allow, deny

if TYPE_CHECKING:
    from tests.unit.gateway.stage import Line, Stage, Theatre

    from sockwarden.gateway.ports import Exchange

CREATE = b"POST /v1.41/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
MADE = b'HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n{"Id":"a"}'


async def again(exchange: Exchange, body: bytes) -> Judgement:
    return Judgement(allow(Rule.SOCKET_MOUNT), again=True)


async def made(stage: Stage, line: Line) -> None:
    while True:
        await stage.request(line)
        assert await line.exactly(2) == b"{}"
        await line.send(MADE)


def test_an_absent_engine_is_named_in_a_503(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        stage.stop_engine()
        client = await stage.client()
        await client.send(PING)
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert stage.engine_path.encode() in answer
        assert stage.recorder.failures == [Rule.ENGINE]

    theatre.run(pong, story)


def test_an_engine_that_dies_before_its_answer_is_told_of(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(LOAD + b"Content-Length: 0\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 503 ")
        assert len(stage.requests) == 1

    theatre.run(script, story)


def test_an_answer_that_breaks_off_is_broken_off(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING)
        assert await client.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.exactly(9)

    theatre.run(script, story)


def test_a_question_is_asked_again_once_where_the_engine_closed_a_kept_connection(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(OK)
        await stage.request(line)  # and closes without an answer

    async def story(stage: Stage) -> None:
        client = await stage.client()
        for _ in range(2):
            await stage.ask(client, PING)
            await client.exactly(2)
        assert len(stage.requests) == 3

    theatre.run(script, story)


def test_a_question_with_a_body_is_not_asked_again(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING[:-2] + b"Content-Length: 2\r\n\r\nhi")
        assert (await client.rest()).startswith(b"HTTP/1.1 503 ")
        assert len(stage.requests) == 1

    theatre.run(script, story)


def test_an_engine_that_speaks_no_http_is_told_of(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"SSH-2.0-OpenSSH\r\n")
        await line.rest()

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING)
        assert b"not HTTP/1.1" in await client.rest()

    theatre.run(script, story)


def test_a_failed_judgement_refuses(theatre: Theatre, caplog: pytest.LogCaptureFixture) -> None:
    async def story(stage: Stage) -> None:
        stage.admission.judge_gate = asyncio.Event()
        stage.admission.judge_gate.set()
        stage.admission.error = ZeroDivisionError()
        client = await stage.client()
        await client.send(PING)
        assert (await client.rest()).startswith(b"HTTP/1.1 500 ")
        assert stage.recorder.failures == [Rule.INTERNAL]

    theatre.run(pong, story)


def test_a_client_that_may_not_use_the_socket_is_refused_with_its_first_request(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        stage.admission.verdict = deny(Rule.IMAGE_LIST, "no")
        client = await stage.client()
        await client.send(PING)
        assert b'{"message":"no"}' in await client.rest()
        assert not stage.requests

    theatre.run(pong, story)


def test_requests_wait_for_the_identity(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        gate = stage.admission.identity_gate = asyncio.Event()
        client = await stage.client()
        await client.send(PING)
        await stage.until(lambda: stage.server.open_connections == 1)
        assert not stage.requests
        gate.set()
        assert await client.head() == OK[:-2]

    theatre.run(pong, story)


@pytest.mark.parametrize("which", ["identity_gate", "judge_gate"])
def test_a_client_that_vanishes_while_it_is_judged_sends_nothing(theatre: Theatre, which: str) -> None:
    async def story(stage: Stage) -> None:
        gate = asyncio.Event()
        setattr(stage.admission, which, gate)
        client = await stage.client()
        await client.send(PING)
        await stage.until(lambda: stage.server.open_connections == 1)
        client.writer.transport.abort()
        await client.closed()
        gate.set()
        await stage.until(lambda: stage.server.open_connections == 0)
        assert not stage.requests

    theatre.run(pong, story)


def test_a_client_that_vanishes_while_it_waits_ends_the_request(theatre: Theatre) -> None:
    ended: list[bytes] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        ended.append(await line.rest())

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(PING)
        await stage.until(lambda: len(stage.requests) == 1)
        client.writer.transport.abort()
        await stage.until(lambda: bool(ended))

    theatre.run(script, story)


def test_half_an_upload_ends_when_its_client_ends(theatre: Theatre) -> None:
    ended: list[bytes] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        ended.append(await line.rest())

    async def story(stage: Stage) -> None:
        gate = stage.admission.judge_gate = asyncio.Event()
        client = await stage.client()
        await client.send(LOAD + b"Content-Length: 100\r\n\r\nhalf")
        client.end()
        await stage.until(lambda: stage.server.open_connections == 1)
        await asyncio.sleep(0.01)
        gate.set()
        assert await client.rest() == b""

    theatre.run(script, story)


def test_half_a_body_that_is_judged_whole_ends_when_its_client_ends(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        gate = stage.admission.judge_gate = asyncio.Event()
        client = await stage.client()
        await client.send(CREATE + b"Content-Length: 100\r\n\r\nhalf")
        client.end()
        await asyncio.sleep(0.01)
        gate.set()
        assert await client.rest() == b""
        assert not stage.inspection.bodies

    theatre.run(pong, story)


def test_a_body_that_is_judged_is_sent_whole_with_its_length(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        client = await stage.client()
        head = CREATE + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        assert await stage.ask(client, head) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await stage.ask(client, b"2\r\n{}\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
        assert stage.inspection.bodies == [b"{}"]
        assert b"Content-Length: 2\r\n" in stage.requests[0]
        assert b"Expect" not in stage.requests[0]

    theatre.run(made, story)


def test_a_create_that_is_refused_by_its_body_does_not_reach_the_engine(theatre: Theatre) -> None:
    async def refuse(exchange: Exchange, body: bytes) -> Judgement:
        return Judgement(deny(Rule.IMAGE_LIST, "not you"), again=False)

    async def story(stage: Stage) -> None:
        stage.inspection.judge_before = refuse
        client = await stage.client()
        assert (await stage.ask(client, CREATE + b"Content-Length: 2\r\n\r\n{}")).startswith(b"HTTP/1.1 403 ")
        assert not stage.requests

    theatre.run(made, story)


def test_a_create_that_is_refused_by_what_came_of_it_is_answered_with_403(theatre: Theatre) -> None:
    async def refuse(exchange: Exchange, answer: bytes) -> Verdict:
        return deny(Rule.IMAGE_LIST, "not you")

    async def story(stage: Stage) -> None:
        stage.inspection.judge_before = again
        stage.inspection.judge_after = refuse
        client = await stage.client()
        assert (await stage.ask(client, CREATE + b"Content-Length: 2\r\n\r\n{}")).startswith(b"HTTP/1.1 403 ")
        assert stage.inspection.answers == [MADE]

    theatre.run(made, story)


def test_an_interim_answer_is_not_taken_for_what_came_of_a_create(theatre: Theatre) -> None:
    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + MADE)
        await line.rest()

    async def story(stage: Stage) -> None:
        stage.inspection.judge_before = again
        client = await stage.client()
        assert (await stage.ask(client, CREATE + b"Content-Length: 2\r\n\r\n{}")).startswith(b"HTTP/1.1 201 ")
        assert stage.inspection.answers == [MADE]

    theatre.run(script, story)


@pytest.mark.parametrize("fault", [EngineError("gone"), ClientError("odd")])
def test_audit_mode_passes_a_create_that_cannot_be_judged(theatre: Theatre, fault: Exception) -> None:
    async def fail(exchange: Exchange, answer: bytes) -> Verdict:
        raise fault

    async def story(stage: Stage) -> None:
        stage.wiring.generation = generation(Mode.AUDIT)
        stage.inspection.judge_before = again
        stage.inspection.judge_after = fail
        client = await stage.client()
        assert (await stage.ask(client, CREATE + b"Content-Length: 2\r\n\r\n{}")).startswith(b"HTTP/1.1 201 ")
        assert [verdict.allowed for verdict in stage.recorder.verdicts] == [True, False]

    theatre.run(made, story)


@pytest.mark.parametrize("outcome", ["allow", "deny", "fail"])
def test_a_client_that_vanishes_during_a_create_leaves_nothing_open(theatre: Theatre, outcome: str) -> None:
    ended: list[bytes] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.exactly(2)
        await line.send(MADE)
        ended.append(await line.rest())

    async def story(stage: Stage) -> None:
        gate = asyncio.Event()

        async def judge(exchange: Exchange, answer: bytes) -> Verdict:
            await gate.wait()
            if outcome == "fail":
                raise EngineError("gone")
            return allow(Rule.SOCKET_MOUNT) if outcome == "allow" else deny(Rule.IMAGE_LIST, "not you")

        stage.inspection.judge_before = again
        stage.inspection.judge_after = judge
        client = await stage.client()
        # It leaves with an answer unread, which the kernel tells as a reset.
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(CREATE + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
        await stage.until(lambda: bool(stage.inspection.answers))
        client.writer.transport.abort()
        await client.closed()
        await stage.until(lambda: stage.server.open_connections == 0)
        gate.set()
        await stage.until(lambda: bool(ended))

    theatre.run(script, story)


def test_a_client_that_vanishes_before_its_create_was_sent_creates_nothing(theatre: Theatre) -> None:
    async def story(stage: Stage) -> None:
        gate = asyncio.Event()

        async def judge(exchange: Exchange, body: bytes) -> Judgement:
            await gate.wait()
            return Judgement(allow(Rule.SOCKET_MOUNT), again=True)

        stage.inspection.judge_before = judge
        client = await stage.client()
        await client.send(CREATE + b"Content-Length: 2\r\n\r\n{}")
        await stage.until(lambda: bool(stage.inspection.bodies))
        client.writer.transport.abort()
        await client.closed()
        await asyncio.sleep(0.02)
        gate.set()
        await asyncio.sleep(0.02)
        assert not stage.requests

    theatre.run(made, story)


def test_a_head_that_does_not_end_is_refused_in_time(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "HEAD_SECONDS", 0.02)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(b"GET /")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")

    theatre.run(pong, story)


def test_a_judged_body_that_does_not_end_is_refused_in_time(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging_module, "COLLECT_SECONDS", 0.02)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(CREATE + b"Content-Length: 9\r\n\r\n{")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")

    theatre.run(pong, story)


def test_a_refused_client_that_never_closes_is_closed(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "LINGER_SECONDS", 0.02)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(b"garbage\r\n\r\n")
        await stage.until(lambda: stage.server.open_connections == 1)
        await stage.until(lambda: stage.server.open_connections == 0)

    theatre.run(pong, story)


def test_a_slow_reader_stops_the_engine_and_not_the_memory(theatre: Theatre) -> None:
    sent = [0]

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        await line.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent[0] < 64:
            await line.send(b"x" * 1024 * 1024)
            sent[0] += 1

    async def story(stage: Stage) -> None:
        client = await stage.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        await asyncio.sleep(0.3)
        assert sent[0] < 8
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await client.rest()) == 64 * 1024 * 1024 + len(b"HTTP/1.1 200 OK\r\n\r\n")

    theatre.run(script, story)


def test_a_slow_engine_stops_the_client_and_not_the_memory(theatre: Theatre) -> None:
    size = 32 * 1024 * 1024
    gate: list[asyncio.Event] = []

    async def script(stage: Stage, line: Line) -> None:
        await stage.request(line)
        gate.append(asyncio.Event())
        await gate[0].wait()
        await line.exactly(size)
        await line.send(OK)

    async def story(stage: Stage) -> None:
        client = await stage.client()
        await client.send(LOAD + b"Content-Length: %d\r\n\r\n" % size)
        client.writer.write(b"x" * size)
        await stage.until(lambda: bool(gate))
        await asyncio.sleep(0.2)
        waiting = client.writer.transport.get_write_buffer_size()
        assert waiting > size - 8 * 1024 * 1024
        gate[0].set()
        assert await client.head() == OK[:-2]

    theatre.run(script, story)
