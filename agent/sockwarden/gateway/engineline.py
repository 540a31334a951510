"""One connection to the engine: reads its answers, one at a time, and relays them without a copy of the whole.

Never: a decision.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
from typing import TYPE_CHECKING, ClassVar, Protocol

from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway.duplex import WRITE_BUFFER_BYTES, Duplex
from sockwarden.gateway.splice import SPLICE_BYTES, Handover
from sockwarden.http1.chunked import ChunkedBody
from sockwarden.http1.response import Framing, ResponseHead, parse_response

if TYPE_CHECKING:
    from collections.abc import Callable


class ResponseSink(Protocol):
    """The client side, as seen from the engine's connection."""

    def response_data(self, data: bytes) -> None:
        """Bytes for the client."""

    def response_started(self, head: ResponseHead) -> None:
        """The final response's head was read; its bytes follow by ``response_data``."""

    def response_done(self, *, reusable: bool) -> None:
        """The response is complete."""

    def response_failed(self, error: EngineError) -> None:
        """No (whole) response will come."""

    def tunnel_eof(self) -> None:
        """The engine ended its half of a raw stream."""

    def engine_writable(self, writable: bool) -> None:
        """The engine takes more bytes, or does not."""

    def stream_target(self) -> Duplex | None:
        """Return the connection that a thread may write long streams to; None where nobody else may."""


