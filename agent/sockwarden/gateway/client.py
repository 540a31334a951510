"""One client's connection: reads requests, has each judged, relays the exchange.

The phases are the states of one exchange; a new head is read only when the exchange before it is over, so
pipelined requests are judged one by one and what the engine has not asked for never reaches it.

Never: a decision of its own. Whatever fails in deciding is refused.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from typing import TYPE_CHECKING, Final, cast

from sockwarden.dockerapi.gojson import MAX_JSON_BODY_BYTES
from sockwarden.dockerapi.routes import Stream, match, operation_key
from sockwarden.dockerapi.target import ASTERISK, parse_target
from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway import refusal
from sockwarden.gateway.capture import Capture
from sockwarden.gateway.ports import Exchange, Judgement, Wiring
from sockwarden.gateway.upstream import WRITE_BUFFER_BYTES, EngineConnection
from sockwarden.http1.body import RequestBody
from sockwarden.http1.reply import CONTINUE
from sockwarden.http1.request import RequestHead, parse_request
from sockwarden.http1.response import Framing
from sockwarden.model import Client, Rule, Verdict
from sockwarden.policy.decide import decide_operation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sockwarden.http1.response import ResponseHead

HEAD_SECONDS: Final = 30.0
"""From a head's first byte to its last; nginx gives 60 s. A person typing into socat is not a client to serve."""

COLLECT_SECONDS: Final = 60.0
"""For a body that must be read whole before it is judged; at most 4 MiB."""

LINGER_SECONDS: Final = 30.0
"""How long the rest of a refused upload is read and dropped, so that the client reads the refusal first."""

MAX_PIPELINED_BYTES: Final = 256 * 1024
"""How much may wait behind an exchange before reading stops: one largest head, and stdin sent ahead of an upgrade."""

_log = logging.getLogger(__name__)


class _Phase(enum.Enum):
    WAIT = enum.auto()  # for an identity, a verdict or a connection to the engine
    HEAD = enum.auto()
    COLLECT = enum.auto()
    STREAM = enum.auto()  # the request's body passes
    ANSWER = enum.auto()
    RAW = enum.auto()
    LINGER = enum.auto()
    CLOSED = enum.auto()


class _Hold(enum.Flag):
    NONE = 0
    PIPELINE = enum.auto()
    ENGINE = enum.auto()


