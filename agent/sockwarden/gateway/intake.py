"""The client's side of a connection: who it is, the heads it sends, and how it ends.

The phases are the states of one exchange; a new head is read only when the exchange before it is over, so
pipelined requests are judged one by one and what the engine has not asked for never reaches it.

Never: a decision, nor a byte to the engine; ``gateway.judging`` and ``gateway.client`` have them.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import logging
import termios
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway import refusal
from sockwarden.gateway.duplex import Duplex, Hold
from sockwarden.http1.request import RequestHead, parse_request
from sockwarden.model import Client, Rule, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sockwarden.gateway.ports import Exchange, Wiring

HEAD_SECONDS: Final = 30.0
"""From a head's first byte to its last; nginx gives 60 s. A person typing into socat is not a client to serve."""

LINGER_SECONDS: Final = 30.0
"""How long the rest of a refused upload is read and dropped, so that the client reads the refusal first."""

FIRST_REQUEST_SECONDS: Final = 1.0
"""How long an agent that stops waits for the first request of a client; clients connect when they have one to send."""

_log = logging.getLogger(__name__)


class Phase(enum.Enum):
    """Where an exchange stands, as far as the client's bytes are concerned."""

    WAIT = enum.auto()  # for an identity, a verdict or a connection to the engine
    HEAD = enum.auto()
    COLLECT = enum.auto()
    STREAM = enum.auto()  # the request's body passes
    ANSWER = enum.auto()
    RAW = enum.auto()
    LINGER = enum.auto()
    CLOSED = enum.auto()


class Intake(Duplex):
    """Reads heads and refuses; what becomes of a head is the subclass's."""

    def __init__(self, wiring: Wiring, closed: Callable[[Intake], None]) -> None:
        """Serve a client with ``wiring``; call ``closed`` when the connection is gone."""
        super().__init__()
        self.client: Client | None = None
        self._wiring = wiring
        self._closed = closed
        self._phase = Phase.WAIT
        self._buffer = b""
        self._ended = False
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._advancing = False
        self._clogged = False  # the client does not read its answers
        self._served = False  # it has sent a request
        self._since = 0.0  # when it connected, by the loop's clock

    @abstractmethod
    def _begin(self, head: RequestHead) -> None:
        """Begin an exchange; raises ClientError where its request can be read in two ways."""

    @abstractmethod
    def _drop_engine(self) -> None:
        """Let go of the engine's connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who it is."""
        super().connection_made(transport)
        self._since = asyncio.get_running_loop().time()
        if not self._wiring.quota.connect():
            self._refuse_crowd()
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

    def close_if_idle(self) -> None:
        """Close between two requests; for an agent that stops.

        Not before the first request of a client that has just come: it is about to send it, or has already.
        """
        idle = self._phase is Phase.HEAD and not self._buffer and not self._unread()
        if idle and (self._served or asyncio.get_running_loop().time() - self._since > FIRST_REQUEST_SECONDS):
            self._close()

    def _unread(self) -> bool:
        """Whether bytes wait in the kernel: to close over them would reset the connection."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        waiting = fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return any(waiting)

    # -- heads ------------------------------------------------------------

    def _identified(self, client: Client) -> None:
        self.client = client
        if self._phase is Phase.CLOSED:
            return
        self._wiring.recorder.opened(client)
        if not self._wiring.quota.place(client):
            self._refuse_crowd()
            return
        self._phase = Phase.HEAD
        self._advance()

    def _advance(self) -> None:
        """Begin the exchanges whose heads have come, until one of them takes time or the client stops reading."""
        if self._advancing:
            return  # a request that was refused at once; the loop below goes on with the one behind it
        self._advancing = True
        try:
            before = None
            while self._phase is Phase.HEAD and not self._clogged and self._buffer is not before:
                before = self._buffer
                self._take_head()
        finally:
            self._advancing = False

    def _take_head(self) -> None:
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
            elif not self.has_deadline:
                self._expect_within(HEAD_SECONDS, "the request head")
            return
        self.drop_deadline()
        self._served = True
        self._buffer = self._buffer[head.size :]
        self.hold(Hold.PIPELINE, on=False)
        try:
            self._begin(head)
        except ClientError as error:
            self._refuse_malformed(error, head)
        except Exception:  # noqa: BLE001  # whatever fails in deciding is refused
            _log.exception("a decision failed")
            self._refuse_broken()

    # -- endings ----------------------------------------------------------

    def _refuse(self, verdict: Verdict, *, close: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if self._phase is Phase.CLOSED or self.transport.is_closing():
            self._drop_engine()
            return
        if exchange is not None and exchange.answered:
            self.transport.abort()  # an answer has begun; nothing that is written now could be read as another
            return
        head_only = exchange is not None and exchange.head.method == "HEAD"
        self.transport.write(refusal.render(verdict, close=close, head_only=head_only))
        if close:
            self._linger()
        else:
            self._phase = Phase.HEAD
            self._advance()

    def _refuse_malformed(self, error: ClientError, head: RequestHead | None = None) -> None:
        verdict = refusal.malformed(error)
        method, target = (head.method, head.target.decode("latin-1")) if head else ("", "")
        self._wiring.recorder.malformed(self.client, verdict, method, target)
        self._refuse(verdict, close=True)

    def _refuse_engine(self, error: EngineError) -> None:
        self._wiring.recorder.failed(Rule.ENGINE)
        self._refuse(refusal.engine_down(self._wiring.upstream.path, error), close=True)

    def _refuse_crowd(self) -> None:
        self._wiring.recorder.failed(Rule.LIMIT)
        self._refuse(refusal.too_many(), close=True)

    def _refuse_broken(self) -> None:
        self._wiring.recorder.failed(Rule.INTERNAL)
        self._drop_engine()
        self._refuse(refusal.broken(), close=True)

    def _linger(self) -> None:
        """Close once the client has read the refusal: until it closes, what it sends is dropped."""
        self._phase = Phase.LINGER
        self._buffer = b""
        self.hold(Hold.PIPELINE | Hold.ENGINE, on=False)
        if self._ended:
            self._close()
            return
        self.transport.write_eof()
        self.set_deadline(LINGER_SECONDS, self.transport.abort)

    def _close(self) -> None:
        self._phase = Phase.CLOSED
        self._drop_engine()
        self.transport.close()

    # -- small parts ------------------------------------------------------

    def _known_client(self) -> Client:
        assert self.client is not None  # noqa: S101  # no head is read before the client is known
        return self.client

    def _decided(self, exchange: Exchange, verdict: Verdict) -> None:
        self._wiring.recorder.decided(exchange, self._known_client(), verdict)

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

    def _expect_within(self, seconds: float, what: str) -> None:
        def late() -> None:
            self._refuse_malformed(ClientError(f"{what} did not arrive within {seconds:.0f} s", status=408))

        self.set_deadline(seconds, late)
