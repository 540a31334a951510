"""Judging what a request asks for in its body, and what the engine made of it.

Looks up what a body only names (volumes, other containers' mounts, images) and hands it to the policy. A create
is judged twice: before it is sent, and on the container that came of it, because a volume or a tag may mean
something else by then. A refused container is removed before its client learns its id. A start is sent with the full
id of the container that was judged, because a name may mean another one by then.

Never: a decision about a source (policy.mounts, policy.exposure) or an image (the image list).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sockwarden.dockerapi import texts
from sockwarden.dockerapi.bodies import read_create, read_service, read_volume
from sockwarden.dockerapi.bodies_mounts import MountKind, MountSource, mounts_of_inspect, volume_source
from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway.ports import Judgement
from sockwarden.http1.chunked import ChunkedBody
from sockwarden.http1.response import Framing, parse_response
from sockwarden.model import CONTAINER_ID, DIGEST, LocalImage, Rule, Verdict, allow, deny
from sockwarden.policy.exposure import decide_mounts, needs_image
from sockwarden.policy.mounts import Finding, GuardedSockets, judge_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockwarden.gateway.admission import Images
    from sockwarden.gateway.ports import Exchange
    from sockwarden.policy.decide import Generation
    from sockwarden.policy.paths import Paths

MAX_LOOKUPS: Final = 64
"""Volumes and containers that one request may make us ask the engine about."""

FEW_MOUNTS: Final = 16
"""More are judged beside the loop: a thousand paths of 4 KiB each take a second or more."""

MAX_BODY_ON_LOOP_BYTES: Final = 64 * 1024
"""The docker CLI sends 2 KiB. A hostile body of 4 MiB takes most of a second to read."""

_View = TypeVar("_View")

_PASS: Final = Judgement(allow(Rule.DEFAULT), again=False)
_EMPTY_BODIES: Final = frozenset({b"", b"{}", b"null"})


class Engine(Protocol):
    """What is asked of the engine; see ``engine.client.EngineClient``."""

    async def inspect_container(self, id_or_name: str, /) -> dict[str, Any] | None:
        """Return a container's description."""

    async def inspect_volume(self, name: str, /) -> dict[str, Any] | None:
        """Return a volume's description."""

    async def inspect_image(self, ref: str, /) -> LocalImage | None:
        """Return the image that a reference means."""

    async def remove_container(self, container_id: str, /, *, force: bool = False) -> bool:
        """Remove a container."""


