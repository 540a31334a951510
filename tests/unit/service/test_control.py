"""The agent's own door."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.errors import EngineError, SockwardenError
from sockwarden.service.control import MAX_LINE_BYTES, ControlServer, ask_agent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


async def status() -> dict[str, Any]:
    return {"mode": "enforce"}


async def broken() -> dict[str, Any]:
    raise EngineError("the engine is gone")


def serve(path: Path, ask: Callable[[str], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        server = ControlServer(str(path), {"status": status, "broken": broken})
        await server.start()
        try:
            answer = await ask(str(path))
        finally:
            await server.close()
        assert not faults
        return answer

    return asyncio.run(run())


async def raw(path: str, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return json.loads(answer) if answer else None


def test_an_answer_comes_back(tmp_path: Path) -> None:
    assert serve(tmp_path / "c", lambda path: ask_agent(path, "status")) == {"mode": "enforce"}


def test_a_handlers_error_is_told(tmp_path: Path) -> None:
    with pytest.raises(SockwardenError, match="the engine is gone"):
        serve(tmp_path / "c", lambda path: ask_agent(path, "broken"))


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"{}\n", b'"status"\n', b"\xff\n", b"\n"])
def test_what_is_no_request_is_told_how_to_ask(tmp_path: Path, line: bytes) -> None:
    assert "a request is one line" in serve(tmp_path / "c", lambda path: raw(path, line))["error"]


@pytest.mark.parametrize("line", [b'{"ask": "stop"}\n', b'{"ask": 1}\n', b'{"ask": ["status"]}\n'])
def test_another_word_is_told_the_right_ones(tmp_path: Path, line: bytes) -> None:
    error = serve(tmp_path / "c", lambda path: raw(path, line))["error"]
    assert error == "this agent answers only: broken, status"


def test_a_line_without_end_is_dropped(tmp_path: Path) -> None:
    assert serve(tmp_path / "c", lambda path: raw(path, b"x" * MAX_LINE_BYTES * 2)) is None


def test_nobody_but_the_owner_may_ask(tmp_path: Path) -> None:
    async def mode(path: str) -> int:
        return stat.S_IMODE((tmp_path / "c").stat().st_mode)

    assert serve(tmp_path / "c", mode) == 0o600


def test_a_dead_agents_socket_is_replaced_and_ours_removed(tmp_path: Path) -> None:
    (tmp_path / "c").touch()
    serve(tmp_path / "c", lambda path: ask_agent(path, "status"))
    assert not (tmp_path / "c").exists()


def test_a_path_that_cannot_be_bound_is_told(tmp_path: Path) -> None:
    with pytest.raises(SockwardenError, match="cannot be bound"):
        serve(tmp_path / "missing" / "c", lambda path: ask_agent(path, "status"))


def test_no_agent_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no sockwarden answers"):
        asyncio.run(ask_agent(str(tmp_path / "c"), "status"))


def test_an_agent_that_hangs_up_is_told(tmp_path: Path) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def run() -> None:
        server = await asyncio.start_unix_server(hang_up, str(tmp_path / "c"))
        try:
            await ask_agent(str(tmp_path / "c"), "status")
        finally:
            server.close()

    with pytest.raises(EngineError, match="no sockwarden answers"):
        asyncio.run(run())
