"""Judging an exchange: the client, the operation, the body, and what the engine made of it.

Never: bytes to the client other than refusals; ``gateway.client`` relays.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi.gojson import MAX_JSON_BODY_BYTES
from sockwarden.dockerapi.routes import match, operation_key
from sockwarden.dockerapi.target import ASTERISK, parse_target
from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway import refusal
from sockwarden.gateway.capture import Capture
from sockwarden.gateway.intake import Intake, Phase
from sockwarden.gateway.ports import Exchange, Judgement
from sockwarden.http1.body import RequestBody
from sockwarden.http1.reply import CONTINUE
from sockwarden.policy.decide import decide_operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockwarden.gateway.engineline import EngineConnection
    from sockwarden.gateway.ports import Wiring
    from sockwarden.http1.request import RequestHead
    from sockwarden.model import Verdict

COLLECT_SECONDS: Final = 60.0
"""For a body that must be read whole before it is judged; at most 4 MiB."""


class Judging(Intake):
    """Takes an exchange from its head to the decision; what is allowed is handed on to be forwarded."""

    def __init__(self, wiring: Wiring, closed: Callable[[Intake], None]) -> None:
        """Serve a client with ``wiring``; call ``closed`` when the connection is gone."""
        super().__init__(wiring, closed)
        self._body: RequestBody | None = None
        self._set_aside = 0
        self._admitted: tuple[int, Verdict] | None = None

    @abstractmethod
    def _forward(self, exchange: Exchange, body: bytes | None) -> None:
        """Send an allowed request: with the body that was judged, or with the one that is still to come."""

    @abstractmethod
    async def _connect(self) -> EngineConnection:
        """Return a connection to the engine that can take a request."""

    @abstractmethod
    def _send(self, engine: EngineConnection, exchange: Exchange, body: bytes | None, capture: Capture | None) -> None:
        """Send a request; its answer goes to ``capture`` if there is one."""

    @abstractmethod
    def response_data(self, data: bytes) -> None:
        """Relay bytes of the answer."""

    @abstractmethod
    def response_done(self, *, reusable: bool) -> None:
        """The exchange is over."""

    # -- requests ---------------------------------------------------------

    def _begin(self, head: RequestHead) -> None:
        started = time.perf_counter()
        target = ASTERISK if head.method == "OPTIONS" and head.target == b"*" else parse_target(head.target)
        route = match(head.method, "/" if target is ASTERISK else target.path)
        key = None if route is None else operation_key(route, target)
        exchange = Exchange(head, target, route, key, self._wiring.generation, started)
        self._exchange = exchange
        verdict = self._verdict_on_client(exchange)
        if verdict is None:
            self._phase = Phase.WAIT
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
        if self._phase is Phase.CLOSED:
            return
        admitted = verdict.allowed
        exchange.image = verdict.image
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
        head = exchange.head
        self._body = RequestBody(head, limit=MAX_JSON_BODY_BYTES)
        size = MAX_JSON_BODY_BYTES if head.chunked else head.content_length or 0
        if not self._wiring.quota.collect(size):
            self._refuse_crowd()
            return
        self._set_aside = size
        if exchange.head.expect_continue:
            self.transport.write(CONTINUE)
        self._phase = Phase.COLLECT
        self._expect_within(COLLECT_SECONDS, "the request body")
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
        if not body.done:
            if self._ended:
                self._close()  # the rest will never come
        else:
            self.drop_deadline()
            self._phase = Phase.WAIT
            self._body = None
            self._spawn(self._inspect_counted(exchange, body.collected))

    async def _inspect_counted(self, exchange: Exchange, body: bytes) -> None:
        try:
            await self._inspect(exchange, body)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        size, self._set_aside = self._set_aside, 0
        self._wiring.quota.release(size)

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
        """Judge the engine's answer before the client may read it. Goes on if the client leaves after it was sent."""
        capture = Capture()
        engine = await self._connect()
        if self._unheard():
            engine.release()
            self._close()
            return
        self._send(engine, exchange, body, capture)
        try:
            answer = await capture.whole()
            verdict = await self._judge_answer(exchange, answer)
        finally:
            if self._gone():
                engine.release()
        if not verdict.allowed:
            self._decided(exchange, verdict)
            if exchange.generation.enforcing:
                self._refuse(verdict, close=exchange.head.close)
                return
        self.response_data(answer)
        self.response_done(reusable=engine.alive)

    async def _judge_answer(self, exchange: Exchange, answer: bytes) -> Verdict:
        try:
            return await self._wiring.inspection.after(exchange, answer)
        except (ClientError, EngineError) as error:
            if exchange.generation.enforcing:
                raise
            if isinstance(error, ClientError):
                return refusal.malformed(error)
            return refusal.engine_down(self._wiring.upstream.path, error)

    # -- small parts ------------------------------------------------------

    def _gone(self) -> bool:
        return self._phase is Phase.CLOSED

    def _unheard(self) -> bool:
        """Whether nobody is left who could read an answer."""
        return self._gone() or (self._ended and self.peer_has_closed())