class BodyInspection:
    """Inspects requests that can put a guarded socket into a container."""

    def __init__(self, engine: Engine, images: Images, guarded: Callable[[], GuardedSockets], paths: Paths) -> None:
        """Ask ``guarded`` for the sockets at each request: their inodes change with every takeover."""
        self.images = images
        self._engine = engine
        self._guarded = guarded
        self._paths = paths
        self._judges = {
            "POST /containers/create": self._create,
            "POST /containers/{name}/start": self._start,
            "POST /containers/{name}/restart": self._start,
            "POST /containers/{name}/unpause": self._start,
            "POST /volumes/create": self._volume,
            "POST /services/create": self._service,
            "POST /services/{id}/update": self._service,
        }

    def wants(self, key: str | None) -> bool:
        """Whether requests of this operation must be inspected."""
        return key in self._judges

    async def before(self, exchange: Exchange, body: bytes) -> Judgement:
        """Judge a request by its body.

        Raises:
            ClientError: the body can be read in two ways.
            EngineError: the engine cannot be asked what the body names.
        """
        return await self._judges[exchange.key or ""](exchange, body)

    async def after(self, exchange: Exchange, answer: bytes) -> Verdict:
        """Judge the container that the engine made, and remove it when it is refused.

        Raises:
            EngineError: the engine cannot be asked about it, or it could not be removed.
            ClientError: it has more volumes than are looked up.
        """
        container_id = _created_id(answer)
        if container_id is None:
            return _PASS.verdict
        try:
            made = await self._engine.inspect_container(container_id)
            # One that was removed already can do nothing more, and its id is never given again.
            verdict = _PASS.verdict if made is None else await self._judge_container(exchange.generation, made)
        except Exception:
            # Whatever failed: a container that nobody judged stays only where nothing is refused.
            if exchange.generation.enforcing:
                await self._engine.remove_container(container_id, force=True)
            raise
        if not verdict.allowed and exchange.generation.enforcing:
            await self._engine.remove_container(container_id, force=True)
        return verdict

    # -- operations -------------------------------------------------------

    async def _create(self, exchange: Exchange, body: bytes) -> Judgement:
        wanted = await _read(read_create, body)
        return await self._judge_wanted(exchange, wanted.image, wanted.mounts, wanted.volumes_from, again=True)

    async def _start(self, exchange: Exchange, body: bytes) -> Judgement:
        if body.strip() not in _EMPTY_BODIES:
            # Engines before API 1.24 take a HostConfig here (docker-semantics B4), which nobody has judged.
            raise ClientError("the request body of a start must be empty", remedy="send the HostConfig with the create")
        route, target = exchange.route, exchange.target
        if route is None:
            raise AssertionError("only an operation that has a route is inspected")
        name = route.name_of(target.path)
        container = await self._engine.inspect_container(name)
        if container is None:
            # Not left to the engine: until it looks, another container may have got this name.
            return Judgement(deny(Rule.UNKNOWN_ROUTE, texts.no_such_container(name), "", 404), again=False)
        container_id = container.get("Id")
        if not isinstance(container_id, str) or not CONTAINER_ID.fullmatch(container_id):
            raise EngineError("the engine's description of a container has no full id")
        # A name may pass to another container at any time; what starts is what is judged.
        exchange.target = target.sent_to(route.with_name(target.path, container_id))
        return Judgement(await self._judge_container(exchange.generation, container), again=False)

    async def _volume(self, exchange: Exchange, body: bytes) -> Judgement:  # noqa: ARG002  # one signature for all
        # What it shows is judged when a container mounts it; here it must only be readable.
        await _read(read_volume, body)
        return _PASS

    async def _service(self, exchange: Exchange, body: bytes) -> Judgement:
        wanted = await _read(read_service, body)
        return await self._judge_wanted(exchange, wanted.image, wanted.mounts, (), again=False)

    # -- parts ------------------------------------------------------------

    async def _judge_wanted(
        self,
        exchange: Exchange,
        image: str,
        mounts: tuple[MountSource, ...],
        volumes_from: tuple[str, ...],
        *,
        again: bool,
    ) -> Judgement:
        """Judge a container that is asked for; without any mount there is nothing to judge."""
        if not mounts and not volumes_from:
            return _PASS
        sources = await self._look_up(mounts, volumes_from)
        return Judgement(await self._judge(exchange.generation, sources, image, image), again=again)

    async def _judge_container(self, generation: Generation, made: Mapping[str, Any]) -> Verdict:
        """Judge a container by the engine's description of it."""
        sources = await self._look_up(mounts_of_inspect(made), ())
        image_id, config = made.get("Image"), made.get("Config")
        if not isinstance(image_id, str) or not DIGEST.fullmatch(image_id):
            raise EngineError("the engine's description of a container has no image id")
        text = config.get("Image") if isinstance(config, dict) else None
        return await self._judge(generation, sources, image_id, text if isinstance(text, str) and text else image_id)

    async def _judge(
        self, generation: Generation, sources: Iterable[MountSource], image_ref: str, image_text: str
    ) -> Verdict:
        guarded = self._guarded()
        findings = await self._judge_mounts(tuple(sources), guarded)
        answer = None
        if needs_image(findings):
            image = await self._engine.inspect_image(image_ref)
            if image is None and DIGEST.fullmatch(image_ref):
                image = LocalImage(image_ref)  # removed under its container; the id still tells
            if image is not None:
                answer = await self.images.judge(image)
        return decide_mounts(generation, findings, image_text, answer)

    async def _judge_mounts(self, sources: tuple[MountSource, ...], guarded: GuardedSockets) -> list[Finding]:
        def judge() -> list[Finding]:
            return [judge_mount(source, guarded, self._paths) for source in sources]

        return judge() if len(sources) <= FEW_MOUNTS else await asyncio.to_thread(judge)

    async def _look_up(self, mounts: Iterable[MountSource], volumes_from: Iterable[str]) -> list[MountSource]:
        """Return the sources with those of other containers, and named volumes by what they really are."""
        sources = list(mounts)
        names = list(volumes_from)
        lookups = len(names)
        for name in names[:MAX_LOOKUPS]:
            other = await self._engine.inspect_container(name)
            if other is not None:
                sources += mounts_of_inspect(other)
        found = []
        for source in dict.fromkeys(sources):
            found.append(source)
            if source.kind is MountKind.VOLUME and source.source:
                lookups += 1
                volume = await self._engine.inspect_volume(source.source) if lookups <= MAX_LOOKUPS else None
                real = volume_source(volume) if volume is not None else None
                if real is not None:
                    found.append(real)
        if lookups > MAX_LOOKUPS:
            raise ClientError(f"the request names more than {MAX_LOOKUPS} volumes and containers")
        return found


async def _read(read: Callable[[bytes], _View], body: bytes) -> _View:
    """Read a body; a large one beside the loop, where other clients wait."""
    if len(body) <= MAX_BODY_ON_LOOP_BYTES:
        return read(body)
    return await asyncio.to_thread(read, body)


def _created_id(answer: bytes) -> str | None:
    """Return the id of a container that was created, None when the engine refused."""
    head = parse_response(answer, "POST")
    if head is None or head.status != 201:
        return None
    body = answer[head.size :]
    if head.framing is Framing.CHUNKED:
        collected = bytearray()
        ChunkedBody(collected).feed(body)
        body = bytes(collected)
    try:
        made = json.loads(body)["Id"]
    except (ValueError, LookupError, TypeError) as error:
        raise EngineError("the engine's answer to a create has no id") from error
    if not isinstance(made, str):
        raise EngineError("the engine's answer to a create has no id")
    return made
