"""The image list against a real registry process, and against servers that a real registry would never be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.real_registry import CONFIG_TYPES, RealRegistry

from sockwarden.dockerapi.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from sockwarden.dockerapi.reference import parse_entry
from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.holdings import Holdings
from sockwarden.images.imagelist import ImageList
from sockwarden.images.registry import NotInRegistryError, RegistryClient
from sockwarden.images.resolver import Resolver
from sockwarden.model import LocalImage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

EVIL = "sha256:" + "e" * 64


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """One registry for every test that does not stop it; each test uses repositories of its own."""
    yield from RealRegistry.running(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RealRegistry]:
    """A registry that the test may stop."""
    yield from RealRegistry.running(tmp_path)


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def with_list(entries: list[str], scenario: Callable[[ImageList, Clock], Awaitable[Any]], **settings: Any) -> Any:
    """Run ``scenario(image_list, clock)`` over the real network stack."""

    async def whole() -> Any:
        clock = Clock()
        resolver = Resolver(RegistryClient(RegistrySettings(**settings), clock=clock), clock=clock)
        holdings = Holdings(resolver)
        image_list = ImageList([parse_entry(entry) for entry in entries], resolver, holdings)
        try:
            return await scenario(image_list, clock)
        finally:
            await image_list.close()
            await holdings.close()
            await resolver.close()

    return asyncio.run(whole())


def judge(entries: list[str], *images: LocalImage, **settings: Any) -> list[bool]:
    async def scenario(image_list: ImageList, _: Clock) -> list[bool]:
        return [(await image_list.judge(image)).allowed for image in images]

    answers: list[bool] = with_list(entries, scenario, **settings)
    return answers


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_tag_allows_the_manifest_and_the_config_of_its_image(shared, media_type):
    digest, config = shared.image("single", "1", media_type, media_type)
    images = (LocalImage(digest), LocalImage(config), LocalImage(EVIL))
    assert judge([f"{shared.host}/single:1"], *images) == [True, True, False]


@pytest.mark.parametrize(("list_type", "media_type"), [(OCI_INDEX, OCI_MANIFEST), (DOCKER_LIST, DOCKER_MANIFEST)])
def test_a_tag_of_an_index_allows_all_its_platforms(shared, list_type, media_type):
    index, below = shared.index("multi", "1", list_type, media_type, "amd64", "arm64")
    assert len(set(below)) == 4
    assert judge([f"{shared.host}/multi:1"], *map(LocalImage, (index, *below))) == [True] * 5


def test_a_digest_entry_allows_one_platform_only(shared):
    index, below = shared.index("pinned", "1", OCI_INDEX, OCI_MANIFEST, "amd64", "arm64")
    entries = [f"{shared.host}/pinned@{below[0]}"]
    assert judge(entries, *map(LocalImage, (*below, index))) == [True, True, False, False, False]


def test_a_digest_of_another_repository_allows_nothing(shared):
    digest, config = shared.image("source", "1", "source")
    assert judge([f"{shared.host}/elsewhere@{digest}"], LocalImage(config)) == [False]


def test_a_retagged_image_is_refused(shared):
    digest, _ = shared.image("good", "1", "good")
    evil_digest, evil = shared.image("evil", "1", "evil")
    name = f"{shared.host}/good"
    forged = LocalImage(evil, (f"{name}:1",), (f"{shared.host}/evil@{evil_digest}", f"{name}@{digest}"))
    assert judge([f"{name}:1"], forged) == [False]
    assert judge([f"{name}:*"], forged) == [False]


def test_any_tag_allows_every_image_of_the_repository_and_no_other(shared):
    digest, config = shared.image("any", "1", "any-1")
    _, older = shared.image("any", "2", "any-2")
    other_digest, other = shared.image("any-other", "1", "any-other")
    name = f"{shared.host}/any"
    images = (
        LocalImage(config, (), (f"{name}@{digest}",)),
        LocalImage(older, (f"{name}:2",)),
        LocalImage(other, (), (f"{shared.host}/any-other@{other_digest}",)),
        LocalImage(other, (f"{name}:1", f"{name}:none"), (f"{name}@{other_digest}",)),
    )
    assert judge([f"{name}:*"], *images) == [True, True, False, False]


def test_a_tag_that_moves_takes_the_permission_along(shared):
    _, old = shared.image("moving", "1", "old")
    name = f"{shared.host}/moving:1"

    async def scenario(image_list: ImageList, clock: Clock) -> list[bool]:
        before = (await image_list.judge(LocalImage(old, (name,)))).allowed
        _, new = shared.image("moving", "1", "new")
        clock.now += 61
        after = [(await image_list.judge(LocalImage(image, (name,)))).allowed for image in (new, old)]
        return [before, *after]

    assert with_list([name], scenario) == [True, True, False]


def test_the_last_good_answer_serves_while_the_registry_is_stopped(own):
    _, config = own.image("app", "1", "app")

    async def scenario(image_list: ImageList, clock: Clock) -> tuple[bool, bool, str]:
        await image_list.refresh_all()
        own.stop()
        clock.now += 7200
        await image_list.refresh_all()
        status = image_list.status()[0]
        return (await image_list.judge(LocalImage(config))).allowed, status.stale, status.last_error

    allowed, stale, error = with_list([f"{own.host}/app:1"], scenario)
    assert (allowed, stale) == (True, True)
    assert error == f"{own.host} cannot be reached: Connection refused"


def test_a_registry_that_comes_back_is_believed_again(own):
    own.image("app", "1", "old")

    async def scenario(image_list: ImageList, clock: Clock) -> bool:
        own.stop()
        name = f"{own.host}/app:1"
        first = await image_list.judge(LocalImage(EVIL, (name,)))
        assert f"{name} is not resolved yet" in first.reason
        own.start()
        _, new = own.image("app", "1", "new")
        clock.now += 16
        return (await image_list.judge(LocalImage(new, (name,)))).allowed

    assert with_list([f"{own.host}/app:1"], scenario)


def test_a_mirror_answers_for_docker_hub(shared):
    _, config = shared.image("library/docker", "cli", "docker")
    assert judge(["docker:cli"], LocalImage(config), mirrors={"docker.io": f"http://{shared.host}"}) == [True]


def test_what_a_real_registry_does_not_have_is_known_not_to_be_there(shared):
    async def ask() -> None:
        client = RegistryClient(RegistrySettings())
        try:
            with pytest.raises(NotInRegistryError):
                await client.head(Repository(shared.host, "nothing"), "1")
        finally:
            await client.close()

    asyncio.run(ask())


# ---- servers that answer what they like


@contextlib.asynccontextmanager
async def serving(answer: Callable[[str, dict[str, str]], bytes]) -> AsyncIterator[str]:
    """Serve ``answer(request line, headers)`` on a free loopback port, one request per connection."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        writer.write(answer(head[0], headers))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    fields = {"content-length": str(len(body)), "connection": "close"} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def ask_hostile(answer: Callable[[str, dict[str, str]], bytes], question: Callable[..., Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        async with serving(answer) as host:
            client = RegistryClient(RegistrySettings(request_seconds=5))
            try:
                return await question(client, Repository(host, "app"))
            finally:
                await client.close()

    return asyncio.run(whole())


