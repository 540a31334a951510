"""What ``sockwarden digests`` asks the agent, over the control socket."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.config import Config
from sockwarden.dockerapi.reference import parse_entry
from sockwarden.errors import EngineError, SockwardenError
from sockwarden.images.holdings import Holdings
from sockwarden.images.imagelist import ImageList
from sockwarden.images.resolver import Resolver
from sockwarden.service.control import ControlServer, ask_agent, follow_agent
from sockwarden.service.digests import digests_of, refresh_digests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

DIGEST = "sha256:" + "a" * 64


class Registry:
    """Every repository has one image, and no repository beyond that."""

    async def head(self, repository: Any, reference: str) -> str:
        if reference == "broken":
            raise LookupError("boom")
        return DIGEST

    async def close(self) -> None:
        pass


class OneDigest(Resolver):
    async def closure(self, repository: Any, digest: str) -> frozenset[str]:
        return frozenset({digest})


class Generations:
    """As much of the agent's generations as digests need."""

    def __init__(self, images: ImageList) -> None:
        self.images = images
        self.current = None
        self.locked_at = ""


class Agent:
    keeper: Any = None

    def __init__(self, *entries: str, lock: str = "") -> None:
        self.resolver = OneDigest(Registry())  # type: ignore[arg-type]
        images = ImageList([parse_entry(entry) for entry in entries], self.resolver, Holdings(self.resolver))
        self.generations: Any = Generations(images)
        default = Config.default()
        self.config = dataclasses.replace(default, policy=dataclasses.replace(default.policy, lock=lock))


def talk(tmp_path: Path, agent: Agent, scenario: Callable[[str], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        path = str(tmp_path / "control.sock")
        server = ControlServer(
            path, {"digests": lambda: digests_of(agent)}, {"refresh": lambda request: refresh_digests(agent, request)}
        )
        await server.start()
        try:
            return await scenario(path)
        finally:
            await server.close()
            await agent.resolver.close()

    return asyncio.run(whole())


async def refreshed(path: str, *entries: str) -> list[dict[str, Any]]:
    return [row async for row in follow_agent(path, {"ask": "refresh", "entries": list(entries)})]


def test_a_refresh_tells_of_every_entry_as_it_ends(tmp_path: Path) -> None:
    rows = talk(tmp_path, Agent("one:1", "two:1"), refreshed)
    assert sorted(row["entry"] for row in rows) == ["docker.io/library/one:1", "docker.io/library/two:1"]
    assert [(row["done"], row["of"]) for row in rows] == [(1, 2), (2, 2)]
    assert {(row["digest"], row["source"], row["error"]) for row in rows} == {(DIGEST, "registry", "")}


def test_a_refresh_of_one_entry_asks_for_no_other(tmp_path: Path) -> None:
    agent = Agent("one:1", "two:1")

    async def scenario(path: str) -> list[str]:
        await refreshed(path, "one:1")
        return [row["digest"] for row in (await ask_agent(path, "digests"))["images"]]

    assert talk(tmp_path, agent, scenario) == [DIGEST, ""]


def test_a_refresh_of_what_is_no_entry_is_refused(tmp_path: Path) -> None:
    async def scenario(path: str) -> None:
        with pytest.raises(SockwardenError, match=r"has no entry 'docker\.io/library/three:1'") as caught:
            await refreshed(path, "three:1")
        assert "an entry of the policy" in caught.value.remedy

    talk(tmp_path, Agent("one:1"), scenario)


def test_a_registry_that_fails_shows_in_its_row_and_in_no_other(tmp_path: Path) -> None:
    rows = talk(tmp_path, Agent("one:1", "two:broken"), refreshed)
    assert {row["entry"]: bool(row["error"]) for row in rows} == {
        "docker.io/library/one:1": False,
        "docker.io/library/two:broken": True,
    }


def test_with_a_lock_there_is_nothing_to_refresh(tmp_path: Path) -> None:
    async def scenario(path: str) -> None:
        with pytest.raises(SockwardenError, match=r"come from the lock file /etc/x\.lock"):
            await refreshed(path)

    talk(tmp_path, Agent("one:1", lock="/etc/x.lock"), scenario)


def test_show_names_the_lock_in_force(tmp_path: Path) -> None:
    async def scenario(path: str) -> Any:
        return (await ask_agent(path, "digests"))["lock"]

    assert talk(tmp_path, Agent("one:1", lock="/etc/x.lock"), scenario) == {"file": "/etc/x.lock", "created": ""}


def test_who_leaves_in_the_middle_of_a_refresh_harms_nobody(tmp_path: Path) -> None:
    async def scenario(path: str) -> int:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"ask": "refresh"}\n')
        await reader.readline()
        writer.close()
        return len(await refreshed(path))

    assert talk(tmp_path, Agent(*(f"app{number}:1" for number in range(50))), scenario) == 50


def test_without_an_agent_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no sockwarden answers"):
        asyncio.run(refreshed(str(tmp_path / "control.sock")))
