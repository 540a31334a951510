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
    from collections.abc import Awaitable, Callable

    Handler = Callable[[], Awaitable[dict[str, Any]]]

MAX_LINE_BYTES: Final = 4096
"""A request is one short word in JSON."""

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A status with 10,000 image entries is a few MiB."""

ANSWER_SECONDS: Final = 30.0


class ControlServer:
    """Answers requests like ``{"ask": "status"}``."""

    def __init__(self, path: str, handlers: dict[str, Handler]) -> None:
        """Serve ``handlers`` by their name at ``path``."""
        self._path = path
        self._handlers = handlers
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
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # the one who asked is gone, or asked nothing; there is nobody to tell
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            ask = json.loads(line)["ask"]
        except (ValueError, LookupError, TypeError):
            return {"error": 'a request is one line such as {"ask": "status"}'}
        handler = self._handlers.get(ask) if isinstance(ask, str) else None
        if handler is None:
            return {"error": f"this agent answers only: {', '.join(sorted(self._handlers))}"}
        try:
            return await handler()
        except SockwardenError as error:
            return {"error": str(error)}


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


async def ask_agent(path: str, ask: str) -> dict[str, Any]:
    """Ask the agent that listens at ``path``.

    Raises:
        EngineError: no agent answers there.
        SockwardenError: it answered with an error.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER_BYTES)
            writer.write(json.dumps({"ask": ask}).encode() + b"\n")
            line = await reader.readline()
            writer.close()
            answer = json.loads(line)
    except (OSError, TimeoutError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no answer"
        raise EngineError(
            f"no sockwarden answers at {path}: {reason.lower()}",
            remedy="start it with sockwarden run, or name its configuration by --config",
        ) from error
    if "error" in answer:
        raise SockwardenError(str(answer["error"]))
    return dict(answer)
