"""What a client's connection needs from the rest of the agent, as interfaces.

Never: an implementation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sockwarden.gateway.quota import Quota

if TYPE_CHECKING:
    import socket

    from sockwarden.dockerapi.routes import Route
    from sockwarden.dockerapi.target import Target
    from sockwarden.gateway.upstream import Upstream
    from sockwarden.http1.request import RequestHead
    from sockwarden.identity.peer import PeerSnapshot
    from sockwarden.model import Client, ImageAnswer, Rule, Verdict
    from sockwarden.policy.decide import Generation


@dataclass(slots=True)
class Exchange:
    """One request and what has been found out about it."""

    head: RequestHead
    target: Target
    route: Route | None
    key: str | None
    generation: Generation
    started: float  # time.perf_counter() when the head was complete, seconds
    answered: bool = False
    retried: bool = False
    image: ImageAnswer | None = None  # by what the client's own image may use the socket


class Admission(Protocol):
    """Who may use the socket: identity and the image list."""

    def identify(self, sock: socket.socket) -> PeerSnapshot:
        """Read who is at the other end of an accepted socket."""

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        """Return the client if that needs no waiting."""

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        """Return the client, asking the engine."""

    def judge_now(self, generation: Generation, client: Client) -> Verdict | None:
        """Return the verdict on the client if that needs no waiting."""

    async def judge(self, generation: Generation, client: Client) -> Verdict:
        """Return the verdict on the client, asking the engine and registries."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a request's body; ``again``: judge what the engine makes of it before the client reads it."""

    verdict: Verdict
    again: bool


class Inspection(Protocol):
    """Judges what a request's body asks for."""

    def wants(self, key: str | None) -> bool:
        """Whether requests of this operation must be inspected."""

    async def before(self, exchange: Exchange, body: bytes) -> Judgement:
        """Judge a request; raises ClientError where its body can be read in two ways."""

    async def after(self, exchange: Exchange, answer: bytes) -> Verdict:
        """Judge what the engine made of an allowed request, and undo it when it is refused."""


class Recorder(Protocol):
    """Metrics and the audit trail. Nothing here raises."""

    def opened(self, client: Client) -> None:
        """A connection's client is known."""

    def decided(self, exchange: Exchange, client: Client, verdict: Verdict) -> None:
        """A request was judged."""

    def malformed(self, client: Client | None, verdict: Verdict, method: str, target: str) -> None:
        """Bytes were refused before they were a request."""

    def failed(self, rule: Rule) -> None:
        """A request could not be carried out for a reason that is not the client's."""


@dataclass(slots=True)
class Wiring:
    """Everything that a client's connection uses; the composition root fills it."""

    upstream: Upstream
    admission: Admission
    inspection: Inspection
    recorder: Recorder
    generation: Generation
    quota: Quota = field(default_factory=Quota)
