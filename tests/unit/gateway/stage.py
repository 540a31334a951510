"""A real gateway on a real event loop, between a client of raw bytes and an engine that plays a script."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvloop

from sockwarden.config import Takeover
from sockwarden.gateway.ports import Judgement, Wiring
from sockwarden.gateway.server import GatewayServer
from sockwarden.gateway.takeover import SocketTakeover
from sockwarden.gateway.upstream import Upstream
from sockwarden.identity.peer import PeerSnapshot
from sockwarden.model import HostClient, IdentitySource, Mode, Peer, Rule, Verdict, allow
from sockwarden.policy.commandlist import CommandRules
from sockwarden.policy.decide import Generation
from sockwarden.policy.document import parse_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from sockwarden.gateway.ports import Exchange
    from sockwarden.model import Client

PEER = Peer(pid=1, uid=0, gid=0, start_ticks=0, source=IdentitySource.CRED)
HOST = HostClient(PEER)
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
STORY_SECONDS = 5.0
POLICY = b"""{"configurationFileVersion": 2, "enhancedContainerIsolation": {"locked": true, "value": true,
 "dockerSocketMount": {"imageList": {"images": []}, "commandList": {"type": "deny", "commands": ["push"]}}}}"""


def generation(mode: Mode = Mode.ENFORCE) -> Generation:
    document = parse_policy(POLICY, "admin-settings.json")
    rules = CommandRules.compile(document.commands.kind, document.commands.names)
    return Generation(1, document, rules, mode, enforce_host=True, walled=False)


@dataclass
class FakeAdmission:
    """Everybody is ``client``, admitted by ``verdict``; with a gate, only when it opens."""

    client: Client = HOST
    verdict: Verdict = field(default_factory=lambda: allow(Rule.DEFAULT))
    identity_gate: asyncio.Event | None = None
    judge_gate: asyncio.Event | None = None
    error: Exception | None = None

    def identify(self, sock: Any) -> PeerSnapshot:
        return PeerSnapshot(PEER, "0::/\n")

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        return self.client if self.identity_gate is None else None

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        if self.identity_gate is not None:
            await self.identity_gate.wait()
        return self.client

    def judge_now(self, generation: Generation, client: Client) -> Verdict | None:
        return self.verdict if self.judge_gate is None else None

    async def judge(self, generation: Generation, client: Client) -> Verdict:
        if self.judge_gate is not None:
            await self.judge_gate.wait()
        if self.error is not None:
            raise self.error
        return self.verdict


async def _pass(exchange: Exchange, body: bytes) -> Judgement:
    return Judgement(allow(Rule.DEFAULT), again=False)


async def _pass_after(exchange: Exchange, answer: bytes) -> Verdict:
    return allow(Rule.DEFAULT)


@dataclass
class FakeInspection:
    """Collects the bodies of ``keys`` and asks ``judge_before`` and ``judge_after``."""

    keys: frozenset[str] = frozenset({"POST /containers/create"})
    judge_before: Callable[[Exchange, bytes], Awaitable[Judgement]] = _pass
    judge_after: Callable[[Exchange, bytes], Awaitable[Verdict]] = _pass_after
    bodies: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def wants(self, key: str | None) -> bool:
        return key in self.keys

    async def before(self, exchange: Exchange, body: bytes) -> Judgement:
        self.bodies.append(body)
        return await self.judge_before(exchange, body)

    async def after(self, exchange: Exchange, answer: bytes) -> Verdict:
        self.answers.append(answer)
        return await self.judge_after(exchange, answer)


@dataclass
class FakeRecorder:
    """Keeps what it is told."""

    clients: list[Client] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    malformed_verdicts: list[Verdict] = field(default_factory=list)
    failures: list[Rule] = field(default_factory=list)

    def opened(self, client: Client) -> None:
        self.clients.append(client)

    def decided(self, exchange: Exchange, client: Client, verdict: Verdict) -> None:
        self.verdicts.append(verdict)

    def malformed(self, client: Client | None, verdict: Verdict, method: str, target: str) -> None:
        self.malformed_verdicts.append(verdict)

    def failed(self, rule: Rule) -> None:
        self.failures.append(rule)


class Line:
    """One end of a connection, in raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def exactly(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        return await self.reader.read()

    def end(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    async def closed(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


Script = "Callable[[Line], Coroutine[Any, Any, None]]"


class Stage:
    """The gateway with its fakes; ``engine_lines`` are the engine's connections in their order."""

    def __init__(self, directory: Path, script: Any) -> None:
        self.public = str(directory / "docker.sock")
        self.engine_path = str(directory / "engine.sock")
        self.admission = FakeAdmission()
        self.inspection = FakeInspection()
        self.recorder = FakeRecorder()
        self.takeover = SocketTakeover(self.public, self.engine_path, str(directory / "run"), Takeover.NONE)
        self.upstream = Upstream(lambda: self.engine_path)
        self.wiring = Wiring(self.upstream, self.admission, self.inspection, self.recorder, generation())
        self.server = GatewayServer(self.wiring, self.takeover)
        self.engine_lines: list[Line] = []
        self.requests: list[bytes] = []
        self.lines: list[Line] = []
        self._script = script
        self._engine: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.start_engine()
        await self.server.start()

    async def start_engine(self) -> None:
        self._engine = await asyncio.start_unix_server(self._serve, self.engine_path)

    def stop_engine(self) -> None:
        assert self._engine is not None
        self._engine.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.engine_path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        self.engine_lines.append(line)
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            await self._script(self, line)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()

    async def request(self, line: Line) -> bytes:
        """Read one head at the engine."""
        head = await line.head()
        self.requests.append(head)
        return head

    async def client(self) -> Line:
        line = Line(*await asyncio.open_unix_connection(self.public))
        self.lines.append(line)
        return line

    async def ask(self, line: Line, data: bytes) -> bytes:
        """Send a request and read the head of its answer."""
        await line.send(data)
        return await line.head()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110  # the condition is another side's state, nobody signals it
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        for line in self.lines:
            await line.closed()
        await self.until(lambda: self.server.open_connections == 0)
        assert self.wiring.quota.connections == 0
        await self.server.close()
        self.stop_engine()
        for task in list(self._handlers):
            task.cancel()
        for line in self.engine_lines:
            await line.closed()


class Theatre:
    """Runs a story on one kind of loop; an exception in a callback or a descriptor left open fails the test."""

    def __init__(self, loop: str, directory: Path) -> None:
        self.loop = loop
        self.directory = directory

    def run(self, script: Any, story: Any) -> None:
        faults: list[dict[str, Any]] = []

        async def play() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
            stage = Stage(self.directory, script)
            async with asyncio.timeout(STORY_SECONDS):
                await stage.start()
                try:
                    await story(stage)
                finally:
                    async with asyncio.timeout(STORY_SECONDS):
                        await stage.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(others, timeout=1) if others else None

        before = _sockets()
        with asyncio.Runner(loop_factory=LOOPS[self.loop]) as runner:
            runner.run(play())
        gc.collect()
        assert not faults
        assert _sockets() <= before


def _sockets() -> int:
    """Count the open sockets; libuv keeps pipes of its own for the whole process."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return found
