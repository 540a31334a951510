"""An answer of the engine that is read whole before the client may see it.

Never: more than MAX_CAPTURED_BYTES in memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sockwarden.errors import EngineError

if TYPE_CHECKING:
    from sockwarden.http1.response import ResponseHead

MAX_CAPTURED_BYTES: Final = 1024 * 1024
"""A captured answer (of a create) is a few hundred bytes; more means that it is not one."""


class Capture:
    """A response sink that keeps what it is given."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def whole(self) -> bytes:
        """Wait for the whole answer, head and body as sent.

        Raises:
            EngineError: the answer broke off, or is larger than MAX_CAPTURED_BYTES.
        """
        return await self._done

    def response_started(self, head: ResponseHead) -> None:  # noqa: ARG002  # the interface's signature
        """Forget interim heads: what is judged begins with the final one."""
        self._data.clear()

    def response_data(self, data: bytes) -> None:
        """Keep bytes of the answer."""
        self._data += data
        if len(self._data) > MAX_CAPTURED_BYTES:
            raise EngineError(f"the engine's answer is larger than {MAX_CAPTURED_BYTES} bytes")

    def response_done(self, *, reusable: bool) -> None:  # noqa: ARG002  # the interface's signature
        """Hand the answer over."""
        if not self._done.done():
            self._done.set_result(bytes(self._data))

    def response_failed(self, error: EngineError) -> None:
        """Hand the failure over."""
        if not self._done.done():
            self._done.set_exception(error)

    def tunnel_eof(self) -> None:
        """A captured answer is no raw stream."""

    def engine_writable(self, writable: bool) -> None:
        """The request was sent whole already."""

    def stream_target(self) -> None:
        """Nothing passes by the memory."""