class ClientConnection(asyncio.Protocol):
    """The protocol of an accepted connection; also the sink of the engine's answers."""

    def __init__(self, wiring: Wiring, closed: Callable[[ClientConnection], None]) -> None:
        """Serve a client with ``wiring``; call ``closed`` when the connection is gone."""
        self.client: Client | None = None
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any other callback
        self.refuse_at_once = False
        self._wiring = wiring
        self._closed = closed
        self._phase = _Phase.WAIT
        self._holds = _Hold.NONE
        self._buffer = b""
        self._ended = False
        self._engine: EngineConnection | None = None
        self._exchange: Exchange | None = None
        self._body: RequestBody | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._admitted: tuple[int, Verdict] | None = None

    # -- asyncio ----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who it is."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from asyncio's
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if self.refuse_at_once:
            self._wiring.recorder.failed(Rule.LIMIT)
            self._refuse(refusal.too_many(), close=True)
            return
        admission = self._wiring.admission
        snapshot = admission.identify(self.transport.get_extra_info("socket"))
        client = admission.resolve_now(snapshot)
        if client is not None:
            self._identified(client)
        else:

            async def resolve() -> None:
                self._identified(await admission.resolve(snapshot))

            self._spawn(resolve())

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        phase = self._phase
        if phase is _Phase.RAW:
            if self._engine is not None:
                self._engine.transport.write(data)
            return
        if phase is _Phase.STREAM:
            self._stream(data)
            return
        if phase in (_Phase.LINGER, _Phase.CLOSED):
            return
        self._buffer = self._buffer + data if self._buffer else data
        if phase is _Phase.HEAD:
            self._advance()
        elif phase is _Phase.COLLECT:
            self._collect()
        elif len(self._buffer) > MAX_PIPELINED_BYTES:
            self._hold(_Hold.PIPELINE, on=True)

    def eof_received(self) -> bool:
        """The client ended its half; the engine is told as soon as it has everything that came before."""
        self._ended = True
        if self._phase in (_Phase.HEAD, _Phase.COLLECT, _Phase.LINGER):
            return False
        if self._phase is _Phase.STREAM:
            self._drop_engine()
            return False
        self._pass_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The client is gone; so is its connection to the engine."""
        self._phase = _Phase.CLOSED
        self._stop_timer()
        if self._task is not None and self._exchange is None:
            self._task.cancel()
        self._drop_engine()
        self._closed(self)

    def pause_writing(self) -> None:
        """The client reads slowly: stop reading from the engine."""
        if self._engine is not None:
            self._engine.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._engine is not None and not self._engine.transport.is_closing():
            self._engine.transport.resume_reading()

    def close_if_idle(self) -> None:
        """Close between two requests; for an agent that stops."""
        if self._phase is _Phase.HEAD and not self._buffer:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    # -- requests ---------------------------------------------------------

    def _identified(self, client: Client) -> None:
        self.client = client
        if self._phase is _Phase.CLOSED:
            return
        self._wiring.recorder.opened(client)
        self._phase = _Phase.HEAD
        self._advance()

    def _advance(self) -> None:
        """Begin the next exchange, if its head has come."""
        if not self._buffer:
            if self._ended:
                self._close()
            return
        try:
            head = parse_request(self._buffer)
        except ClientError as error:
            self._refuse_malformed(error)
            return
        if head is None:
            if self._ended:
                self._close()
            elif self._timer is None:
                self._start_timer(HEAD_SECONDS, "the request head")
            return
        self._stop_timer()
        self._buffer = self._buffer[head.size :]
        self._hold(_Hold.PIPELINE, on=False)
        try:
            self._begin(head)
        except ClientError as error:
            self._refuse_malformed(error, head)
        except Exception:  # noqa: BLE001  # whatever fails in deciding is refused
            _log.exception("a decision failed")
            self._refuse_broken()

    def _begin(self, head: RequestHead) -> None:
        started = time.perf_counter()
        target = ASTERISK if head.method == "OPTIONS" and head.target == b"*" else parse_target(head.target)
        route = match(head.method, "/" if target is ASTERISK else target.path)
        key = None if route is None else operation_key(route, target)
        exchange = Exchange(head, target, route, key, self._wiring.generation, started)
        self._exchange = exchange
        verdict = self._verdict_on_client(exchange)
        if verdict is None:
            self._phase = _Phase.WAIT
            self._spawn(self._judge_client(exchange))
        else:
            self._judge_operation(exchange, verdict)

    def _verdict_on_client(self, exchange: Exchange) -> Verdict | None:
        generation = exchange.generation
        if self._admitted is not None and self._admitted[0] == generation.number:
            return self._admitted[1]
        verdict = self._wiring.admission.judge_now(generation, self._known_client())
        if verdict is not None:
            self._admitted = (generation.number, verdict)
        return verdict

    async def _judge_client(self, exchange: Exchange) -> None:
        verdict = await self._wiring.admission.judge(exchange.generation, self._known_client())
        # Not kept: a refusal because a registry was down must not outlive the connection's next request.
        self._judge_operation(exchange, verdict)

    def _judge_operation(self, exchange: Exchange, verdict: Verdict) -> None:
        """Judge the request of a client that may, or may not, use the socket."""
        admitted = verdict.allowed
        if admitted:
            verdict = decide_operation(exchange.generation, self._known_client(), exchange.key, exchange.target.raw)
        if not verdict.allowed:
            self._decided(exchange, verdict)
            if exchange.generation.enforcing:
                self._refuse(verdict, close=not admitted or exchange.head.close or exchange.head.has_body)
            else:
                self._forward(exchange, None)
        elif exchange.generation.enabled and self._wiring.inspection.wants(exchange.key):
            self._start_collecting(exchange)
        else:
            self._decided(exchange, verdict)
            self._forward(exchange, None)

    # -- bodies -----------------------------------------------------------

    def _start_collecting(self, exchange: Exchange) -> None:
        self._body = RequestBody(exchange.head, limit=MAX_JSON_BODY_BYTES)
        if exchange.head.expect_continue:
            self.transport.write(CONTINUE)
        self._phase = _Phase.COLLECT
        self._start_timer(COLLECT_SECONDS, "the request body")
        self._collect()

    def _collect(self) -> None:
        """Take what the buffer holds of a body that is judged whole."""
        body, exchange = self._body, self._exchange
        if body is None or exchange is None:
            return
        try:
            self._buffer = self._buffer[body.feed(self._buffer) :]
        except ClientError as error:
            self._refuse_malformed(error, exchange.head)
            return
        if body.done:
            self._stop_timer()
            self._phase = _Phase.WAIT
            self._body = None
            self._spawn(self._inspect(exchange, body.collected))

    async def _inspect(self, exchange: Exchange, body: bytes) -> None:
        inspection = self._wiring.inspection
        enforcing = exchange.generation.enforcing
        try:
            judgement = await inspection.before(exchange, body)
        except ClientError as error:
            if enforcing:
                raise
            judgement = Judgement(refusal.malformed(error), again=False)
        verdict = judgement.verdict
        self._decided(exchange, verdict)
        if enforcing and not verdict.allowed:
            self._refuse(verdict, close=exchange.head.close)
        elif verdict.allowed and judgement.again:
            await self._forward_captured(exchange, body)
        else:
            self._forward(exchange, body)

    async def _forward_captured(self, exchange: Exchange, body: bytes) -> None:
        """Judge the engine's answer before the client may read it. Goes on even if the client leaves."""
        capture = Capture()
        engine = await self._connect()
        self._send(engine, exchange, body, capture)
        answer = await capture.whole()
        verdict = await self._wiring.inspection.after(exchange, answer)
        if not verdict.allowed:
            self._decided(exchange, verdict)
            if exchange.generation.enforcing:
                self._refuse(verdict, close=exchange.head.close)
                return
        self.response_data(answer)
        self.response_done(reusable=engine.alive)

    def _stream(self, data: bytes) -> None:
        """Pass a body's bytes on, and not one byte more."""
        engine, body = self._engine, self._body
        if engine is None or body is None:
            return
        try:
            count = body.feed(data)
        except ClientError as error:
            self._drop_engine()
            self._refuse_malformed(error)
            return
        engine.transport.write(data if count == len(data) else data[:count])
        if body.done:
            self._body = None
            self._phase = _Phase.ANSWER
            self._buffer = data[count:]

    # -- the engine -------------------------------------------------------

    def _forward(self, exchange: Exchange, body: bytes | None) -> None:
        """Send the request: with the body that was judged, or with the one that is still to come."""
        engine = self._engine
        if engine is None or not engine.alive:
            self._drop_engine()
            engine = self._wiring.upstream.take()
        if engine is not None:
            self._send(engine, exchange, body, None)
            return
        self._phase = _Phase.WAIT

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
        if self._phase is _Phase.CLOSED and capture is None:
            engine.release()
            return
        head, route = exchange.head, exchange.route
        hijack = route is not None and route.stream is not Stream.PLAIN
        length = len(body) if body is not None and head.has_body else None
        wire = head.serialize(exchange.target.canonical, upgrade=hijack, content_length=length, expect=body is None)
        self._engine = engine
        engine.expect_response(capture or self, head.method)
        engine.transport.write(wire + body if body else wire)
        if capture is not None:
            return
        if body is None and head.has_body:
            self._phase = _Phase.STREAM
            self._body = RequestBody(head)
            if self._buffer:
                data, self._buffer = self._buffer, b""
                self._stream(data)
        else:
            self._phase = _Phase.ANSWER
        self._hold(_Hold.PIPELINE, on=False)
        self._pass_eof()

    # -- the engine's answer (ResponseSink) -------------------------------

    def response_started(self, head: ResponseHead) -> None:
        """Go raw where the engine hijacks the connection, and only there (docker-semantics B2)."""
        exchange = self._exchange
        if exchange is None or self._engine is None:
            return
        exchange.answered = True
        route = exchange.route
        hijacked = head.status == 101 or (head.status == 200 and head.raw_stream and head.framing is Framing.CLOSE)
        if not hijacked:
            return
        if route is None or route.stream is Stream.PLAIN or self._phase is not _Phase.ANSWER:
            if head.status == 101:
                raise EngineError("the engine switched protocols where nobody asked for it")
            return
        self._phase = _Phase.RAW
        self._engine.go_raw()
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
        exchange, self._exchange = self._exchange, None
        if not reusable:
            self._engine = None
        if self._phase is _Phase.CLOSED:
            self._drop_engine()
        elif self._phase is _Phase.STREAM:
            self._drop_engine()
            self._linger()  # the engine answered before it had read the whole body
        elif not reusable or exchange is None or exchange.head.close:
            self._close()
        else:
            self._phase = _Phase.HEAD
            self._advance()

    def response_failed(self, error: EngineError) -> None:
        """Say why there is no answer, or break off one that has begun."""
        engine, self._engine = self._engine, None
        exchange = self._exchange
        if self._phase in (_Phase.CLOSED, _Phase.LINGER):
            return
        if exchange is None or exchange.answered or self._phase is _Phase.RAW:
            self.transport.abort()
            return
        if engine is not None and exchange.head.method in ("GET", "HEAD") and not exchange.retried:
            # A kept connection that the engine closed in the same moment: RFC 9112 section 9.3.1 allows one retry.
            exchange.retried = True
            self._forward(exchange, None)
            return
        self._refuse_engine(error)

    def tunnel_eof(self) -> None:
        """The engine ended its half of the raw stream; the client's half goes on until it ends too."""
        if self._ended:
            self._close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def engine_writable(self, writable: bool) -> None:
        """Stop reading from the client while the engine is slow."""
        self._hold(_Hold.ENGINE, on=not writable)

    # -- endings ----------------------------------------------------------

    def _refuse(self, verdict: Verdict, *, close: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if self._phase is _Phase.CLOSED or self.transport.is_closing():
            return
        head_only = exchange is not None and exchange.head.method == "HEAD"
        self.transport.write(refusal.render(verdict, close=close, head_only=head_only))
        if close:
            self._linger()
        else:
            self._phase = _Phase.HEAD
            self._advance()

    def _refuse_malformed(self, error: ClientError, head: RequestHead | None = None) -> None:
        verdict = refusal.malformed(error)
        method, target = (head.method, head.target.decode("latin-1")) if head else ("", "")
        self._wiring.recorder.malformed(self.client, verdict, method, target)
        self._refuse(verdict, close=True)

    def _refuse_engine(self, error: EngineError) -> None:
        self._wiring.recorder.failed(Rule.ENGINE)
        self._refuse(refusal.engine_down(self._wiring.upstream.path, error), close=True)

    def _refuse_broken(self) -> None:
        self._wiring.recorder.failed(Rule.INTERNAL)
        self._drop_engine()
        self._refuse(refusal.broken(), close=True)

    def _linger(self) -> None:
        """Close once the client has read the refusal: until it closes, what it sends is dropped."""
        self._phase = _Phase.LINGER
        self._buffer = b""
        self._holds = _Hold.NONE
        self.transport.resume_reading()
        if self._ended:
            self._close()
            return
        self.transport.write_eof()
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.abort)

    def _close(self) -> None:
        self._phase = _Phase.CLOSED
        self._drop_engine()
        self.transport.close()

    def _drop_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None and not isinstance(engine.sink, Capture):
            engine.release()

    # -- small parts ------------------------------------------------------

    def _known_client(self) -> Client:
        assert self.client is not None  # noqa: S101  # no head is read before the client is known
        return self.client

    def _decided(self, exchange: Exchange, verdict: Verdict) -> None:
        self._wiring.recorder.decided(exchange, self._known_client(), verdict)

    def _pass_eof(self) -> None:
        """Tell the engine that the client ended its half, if nothing of the client's is still to be sent."""
        engine = self._engine
        if self._ended and engine is not None and not self._buffer and self._phase in (_Phase.ANSWER, _Phase.RAW):
            engine.transport.write_eof()

    def _hold(self, reason: _Hold, *, on: bool) -> None:
        before = self._holds
        self._holds = before | reason if on else before & ~reason
        if bool(before) == bool(self._holds) or self.transport.is_closing():
            return
        if self._holds:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except EngineError as error:
                self._refuse_engine(error)
            except ClientError as error:
                self._refuse_malformed(error, self._exchange.head if self._exchange else None)
            except Exception:  # noqa: BLE001  # whatever fails in deciding is refused
                _log.exception("a decision failed")
                self._refuse_broken()

        self._task = asyncio.get_running_loop().create_task(guarded())

    def _start_timer(self, seconds: float, what: str) -> None:
        def late() -> None:
            error = ClientError(f"{what} did not arrive within {seconds:.0f} s", status=408)
            self._refuse_malformed(error)

        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
