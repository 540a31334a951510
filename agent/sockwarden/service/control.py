"""The agent's own door: a unix socket, for root only, where ``status`` asks and ``reload`` is ordered.

One JSON object per line each way. Never: anything that changes what is allowed, other than reading the file again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

from sockwarden.errors import EngineError, SockwardenError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    Handler = Callable[[], Awaitable[dict[str, Any]]]
    Stream = Callable[[dict[str, Any]], AsyncGenerator[dict[str, Any], None]]

MAX_LINE_BYTES: Final = 65536
"""A request is one short word in JSON, and for some the names of entries."""

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A status with 10,000 image entries is a few MiB."""

ANSWER_SECONDS: Final = 30.0


class ControlServer:
    """Answers requests like ``{"ask": "status"}``: by one line, or by one for each thing that happens."""

    def __init__(self, path: str, handlers: dict[str, Handler], streams: Mapping[str, Stream] | None = None) -> None:
        """Serve ``handlers`` and ``streams`` by their name at ``path``. A stream gets the whole request."""
        self._path = path
        self._handlers = handlers
        self._streams = dict(streams or {})
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket file that a dead agent left is replaced.

        Raises:
            SockwardenError: the path cannot be bound.
        """
        try:
            _remove(self._path)
            before = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE_BYTES)
            finally:
                os.umask(before)
        except OSError as error:
            raise SockwardenError(
                f"{self._path} cannot be bound: {error.strerror}", remedy="see daemon.run_dir"
            ) from error

    async def close(self) -> None:
        """Stop listening and remove the socket file."""
        if self._server is not None:
            self._server.close()
            _remove(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await reader.readline()
            async with contextlib.aclosing(self._answers(line)) as answers:
                async for answer in answers:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        writer.write(json.dumps(answer).encode() + b"\n")
                        await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # the one who asked is gone, or asked nothing; there is nobody to tell
        finally:
            writer.close()

    async def _answers(self, line: bytes) -> AsyncGenerator[dict[str, Any], None]:
        try:
            request = json.loads(line)
            ask = request["ask"]
        except (ValueError, LookupError, TypeError):
            yield {"error": 'a request is one line such as {"ask": "status"}'}
            return
        handler = self._handlers.get(ask) if isinstance(ask, str) else None
        stream = self._streams.get(ask) if isinstance(ask, str) else None
        try:
            if handler is not None:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await handler()
                yield answer
            elif stream is not None:
                async with contextlib.aclosing(stream(request)) as answers:
                    async for answer in answers:
                        yield answer
            else:
                yield {"error": f"this agent answers only: {', '.join(sorted({*self._handlers, *self._streams}))}"}
        except SockwardenError as error:
            yield {"error": str(error), "remedy": error.remedy}


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


async def ask_agent(path: str, ask: str) -> dict[str, Any]:
    """Ask the agent that listens at ``path``.

    Raises:
        EngineError: no agent answers there.
        SockwardenError: it answered with an error.
    """
    async with contextlib.aclosing(follow_agent(path, {"ask": ask})) as answers:
        async for answer in answers:
            return answer
    raise _silent(path, None)


async def follow_agent(
    path: str, request: dict[str, Any], seconds: float = ANSWER_SECONDS
) -> AsyncGenerator[dict[str, Any], None]:
    """Ask the agent that listens at ``path``, and yield each line of its answer; ``seconds`` is for one line.

    Raises:
        EngineError: no agent answers there.
        SockwardenError: it answered with an error.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER_BYTES)
    except (OSError, TimeoutError) as error:
        raise _silent(path, error) from error
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        while True:
            try:
                async with asyncio.timeout(seconds):
                    line = await reader.readline()
                answer = dict(json.loads(line)) if line else None
            except (OSError, TimeoutError, ValueError) as error:
                raise _silent(path, error) from error
            if answer is None:
                return
            if set(answer) - {"remedy"} == {"error"}:
                raise SockwardenError(str(answer["error"]), remedy=str(answer.get("remedy", "")))
            yield answer
    finally:
        writer.close()


def _silent(path: str, error: Exception | None) -> EngineError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "no answer"
    return EngineError(
        f"no sockwarden answers at {path}: {reason.lower()}",
        remedy="start it with sockwarden run, or name its configuration by --config",
    )