class _State(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()
    RAW = enum.auto()
    DEAD = enum.auto()


class EngineConnection(Duplex):
    """One connection to the engine; reads one response at a time."""

    _parting: ClassVar[set[EngineConnection]] = set()
    """Held until they are gone: uvloop 0.23 can crash on a transport that nobody holds while it closes."""

    def __init__(self, lost: Callable[[EngineConnection], None]) -> None:
        """Call ``lost`` when the connection ends."""
        super().__init__()
        self.sink: ResponseSink | None = None
        self.used = False
        self._lost = lost
        self._state = _State.IDLE
        self._buffer = b""
        self._left = 0
        self._chunks = ChunkedBody()
        self._method = ""
        self._close = False
        self._passed = 0
        self._handover: Handover | None = None

    # -- the client's side ------------------------------------------------

    def expect_response(self, sink: ResponseSink, method: str) -> None:
        """Read the response to a request with ``method`` and hand it to ``sink``."""
        self.sink = sink
        self.used = True
        self._method = method
        self._state = _State.HEAD

    def go_raw(self) -> None:
        """Stop reading HTTP: everything that follows belongs to a hijacked stream."""
        self._state = _State.RAW

    def release(self) -> None:
        """Close the connection; its sink hears nothing more."""
        self.sink = None
        self._state = _State.DEAD
        self._stop_thread()
        self.transport.abort()

    def part(self) -> None:
        """Close the connection when everything was sent; its sink hears nothing more."""
        self.sink = None
        self._state = _State.DEAD
        self._parting.add(self)
        self.transport.close()

    @property
    def alive(self) -> bool:
        """Whether another request can be sent."""
        return self._state is _State.IDLE and not self.transport.is_closing()

    # -- asyncio ----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Relay bytes of the engine."""
        if self.sink is None:
            self.release()  # an engine that speaks first has lost its place in the dialogue
            return
        try:
            self._relay(data)
        except EngineError as error:
            self._fail(error)
        except ClientError as error:
            self._fail(EngineError(f"the engine's answer is malformed: {error}"))

    def eof_received(self) -> bool:
        """The engine ended its half."""
        sink = self.sink
        if sink is None:
            return False
        if self._state is _State.RAW:
            sink.tunnel_eof()
            return True
        if self._state is _State.CLOSE:
            self._finish()
        else:
            self._fail(EngineError("the engine closed the connection before its answer was complete"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._parting.discard(self)
        if exc is not None and self._handover is None:
            self._read_last()
        self._stop_thread()
        self._lost(self)
        if self.sink is not None:
            if self._state is _State.CLOSE and exc is None:
                self._finish()
            elif self._state is not _State.IDLE:
                self._fail(EngineError("the connection to the engine broke"))
        self._state = _State.DEAD

    def _read_last(self) -> None:
        """Relay what the engine had said when a write to it failed: it may have answered, and closed for that."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as copy:
            while self.sink is not None and (data := copy.recv(WRITE_BUFFER_BYTES, socket.MSG_DONTWAIT)):
                self.data_received(data)

    def pause_writing(self) -> None:
        """The engine reads slowly."""
        if self.sink is not None:
            self.sink.engine_writable(False)

    def resume_writing(self) -> None:
        """The engine has caught up."""
        super().resume_writing()
        if self.sink is not None:
            self.sink.engine_writable(True)

    # -- responses --------------------------------------------------------

    def _relay(self, data: bytes) -> None:
        sink = self.sink
        while data and sink is not None:
            if self._state in (_State.RAW, _State.CLOSE):
                sink.response_data(data)
                self._passed += len(data)
                if self._passed >= SPLICE_BYTES:
                    self._hand_over(None)
                return
            if self._state is _State.HEAD:
                data = self._read_head(data)
            elif self._state is _State.LENGTH:
                data = self._pass_on(data, min(self._left, len(data)))
                if self._left == 0:
                    self._finish(data)
                elif self._left >= SPLICE_BYTES:
                    self._hand_over(self._left)
            elif self._state is _State.CHUNKED:
                data = self._pass_on(data, self._chunks.feed(data))
                if self._chunks.done:
                    self._finish(data)
            sink = self.sink

    def _pass_on(self, data: bytes, count: int) -> bytes:
        assert self.sink is not None  # noqa: S101  # checked by the caller's loop
        self._left -= count
        if count == len(data):
            self.sink.response_data(data)
            return b""
        self.sink.response_data(data[:count])
        return data[count:]

    def _read_head(self, data: bytes) -> bytes:
        """Read a response head; return what follows it."""
        sink = self.sink
        assert sink is not None  # noqa: S101  # checked by the caller's loop
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        head = parse_response(data, self._method)
        if head is None:
            self._buffer = data
            return b""
        if head.interim:
            sink.response_data(data[: head.size])
            return data[head.size :]
        self._close = head.close
        sink.response_started(head)
        if self._state is _State.RAW:  # the client's side called go_raw()
            sink.response_data(data)
            return b""
        self._begin_body(head)
        whole = head.size + (head.length if head.framing is Framing.LENGTH else 0)
        if len(data) == whole and head.framing in (Framing.NONE, Framing.LENGTH):
            # The common case: head and body in one read, handed on in one write.
            sink.response_data(data)
            self._finish()
            return b""
        sink.response_data(data[: head.size])
        if head.framing is Framing.NONE:
            self._finish(data[head.size :])
            return b""
        return data[head.size :]

    def _begin_body(self, head: ResponseHead) -> None:
        if head.framing is Framing.CHUNKED:
            self._state = _State.CHUNKED
            self._chunks = ChunkedBody()
        elif head.framing is Framing.CLOSE:
            self._state = _State.CLOSE
        else:
            self._state = _State.LENGTH
            self._left = head.length

    def _finish(self, behind: bytes = b"") -> None:
        # Bytes behind an answer belong to nobody, least of all to the next request.
        self._close = self._close or bool(behind)
        sink, self.sink = self.sink, None
        self._state = _State.DEAD if self._close else _State.IDLE
        if self._close:
            self.transport.close()
        if sink is not None:
            sink.response_done(reusable=not self._close)

    # -- long streams -----------------------------------------------------

    def _hand_over(self, count: int | None) -> None:
        """Let a thread move up to ``count`` bytes to the client, if there is one to spare."""
        target = self.sink.stream_target() if self.sink is not None else None
        if target is not None and self._handover is None and Handover.possible():
            self._handover = Handover(self, target, count, self._take_back)

    def _take_back(self, taken: int, rest: bytes) -> None:
        """Go on behind the bytes that a thread has taken; the ``rest`` of them it could not deliver."""
        self._handover = None
        self._passed = 0
        sink = self.sink
        if sink is None:
            return
        if rest:
            sink.response_data(rest)
        if self._state is _State.LENGTH:
            self._left -= taken
            if self._left == 0:
                self._finish()

    def _stop_thread(self) -> None:
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.cancel()

    def _fail(self, error: EngineError) -> None:
        sink = self.sink
        self.release()
        if sink is not None:
            sink.response_failed(error)
