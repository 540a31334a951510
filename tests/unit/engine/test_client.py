"""Questions to the engine, answered by a small server on a real unix socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.engine import client as module
from sockwarden.engine.client import EngineClient, EnginePing
from sockwarden.errors import ClientError, EngineError
from sockwarden.model import LocalImage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ID = f"sha256:{'1' * 64}"
DIGEST = f"sha256:{'2' * 64}"
LAYER = f"sha256:{'3' * 64}"


def answer(status: int, body: bytes, *headers: str, close: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def json_answer(value: Any, status: int = 200) -> bytes:
    return answer(status, json.dumps(value).encode(), "Content-Type: application/json")


@dataclass
class FakeEngine:
    """Gives its answers in order, the last one for ever; an empty answer closes the connection."""

    answers: list[bytes]
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head.split(b"\r\n")[0].decode().removesuffix(" HTTP/1.1"))
                data = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def ask(path: str, engine: FakeEngine, question: Callable[[EngineClient], Awaitable[Any]]) -> Any:
    async def scenario() -> Any:
        server = await asyncio.start_unix_server(engine.serve, path)
        client = EngineClient(path)
        try:
            return await question(client)
        finally:
            await client.close()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)

    return asyncio.run(scenario())


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "docker.sock")


def test_the_containers_that_run_are_listed_by_their_ids(path):
    engine = FakeEngine([json_answer([{"Id": "a"}, {"Id": "b", "Names": None}, {"Id": 1}, None])])
    assert ask(path, engine, lambda client: client.running_containers()) == ("a", "b")
    assert engine.requests == ["GET /containers/json"]


@pytest.mark.parametrize("given", [json_answer({"message": "no"}, 500), answer(200, b"["), json_answer({})])
def test_a_list_of_containers_that_is_none_is_an_error(path, given):
    with pytest.raises(EngineError, match="did not list its containers"):
        ask(path, FakeEngine([given]), lambda client: client.running_containers())


def test_images_are_listed_with_their_names_and_without_layers(path):
    given = [{"Id": DIGEST, "RepoTags": ["a:1"], "RepoDigests": None, "Descriptor": {"digest": DIGEST}}, None]
    engine = FakeEngine([json_answer(given)])
    found = ask(path, engine, lambda client: client.list_images())
    assert found == (LocalImage(DIGEST, ("a:1",), manifest_digest=DIGEST),)
    assert engine.requests == ["GET /images/json"]


def test_a_listed_image_without_an_id_is_an_error(path):
    with pytest.raises(EngineError, match="has no id"):
        ask(path, FakeEngine([json_answer([{"RepoTags": ["a:1"]}])]), lambda client: client.list_images())


def test_a_container_is_inspected_by_its_name(path):
    engine = FakeEngine([json_answer({"Id": "x"})])
    found = ask(path, engine, lambda client: client.inspect_container("web_1.a-b"))
    assert (found, engine.requests) == ({"Id": "x"}, ["GET /containers/web_1.a-b/json"])


def test_an_unknown_container_is_none(path):
    engine = FakeEngine([json_answer({"message": "No such container: x"}, 404)])
    assert ask(path, engine, lambda client: client.inspect_container("x")) is None


def test_a_volume_is_inspected_by_its_name(path):
    engine = FakeEngine([json_answer({"Name": "v"})])
    ask(path, engine, lambda client: client.inspect_volume("v"))
    assert engine.requests == ["GET /volumes/v"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "a/../../info",
        "a?b",
        "a#b",
        "a%2fb",
        "a b",
        "a\n",
        "a\r\nX: y",
        "-a",
        "ä",
        "a" * 1025,
    ],
)
@pytest.mark.parametrize("question", ["inspect_container", "inspect_volume", "remove_container"])
def test_a_name_that_no_object_can_have_is_not_sent(path, name, question):
    with pytest.raises(ClientError, match="not a name"):
        asyncio.run(getattr(EngineClient(path), question)(name))


@pytest.mark.parametrize(
    "ref", ["", ".", "..", "a/../b", "a//b", "/a", "a/", "a?b", "a#b", "a%2fb", "a b", "a\n", "ä", "a" * 1025]
)
def test_a_reference_that_no_image_can_have_is_not_sent(path, ref):
    with pytest.raises(ClientError, match="invalid reference"):
        asyncio.run(EngineClient(path).inspect_image(ref))


@pytest.mark.parametrize(
    ("ref", "target"),
    [
        ("busybox", "/images/busybox/json"),
        ("127.0.0.1:5000/a/b:1.2_x", "/images/127.0.0.1:5000/a/b:1.2_x/json"),
        (f"docker.io/library/a@{DIGEST}", f"/images/docker.io/library/a@{DIGEST}/json"),
        (ID, f"/images/{ID}/json"),
        ("[::1]:5000/a", "/images/%5B::1%5D:5000/a/json"),
    ],
)
def test_an_image_is_inspected_by_its_reference(path, ref, target):
    engine = FakeEngine([json_answer({"Id": ID})])
    found = ask(path, engine, lambda client: client.inspect_image(ref))
    assert (found, engine.requests) == (LocalImage(ID), [f"GET {target}"])


def test_an_image_has_its_tags_digests_and_layers(path):
    body = {
        "Id": ID,
        "RepoTags": ["a:1"],
        "RepoDigests": [f"a@{DIGEST}"],
        "RootFS": {"Type": "layers", "Layers": [LAYER]},
        "Descriptor": {"digest": DIGEST},
    }
    found = ask(path, FakeEngine([json_answer(body)]), lambda client: client.inspect_image("a"))
    assert found == LocalImage(ID, ("a:1",), (f"a@{DIGEST}",), (LAYER,), DIGEST)


def test_the_null_lists_of_the_engine_are_empty(path):
    body = {"Id": ID, "RepoTags": None, "RepoDigests": None, "RootFS": {"Layers": None}}
    assert ask(path, FakeEngine([json_answer(body)]), lambda client: client.inspect_image("a")) == LocalImage(ID)


def test_an_unknown_image_is_none(path):
    assert ask(path, FakeEngine([json_answer({}, 404)]), lambda client: client.inspect_image("a")) is None


def test_an_image_without_an_id_is_the_engines_fault(path):
    with pytest.raises(EngineError, match="no id"):
        ask(path, FakeEngine([json_answer({"Id": "x"})]), lambda client: client.inspect_image("a"))


def test_removing_a_container_asks_for_its_volumes_too(path):
    engine = FakeEngine([answer(204, b"")])
    assert ask(path, engine, lambda client: client.remove_container("x", force=True)) is True
    assert engine.requests == ["DELETE /containers/x?v=1&force=1"]


def test_removing_a_container_that_is_gone_is_no_error(path):
    assert ask(path, FakeEngine([json_answer({}, 404)]), lambda client: client.remove_container("x")) is False


def test_a_container_that_cannot_be_removed_is_an_error_in_the_engines_words(path):
    with pytest.raises(EngineError, match=r"is running \(status 409\)"):
        ask(
            path, FakeEngine([json_answer({"message": "is running"}, 409)]), lambda client: client.remove_container("x")
        )


def test_a_ping_says_the_version(path):
    engine = FakeEngine(
        [answer(200, b"OK", "Api-Version: 1.41", "Ostype: linux", "Server: Docker/20", "Builder-Version: 2")]
    )
    assert ask(path, engine, lambda client: client.ping()) == EnginePing("1.41", "linux", "Docker/20", "2")


@pytest.mark.parametrize("data", [answer(200, b"no"), answer(503, b"OK"), json_answer([], 500)])
def test_a_server_that_is_not_well_is_an_error(path, data):
    with pytest.raises(EngineError, match="not well"):
        ask(path, FakeEngine([data]), lambda client: client.ping())


def test_info_is_an_object(path):
    assert ask(path, FakeEngine([json_answer({"ID": "x"})]), lambda client: client.info()) == {"ID": "x"}


def test_a_server_without_info_is_no_engine(path):
    with pytest.raises(EngineError, match="Docker Engine"):
        ask(path, FakeEngine([json_answer({}, 404)]), lambda client: client.info())


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_object_is_an_error(path, body):
    with pytest.raises(EngineError, match="not a JSON object"):
        ask(path, FakeEngine([answer(200, body)]), lambda client: client.info())


def test_an_error_status_is_an_error_in_the_engines_words(path):
    with pytest.raises(EngineError, match=r"on fire \(status 500\)"):
        ask(path, FakeEngine([json_answer({"message": "on fire"}, 500)]), lambda client: client.inspect_container("x"))


def test_an_endless_answer_is_cut_off(path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(EngineError, match="longer than 100"):
        ask(path, FakeEngine([answer(200, b"x" * 101)]), lambda client: client.info())


def test_a_connection_that_the_engine_closed_is_opened_again(path):
    engine = FakeEngine([b"", json_answer({"ID": "x"})])
    assert ask(path, engine, lambda client: client.info()) == {"ID": "x"}


def test_an_engine_that_closes_every_connection_is_an_error(path):
    with pytest.raises(EngineError, match="cannot be asked"):
        ask(path, FakeEngine([b""]), lambda client: client.info())


def test_a_removal_is_not_repeated(path):
    engine = FakeEngine([b""])
    with pytest.raises(EngineError, match="cannot be asked"):
        ask(path, engine, lambda client: client.remove_container("x"))
    assert len(engine.requests) == 1


def test_garbage_is_an_error(path):
    with pytest.raises(EngineError, match="cannot be asked"):
        ask(path, FakeEngine([b"SSH-2.0-x\r\n\r\n"]), lambda client: client.info())


def test_an_engine_that_is_absent_says_what_to_do(path):
    with pytest.raises(EngineError, match="cannot be asked") as caught:
        asyncio.run(EngineClient(path).info())
    assert "start the engine" in caught.value.remedy


def test_an_engine_that_does_not_answer_is_an_error(path, monkeypatch):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_unix_server(silent, path)
        client = EngineClient(path)
        try:
            await client.info()
        finally:
            await client.close()
            server.close()
            await asyncio.sleep(0)

    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.01)
    with pytest.raises(EngineError, match="in time"):
        asyncio.run(scenario())


def test_the_socket_may_move(tmp_path):
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    engines = [FakeEngine([json_answer({"ID": path})]) for path in paths]

    async def scenario() -> list[Any]:
        servers = [
            await asyncio.start_unix_server(engine.serve, path) for engine, path in zip(engines, paths, strict=True)
        ]
        current = ""
        client = EngineClient(lambda: current)
        found = []
        for path in paths:
            current = path
            found.append((await client.info())["ID"])
        await client.close()
        for server in servers:
            server.close()
        await asyncio.sleep(0)
        return found

    assert asyncio.run(scenario()) == paths


def test_a_client_that_was_never_used_can_be_closed(path):
    asyncio.run(EngineClient(path).close())
