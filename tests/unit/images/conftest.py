"""A world of registries in memory behind httpx, so that rules between hosts can be shown without hosts."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from sockwarden.dockerapi.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from sockwarden.dockerapi.reference import parse_entry
from sockwarden.images.endpoints import RegistrySettings
from sockwarden.images.holdings import Holdings
from sockwarden.images.imagelist import ImageList
from sockwarden.images.registry import RegistryClient
from sockwarden.images.resolver import Resolver


def sha(text: bytes) -> str:
    return "sha256:" + hashlib.sha256(text).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bytes(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._body), 65536):
            yield self._body[at : at + 65536]


class World(httpx.AsyncBaseTransport):
    """Registries by host. ``rules`` answer before the stores do; ``seen`` is every request in order."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], tuple[str, bytes]] = {}
        self.down: set[str] = set()
        self.rules: list[Callable[[httpx.Request], httpx.Response | None]] = []
        self.seen: list[httpx.Request] = []
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()

    def put(self, host: str, path: str, tag: str, document: dict[str, Any]) -> str:
        body = json.dumps(document).encode()
        digest = sha(body)
        media_type = document.get("mediaType", OCI_MANIFEST)
        self.stored[host, path, tag] = self.stored[host, path, digest] = (media_type, body)
        return digest

    def image(self, host: str, path: str, tag: str, name: str, media_type: str = OCI_MANIFEST) -> tuple[str, str]:
        """Store a one-platform image and return (manifest digest, config digest = image id)."""
        config = sha(f"config of {name}".encode())
        kind = "application/vnd.docker.container.image.v1+json"
        layer = {"mediaType": "layer", "digest": sha(name.encode()), "size": 1}
        document = {"schemaVersion": 2, "mediaType": media_type, "layers": [layer]}
        document["config"] = {"mediaType": kind, "digest": config, "size": 1}
        return self.put(host, path, tag, document), config

    def index(self, host: str, path: str, tag: str, *names: str) -> tuple[str, list[tuple[str, str]]]:
        """Store a multi-platform image and return (index digest, [(manifest digest, config digest), ...])."""
        platforms = [self.image(host, path, f"{name}-only", name, DOCKER_MANIFEST) for name in names]
        listed = [{"mediaType": DOCKER_MANIFEST, "digest": digest, "size": 1} for digest, _ in platforms]
        return self.put(host, path, tag, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}), platforms

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Bytes(answer.content))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        if request.url.netloc.decode() in self.down:
            raise httpx.ConnectError("connection refused")
        for rule in self.rules:
            if (answer := rule(request)) is not None:
                return answer
        path, _, reference = request.url.path.removeprefix("/v2/").partition("/manifests/")
        found = self.stored.get((request.url.netloc.decode(), path, reference))
        if found is None:
            return httpx.Response(404, json={"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        headers = {"content-type": found[0], "docker-content-digest": sha(found[1])}
        return httpx.Response(200, headers=headers, content=b"" if request.method == "HEAD" else found[1])

    def asked(self) -> list[str]:
        return [f"{request.method} {request.url.host}{request.url.path}" for request in self.seen]


class Bench:
    """The parts under test on one event loop, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.world = World()
        self.clock = Clock()

    def client(self, settings: RegistrySettings | None = None, credentials: Any = None) -> RegistryClient:
        return RegistryClient(settings or RegistrySettings(), credentials, transport=self.world, clock=self.clock)

    def run(self, scenario: Callable[[RegistryClient], Awaitable[Any]], *args: Any) -> Any:
        """Run ``scenario(client)`` to its end and close everything."""

        async def whole() -> Any:
            client = self.client(*args)
            try:
                return await scenario(client)
            finally:
                await client.close()

        return asyncio.run(whole())

    def judge(self, entries: list[str], scenario: Callable[[ImageList], Awaitable[Any]], **options: Any) -> Any:
        """Run ``scenario(image_list)`` with an image list of ``entries``."""

        async def whole() -> Any:
            resolver = Resolver(self.client(), clock=self.clock)
            holdings = Holdings(resolver)
            image_list = ImageList([parse_entry(entry) for entry in entries], resolver, holdings, **options)
            try:
                return await scenario(image_list)
            finally:
                await image_list.close()
                await holdings.close()
                await resolver.close()

        return asyncio.run(whole())


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def world(bench: Bench) -> World:
    return bench.world
