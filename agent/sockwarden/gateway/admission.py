"""Who may use the socket: puts identity, the engine's word on the image and the image list together.

Never: a verdict of its own (policy.decide), nor a cache that outlives what it was true of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sockwarden.errors import EngineError
from sockwarden.identity.peer import Connectors, PeerSnapshot, identify
from sockwarden.model import Client, ContainerClient, ImageAnswer, LocalImage, Rule, UnknownClient, Verdict
from sockwarden.policy.decide import Generation, decide_client

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Resolver(Protocol):
    """Turns peers into clients; see ``identity.container.ContainerResolver``."""

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        """Return the client if that needs no waiting."""

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        """Return the client."""


class Images(Protocol):
    """The image list of the generation in force; see ``images.imagelist.ImageList``."""

    def judge_now(self, image: LocalImage) -> ImageAnswer | None:
        """Answer from memory, None where somebody must be asked."""

    async def judge(self, image: LocalImage) -> ImageAnswer:
        """Answer."""


class ImageStore(Protocol):
    """The engine's image store; see ``engine.client.EngineClient``."""

    async def inspect_image(self, ref: str, /) -> LocalImage | None:
        """Return the image that a reference means, None where there is none."""


class SocketAdmission:
    """Identifies clients and judges whether their container's image may use the socket."""

    def __init__(self, resolver: Resolver, store: ImageStore, images: Images) -> None:
        """Judge with ``images``; a reload replaces that attribute together with the generation."""
        self.images = images
        self.turned_away: Callable[[Generation, Client, Verdict], None] = _ignore
        """Called for every request of a container that may not use the socket; its connection is closed."""
        self.connectors: Connectors | None = None
        """What the kernel wrote down in connect(), where the guard's rung does."""
        self._resolver = resolver
        self._store = store

    def identify(self, sock: socket.socket) -> PeerSnapshot:
        """Read who is at the other end of an accepted socket."""
        return identify(sock, connectors=self.connectors)

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        """Return the client if that needs no waiting."""
        return self._resolver.resolve_now(snapshot)

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        """Return the client, asking the engine."""
        return await self._resolver.resolve(snapshot)

    def judge_now(self, generation: Generation, client: Client) -> Verdict | None:
        """Return the verdict on the client if that needs no waiting."""
        if not generation.enabled or not isinstance(client, ContainerClient):
            return decide_client(generation, client, None)
        # Only a "yes" can come from the id alone: for a "no" the image's names must be looked at, as hints.
        answer = self.images.judge_now(_known(client))
        return decide_client(generation, client, answer) if answer is not None and answer.allowed else None

    async def judge(self, generation: Generation, client: Client) -> Verdict:
        """Return the verdict on the client, asking the engine and registries."""
        if not generation.enabled or not isinstance(client, ContainerClient):
            return decide_client(generation, client, None)
        try:
            image = await self._store.inspect_image(client.container.image_id)
        except EngineError as error:
            reason = f"the engine cannot say what image its container runs ({error})"
            return decide_client(generation, UnknownClient(client.peer, Rule.ENGINE, reason), None)
        # An image that was removed under its container has no names left; its id still tells.
        verdict = decide_client(generation, client, await self.images.judge(image or _known(client)))
        if not verdict.allowed:
            self.turned_away(generation, client, verdict)
        return verdict


def _ignore(_generation: Generation, _client: Client, _verdict: Verdict) -> None:
    """Do nothing where nobody wants to know."""


def _known(client: ContainerClient) -> LocalImage:
    container = client.container
    return LocalImage(container.image_id, manifest_digest=container.manifest_digest)