IMAGE = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": CONFIG_TYPES[DOCKER_MANIFEST], "digest": EVIL, "size": 1},
        "layers": [],
    }
).encode()


def test_a_body_that_does_not_hash_to_the_digest_is_refused():
    wanted = "sha256:" + "0" * 64

    async def question(client: RegistryClient, repository: Repository) -> None:
        with pytest.raises(RegistryError, match="bytes that hash to"):
            await client.manifest(repository, wanted)

    ask_hostile(lambda *_: http("200 OK", IMAGE, docker_content_digest=wanted), question)


def test_a_body_without_an_end_is_cut_off():
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (5 * 1024 * 1024)

    async def question(client: RegistryClient, repository: Repository) -> None:
        with pytest.raises(RegistryError, match="more than 4194304 bytes"):
            await client.manifest(repository, "1")

    ask_hostile(lambda *_: endless, question)


@pytest.mark.parametrize(
    "garbage", [b"", b"\x16\x03\x01", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", b"x" * 999]
)
def test_what_is_not_http_is_a_registry_error(garbage):
    async def question(client: RegistryClient, repository: Repository) -> None:
        with pytest.raises(RegistryError):
            await client.manifest(repository, "1")

    ask_hostile(lambda *_: garbage, question)


def test_an_anonymous_token_opens_the_repository():
    seen = []

    def answer(line: str, headers: dict[str, str]) -> bytes:
        seen.append(line.split(" ")[1])
        if line.startswith("GET /token"):
            return http("200 OK", b'{"token":"abc.def","expires_in":300}', content_type="application/json")
        if headers.get("authorization") != "Bearer abc.def":
            realm = f'Bearer realm="http://{headers["host"]}/token",service="reg",scope="repository:app:pull"'
            return http("401 Unauthorized", www_authenticate=realm)
        return http("200 OK", IMAGE, content_type=DOCKER_MANIFEST)

    async def question(client: RegistryClient, repository: Repository) -> str | None:
        await client.manifest(repository, "1")
        return (await client.manifest(repository, "2")).config

    assert ask_hostile(answer, question) == EVIL
    manifests = [target for target in seen if target.startswith("/v2")]
    assert seen[1] == "/token?scope=repository%3Aapp%3Apull&service=reg"
    assert manifests == ["/v2/app/manifests/1", "/v2/app/manifests/1", "/v2/app/manifests/2"]


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_server_that_asks_for_a_wait_is_left_alone_and_asked_again_after_it(status):
    seen = []

    def answer(line: str, _: dict[str, str]) -> bytes:
        seen.append(line.split(" ", maxsplit=1)[0])
        if len(seen) == 1:
            return http(status, retry_after="30")
        return http("200 OK", IMAGE, content_type=DOCKER_MANIFEST, ratelimit_limit="100;w=21600")

    async def whole() -> list[int]:
        clock = Clock()
        asked = []
        async with serving(answer) as host:
            client = RegistryClient(RegistrySettings(), clock=clock)
            repository = Repository(host, "app")
            for now in (1000, 1001, 1029):
                clock.now = now
                with pytest.raises(RegistryError, match="left alone for 30 seconds"):
                    await client.manifest(repository, "1")
                asked.append(len(seen))
            clock.now = 1034
            assert (await client.manifest(repository, "1")).config == EVIL
            await client.close()
        return asked

    assert asyncio.run(whole()) == [1, 1, 1]


def test_a_server_without_any_media_type_is_read_by_shape():
    async def question(client: RegistryClient, repository: Repository) -> str | None:
        return (await client.manifest(repository, "1")).config

    plain = IMAGE.replace(b'"mediaType": "' + DOCKER_MANIFEST.encode() + b'", ', b"")
    assert plain != IMAGE
    assert ask_hostile(lambda *_: http("200 OK", plain, content_type="application/octet-stream"), question) == EVIL


def test_a_server_that_names_the_manifest_by_sha512_is_verified_by_it():
    right = "sha512:" + hashlib.sha512(IMAGE).hexdigest()

    async def question(client: RegistryClient, repository: Repository) -> str:
        return await client.head(repository, "1")

    digest = "sha256:" + hashlib.sha256(IMAGE).hexdigest()

    def answer(line: str, _: dict[str, str]) -> bytes:
        body = b"" if line.startswith("HEAD") else IMAGE
        return http("200 OK", body, content_type=DOCKER_MANIFEST, docker_content_digest=right)

    assert ask_hostile(answer, question) == digest


def test_a_manifest_of_schema_1_is_refused_with_what_to_do():
    schema1 = b'{"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": []}'

    async def question(client: RegistryClient, repository: Repository) -> str:
        with pytest.raises(RegistryError, match="schema 1") as caught:
            await client.manifest(repository, "1")
        return caught.value.remedy

    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    assert "push it again" in ask_hostile(lambda *_: http("200 OK", schema1, content_type=kind), question)
