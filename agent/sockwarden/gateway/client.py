"""Carrying allowed exchanges out: bytes between a client and the engine, in both directions, however long.

Never: a decision; ``gateway.judging`` has made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi.routes import Stream
from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway.capture import Capture
from sockwarden.gateway.duplex import Hold
from sockwarden.gateway.intake import Phase
from sockwarden.gateway.judging import Judging
from sockwarden.gateway.splice import SPLICE_BYTES, Handover
from sockwarden.http1.body import RequestBody
from sockwarden.http1.response import Framing

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockwarden.gateway.duplex import Duplex
    from sockwarden.gateway.engineline import EngineConnection
    from sockwarden.gateway.intake import Intake
    from sockwarden.gateway.ports import Exchange, Wiring
    from sockwarden.http1.response import ResponseHead

MAX_PIPELINED_BYTES: Final = 256 * 1024
"""How much may wait behind an exchange before reading stops: one largest head, and stdin sent ahead of an upgrade."""


class ClientConnection(Judging):
    """The protocol of an accepted connection; also the sink of the engine's answers."""

    def __init__(self, wiring: Wiring, closed: Callable[[Intake], None]) -> None:
        """Serve a client with ``wiring``; call ``closed`` when the connection is gone."""
        super().__init__(wiring, closed)
        self._engine: EngineConnection | None = None
        self._engine_ended = False
        self._passed = 0
        self._handover: Handover | None = None
        self._answered: bool | None = None

    # -- asyncio ----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        phase = self._phase
        if phase is Phase.RAW:
            if self._engine is not None:
                self._engine.transport.write(data)
                self._passed += len(data)
                if self._passed >= SPLICE_BYTES:
                    self._hand_over(self._engine, None)
            return
        if phase is Phase.STREAM:
            self._stream(data)
            return
        if phase in (Phase.LINGER, Phase.CLOSED):
            return
        self._buffer = self._buffer + data if self._buffer else data
        if phase is Phase.HEAD and not self._clogged:
            self._advance()
        elif phase is Phase.COLLECT:
            self._collect()
        elif len(self._buffer) > MAX_PIPELINED_BYTES:
            self.hold(Hold.PIPELINE, on=True)

    def eof_received(self) -> bool:
        """The client ended its half; the engine is told as soon as it has everything that came before."""
        self._ended = True
        if self._phase is Phase.HEAD and self._clogged and not self.peer_has_closed():
            return True  # it may still read its answers, and have those of the requests behind them
        if self._phase in (Phase.HEAD, Phase.COLLECT, Phase.LINGER):
            return False
        if self._engine_ended:  # asked first: a peer that has only ended its half looks closed once we ended ours
            self._part_from_engine()
            return False
        if self._phase is Phase.STREAM or (self._phase in (Phase.ANSWER, Phase.RAW) and self.peer_has_closed()):
            self._drop_engine()
            return False
        self._pass_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The client is gone; so is its connection to the engine."""
        self._phase = Phase.CLOSED
        self.drop_deadline()
        if self._task is not None and self._exchange is None:
            self._task.cancel()
        self._drop_engine()
        self._give_back()
        self._wiring.quota.disconnect(self.client)
        self._closed(self)

    def pause_writing(self) -> None:
        """The client reads slowly: stop reading from the engine, and begin no other exchange."""
        self._clogged = True
        if self._engine is not None:
            self._engine.hold(Hold.CLIENT, on=True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._clogged = False
        super().resume_writing()
        if self._engine is not None:
            self._engine.hold(Hold.CLIENT, on=False)
        self._advance()

    # -- bodies -----------------------------------------------------------

    def _stream(self, data: bytes, head: bytes = b"") -> None:
        """Pass a body's bytes on, and not one byte more.

        They go in one piece with the ``head`` before them: an engine that answers and closes without reading the body
        would fail a second write, and uvloop drops what it has not read when a write fails.
        """
        engine, body = self._engine, self._body
        if engine is None or body is None:
            return
        try:
            count = body.feed(data)
        except ClientError as error:
            self._drop_engine()
            self._refuse_malformed(error)
            return
        engine.transport.write(head + data[:count] if head else data if count == len(data) else data[:count])
        if body.done:
            self._body = None
            self._phase = Phase.ANSWER
            self._buffer = data[count:]
        elif body.left >= SPLICE_BYTES:
            self._hand_over(engine, body.left)

    def _hand_over(self, engine: EngineConnection, count: int | None) -> None:
        """Let a thread move up to ``count`` bytes to the engine, if there is one to spare."""
        if self._handover is None and Handover.possible():
            self._handover = Handover(self, engine, count, self._take_back)

    def _take_back(self, taken: int, rest: bytes) -> None:
        """Go on behind the bytes that a thread has taken; the ``rest`` of them it could not deliver."""
        self._handover = None
        self._passed = 0
        if rest and self._engine is not None and not self._engine.transport.is_closing():
            self._engine.transport.write(rest)
        if self._body is not None:
            self._body.skip(taken)
            if self._body.done:
                self._body = None
                self._phase = Phase.ANSWER
        if self._answered is not None:
            self.response_done(reusable=self._answered)

    # -- the engine -------------------------------------------------------

    def _forward(self, exchange: Exchange, body: bytes | None) -> None:
        """Send the request: with the body that was judged, or with the one that is still to come."""
        if self._gone():
            self._drop_engine()
            return
        engine = self._engine
        if engine is None or not engine.alive:
            self._drop_engine()
            engine = self._wiring.upstream.take()
        if engine is not None:
            self._send(engine, exchange, body, None)
            return
        self._phase = Phase.WAIT

        async def connect() -> None:
            self._send(await self._connect(), exchange, body, None)

        self._spawn(connect())

    async def _connect(self) -> EngineConnection:
        upstream = self._wiring.upstream
        engine = self._engine
        if engine is not None and engine.alive:
            return engine
        return upstream.take() or await upstream.open()

    def _send(self, engine: EngineConnection, exchange: Exchange, body: bytes | None, capture: Capture | None) -> None:
        if capture is None and self._unheard():
            engine.release()
            self._close()
            return
        head, route = exchange.head, exchange.route
        hijack = route is not None and route.stream is not Stream.PLAIN
        length = len(body) if body is not None and head.has_body else None
        wire = head.serialize(exchange.target.canonical, upgrade=hijack, content_length=length, expect=body is None)
        self._engine = engine
        engine.expect_response(capture or self, head.method)
        if body is None and head.has_body:
            self._phase = Phase.STREAM
            self._body = RequestBody(head)
            data, self._buffer = self._buffer, b""
            self._stream(data, wire)
            if self._ended and self._phase is Phase.STREAM:
                self._close()  # the rest of the body will never come
                return
        else:
            engine.transport.write(wire + body if body else wire)
            if capture is not None:
                return
            self._phase = Phase.ANSWER
        self.hold(Hold.PIPELINE, on=False)
        self._pass_eof()

    # -- the engine's answer (ResponseSink) -------------------------------

    def response_started(self, head: ResponseHead) -> None:
        """Go raw where the engine hijacks the connection, and only there (docker-semantics B2)."""
        exchange = self._exchange
        if exchange is None or self._engine is None:
            return
        route = exchange.route
        hijacked = head.status == 101 or (head.status == 200 and head.raw_stream and head.framing is Framing.CLOSE)
        if not hijacked:
            exchange.answered = True
            return
        if route is None or route.stream is Stream.PLAIN or self._phase not in (Phase.ANSWER, Phase.STREAM):
            if head.status == 101:
                raise EngineError("it switched protocols where nobody asked for it")
            exchange.answered = True
            return
        exchange.answered = True
        # Some clients (docker-modem) announce a chunked body for the stdin that follows: what came of it was sent
        # as it is, and the engine does not read it as HTTP any more.
        self._phase, self._body = Phase.RAW, None
        self._engine.go_raw()
        self.hold(Hold.PIPELINE, on=False)
        if self._buffer:
            self._engine.transport.write(self._buffer)
            self._buffer = b""
        self._pass_eof()

    def response_data(self, data: bytes) -> None:
        """Relay bytes of the answer."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def response_done(self, *, reusable: bool) -> None:
        """The exchange is over: read the next head, or close."""
        if self._handover is not None and self._phase is Phase.STREAM:
            self._answered = reusable  # perhaps to the whole body: the thread that sent it has not said so yet
            self._handover.recall()
            return
        self._answered = None
        exchange, self._exchange = self._exchange, None
        self.hold(Hold.ENGINE, on=False)
        if not reusable:
            self._engine = None
        if self._phase is Phase.CLOSED:
            self._drop_engine()
        elif self._phase is Phase.STREAM:
            self._drop_engine()
            self._linger()  # the engine answered before it had read the whole body
        elif not reusable or exchange is None or exchange.head.close:
            self._close()
        else:
            self._phase = Phase.HEAD
            self._advance()

    def response_failed(self, error: EngineError) -> None:
        """Say why there is no answer, or break off one that has begun."""
        engine = self._engine
        self._drop_engine()
        exchange = self._exchange
        if self._phase in (Phase.CLOSED, Phase.LINGER):
            return
        if exchange is None or exchange.answered or self._phase is Phase.RAW:
            self.transport.abort()
            return
        again = exchange.head.method in ("GET", "HEAD") and not exchange.head.has_body and not exchange.retried
        if engine is not None and again:
            # A kept connection that the engine closed in the same moment: RFC 9112 section 9.3.1 allows one retry.
            exchange.retried = True
            self._forward(exchange, None)
            return
        self._refuse_engine(error)

    def tunnel_eof(self) -> None:
        """The engine ended its half of the raw stream; the client's half goes on until it ends too."""
        self._engine_ended = True
        if self._ended:
            self._part_from_engine()
            self._close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def engine_writable(self, writable: bool) -> None:
        """Stop reading from the client while the engine is slow."""
        self.hold(Hold.ENGINE, on=not writable)

    def stream_target(self) -> Duplex:
        """Return this connection: nobody else writes to it while an answer passes."""
        return self

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.cancel()
        if engine is not None and not isinstance(engine.sink, Capture):
            engine.release()

    def _part_from_engine(self) -> None:
        """Let go of an engine that ended its half, once it has what was sent to it."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.part()

    # -- small parts ------------------------------------------------------

    def _pass_eof(self) -> None:
        """Tell the engine that the client ended its half, if nothing of the client's is still to be sent."""
        engine = self._engine
        if self._ended and engine is not None and not self._buffer and self._phase in (Phase.ANSWER, Phase.RAW):
            engine.transport.write_eof()
