"""What a body names is looked up, and what came of a create is judged again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.gateway.stage import generation
from tests.unit.policy.fake_paths import FakePaths

from sockwarden.dockerapi.routes import match, operation_key
from sockwarden.dockerapi.target import parse_target
from sockwarden.errors import ClientError, EngineError
from sockwarden.gateway.inspection import MAX_LOOKUPS, BodyInspection
from sockwarden.gateway.ports import Exchange, Judgement
from sockwarden.http1.request import RequestHead
from sockwarden.model import ImageAnswer, LocalImage, Mode, Rule
from sockwarden.policy.mounts import GuardedSockets

LISTED, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MADE = "c" * 64
PATHS = FakePaths(files=("/run/docker.sock", "/run/sockwarden/engine.sock", "/srv/data/x"))


@dataclass
class FakeEngine:
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: dict[str, LocalImage] = field(
        default_factory=lambda: {"good": LocalImage(LISTED), "bad": LocalImage(OTHER)}
    )
    removed: list[str] = field(default_factory=list)
    broken: bool = False

    async def inspect_container(self, id_or_name: str, /) -> dict[str, Any] | None:
        if self.broken:
            raise EngineError("gone")
        return self.containers.get(id_or_name)

    async def inspect_volume(self, name: str, /) -> dict[str, Any] | None:
        return self.volumes.get(name)

    async def inspect_image(self, ref: str, /) -> LocalImage | None:
        return self.images.get(ref)

    async def remove_container(self, container_id: str, /, *, force: bool = False) -> bool:
        self.removed.append(container_id)
        return force


class FakeImages:
    def judge_now(self, image: LocalImage) -> ImageAnswer | None:
        return None

    async def judge(self, image: LocalImage) -> ImageAnswer:
        return ImageAnswer(allowed=image.id == LISTED)


def exchange(method: str, path: str, mode: Mode = Mode.ENFORCE) -> Exchange:
    target = parse_target(path.encode())
    route = match(method, target.path)
    assert route is not None
    head = RequestHead(method, path.encode(), [], b"d")
    return Exchange(head, target, route, operation_key(route, target), generation(mode), 0.0)


def inspection(engine: FakeEngine) -> BodyInspection:
    def guarded() -> GuardedSockets:
        return GuardedSockets.at(("/run/docker.sock",), ("/run/sockwarden/engine.sock",), PATHS)

    return BodyInspection(engine, FakeImages(), guarded, PATHS)


def before(engine: FakeEngine, asked: Exchange, body: Any) -> Judgement:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return asyncio.run(inspection(engine).before(asked, text))


def create(engine: FakeEngine, image: str, **host: Any) -> Judgement:
    return before(engine, exchange("POST", "/containers/create"), {"Image": image, "HostConfig": host})


def container(image: str, *binds: str, mounts: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    return {
        "Id": MADE,
        "Image": image,
        "Config": {"Image": "x"},
        "HostConfig": {"Binds": binds and list(binds)},
        "Mounts": list(mounts),
    }


def answer(status: bytes = b"201 Created", body: bytes = b'{"Id":"%s"}' % MADE.encode()) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def test_a_create_without_mounts_passes_once() -> None:
    assert create(FakeEngine(), "bad") == Judgement(create(FakeEngine(), "bad").verdict, again=False)
    assert create(FakeEngine(), "bad").verdict.allowed


@pytest.mark.parametrize(("image", "allowed"), [("good", True), ("bad", False), ("absent", True)])
def test_the_socket_is_for_listed_images(image: str, allowed: bool) -> None:
    judgement = create(FakeEngine(), image, Binds=["/run/docker.sock:/s"])
    assert (judgement.verdict.allowed, judgement.again) == (allowed, True)


def test_a_named_volume_is_judged_by_what_it_really_shows() -> None:
    options = {"type": "none", "o": "bind", "device": "/run/docker.sock"}
    engine = FakeEngine(volumes={"v": {"Name": "v", "Driver": "local", "Options": options}})
    assert create(engine, "bad", Binds=["v:/x"]).verdict.rule is Rule.IMAGE_LIST
    assert create(FakeEngine(), "bad", Binds=["v:/x"]).verdict.allowed


def test_the_mounts_of_another_container_are_judged_as_its_own() -> None:
    engine = FakeEngine(containers={"other": container(LISTED, "/run/docker.sock:/s")})
    assert not create(engine, "bad", VolumesFrom=["other"]).verdict.allowed


def test_the_engines_own_socket_is_for_nobody() -> None:
    judgement = create(FakeEngine(), "good", Binds=["/run/sockwarden/engine.sock:/s"])
    assert judgement.verdict.rule is Rule.ENGINE_MOUNT


def test_too_many_names_are_refused() -> None:
    with pytest.raises(ClientError, match="more than 64"):
        create(FakeEngine(), "good", Binds=[f"v{number}:/x{number}" for number in range(MAX_LOOKUPS + 1)])


def test_a_start_with_a_body_is_refused() -> None:
    with pytest.raises(ClientError, match="must be empty"):
        before(FakeEngine(), exchange("POST", "/containers/a/start"), b'{"Binds": []}')


@pytest.mark.parametrize("verb", ["start", "restart", "unpause"])
@pytest.mark.parametrize("image", [LISTED, OTHER])
def test_a_container_is_judged_whenever_it_comes_to_run(verb: str, image: str) -> None:
    engine = FakeEngine(containers={"a": container(image, "/run/docker.sock:/s")})
    judgement = before(engine, exchange("POST", f"/containers/a/{verb}"), b"")
    assert judgement.verdict.allowed is (image == LISTED)  # its image is gone from the store, and the id still tells


@pytest.mark.parametrize("path", ["/containers/a/start", "/v1.41/containers/a/start?detachKeys=x"])
def test_the_engine_gets_the_id_of_the_container_that_was_judged(path: str) -> None:
    asked = exchange("POST", path)
    before(FakeEngine(containers={"a": container(LISTED)}), asked, b"")
    assert asked.target.canonical == path.replace("/a/", f"/{MADE}/").encode()
    assert asked.target.raw == path


def test_a_container_that_is_not_there_cannot_come_in_between() -> None:
    verdict = before(FakeEngine(), exchange("POST", "/containers/a/start"), b"{}").verdict
    assert (verdict.allowed, verdict.status, verdict.message) == (False, 404, "No such container: a")


@pytest.mark.parametrize("made", [{}, {"Id": 1}, {"Id": "a"}])
def test_a_container_without_an_id_is_not_started(made: dict[str, Any]) -> None:
    engine = FakeEngine(containers={"a": made})
    with pytest.raises(EngineError, match="no full id"):
        before(engine, exchange("POST", "/containers/a/start"), b"")


def test_an_operation_without_a_route_is_a_fault_of_ours() -> None:
    asked = exchange("POST", "/containers/a/start")
    asked.route = None
    with pytest.raises(AssertionError, match="has a route"):
        before(FakeEngine(), asked, b"")


def test_a_container_that_was_removed_before_it_could_be_judged_can_do_nothing() -> None:
    asked = exchange("POST", "/containers/create")
    assert asyncio.run(inspection(FakeEngine()).after(asked, answer())).allowed


def test_a_volume_must_only_be_readable() -> None:
    assert before(FakeEngine(), exchange("POST", "/volumes/create"), {"Name": "v"}).verdict.allowed
    with pytest.raises(ClientError):
        before(FakeEngine(), exchange("POST", "/volumes/create"), b'{"Name": "v", "name": "w"}')


def test_a_service_is_judged_by_its_mounts() -> None:
    mount = {"Type": "bind", "Source": "/run/docker.sock", "Target": "/s"}
    body = {"TaskTemplate": {"ContainerSpec": {"Image": "bad", "Mounts": [mount]}}}
    assert not before(FakeEngine(), exchange("POST", "/services/create"), body).verdict.allowed
    del body["TaskTemplate"]["ContainerSpec"]["Mounts"]
    assert before(FakeEngine(), exchange("POST", "/services/create"), body).verdict.allowed


@pytest.mark.parametrize(("mode", "removed"), [(Mode.ENFORCE, [MADE]), (Mode.AUDIT, [])])
def test_a_container_that_came_out_otherwise_is_removed(mode: Mode, removed: list[str]) -> None:
    engine = FakeEngine(containers={MADE: container(OTHER, "/run/docker.sock:/s")})
    verdict = asyncio.run(inspection(engine).after(exchange("POST", "/containers/create", mode), answer()))
    assert not verdict.allowed
    assert engine.removed == removed


@pytest.mark.parametrize(("mode", "removed"), [(Mode.ENFORCE, [MADE]), (Mode.AUDIT, [])])
def test_a_container_that_cannot_be_judged_is_removed_where_refusals_are_carried_out(
    mode: Mode, removed: list[str]
) -> None:
    engine = FakeEngine(broken=True)
    with pytest.raises(EngineError):
        asyncio.run(inspection(engine).after(exchange("POST", "/containers/create", mode), answer()))
    assert engine.removed == removed


def test_what_the_engine_refused_is_not_judged_again() -> None:
    refused = answer(b"404 Not Found", b'{"message":"no such image"}')
    assert asyncio.run(inspection(FakeEngine()).after(exchange("POST", "/containers/create"), refused)).allowed


def test_a_chunked_answer_to_a_create_is_read() -> None:
    engine = FakeEngine(containers={MADE: container(OTHER, "/run/docker.sock:/s")})
    body = b'{"Id":"%s"}' % MADE.encode()
    chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert not asyncio.run(inspection(engine).after(exchange("POST", "/containers/create"), chunked)).allowed


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"Id": 1}'])
def test_a_create_without_an_id_is_an_error(body: bytes) -> None:
    with pytest.raises(EngineError, match="no id"):
        asyncio.run(inspection(FakeEngine()).after(exchange("POST", "/containers/create"), answer(body=body)))
