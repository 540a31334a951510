"""Policies put in force one after the other; a bad file changes nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from typing import TYPE_CHECKING

import pytest

from sockwarden.config import Config, PolicyConfig
from sockwarden.engine.client import EngineClient
from sockwarden.errors import DocumentError
from sockwarden.images.credentials import DockerConfig
from sockwarden.images.endpoints import RegistrySettings
from sockwarden.images.holdings import Holdings
from sockwarden.images.lock import Lock, render_lock
from sockwarden.images.registry import RegistryClient
from sockwarden.images.resolver import Parts, Resolver
from sockwarden.service.generations import Generations

if TYPE_CHECKING:
    from pathlib import Path

    from sockwarden.images.imagelist import ImageList
    from sockwarden.policy.decide import Generation

GOOD = """{"configurationFileVersion": 2, "enhancedContainerIsolation": {"value": true, "dockerSocketMount":
 {"commandList": {"type": "deny", "commands": ["%s"]}}}}"""


class Story:
    """Generations of one policy file; no image entries, so no registry is asked."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "admin-settings.json"
        config = Config.default()
        policy = dataclasses.replace(config.policy, file=str(self.file))
        assert isinstance(policy, PolicyConfig)
        self.published: list[tuple[Generation, ImageList]] = []
        engine = EngineClient(lambda: str(directory / "engine.sock"))
        settings = RegistrySettings(frozenset(), {}, 1.0)
        self.resolver = Resolver(RegistryClient(settings, DockerConfig(directory / "config.json")))
        self.generations = Generations(
            dataclasses.replace(config, policy=policy),
            engine,
            self.resolver,
            Holdings(self.resolver),
            lambda generation, images: self.published.append((generation, images)),
        )

    def write(self, command: str) -> None:
        self.file.write_text(GOOD % command)


def test_a_policy_is_put_in_force(tmp_path: Path) -> None:
    async def run() -> None:
        story = Story(tmp_path)
        story.write("push")
        generation = await story.generations.load()
        assert generation.number == 1
        assert generation.commands.names == ("push",)
        assert story.published == [(generation, story.generations.images)]
        await story.generations.images.close()

    asyncio.run(run())


def test_a_first_policy_that_is_bad_is_an_error(tmp_path: Path) -> None:
    async def run() -> None:
        story = Story(tmp_path)
        with pytest.raises(DocumentError):
            await story.generations.load()
        assert story.generations.current is None
        with pytest.raises(AssertionError):
            _ = story.generations.images

    asyncio.run(run())


def test_a_reload_puts_the_next_one_in_force(tmp_path: Path) -> None:
    async def run() -> None:
        story = Story(tmp_path)
        story.write("push")
        await story.generations.load()
        story.write("pull")
        assert await story.generations.reload()
        assert [generation.number for generation, _ in story.published] == [1, 2]
        assert story.generations.current is story.published[1][0]
        await story.generations.images.close()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "{", GOOD % "pusch", None])
def test_a_bad_file_leaves_the_generation_in_force(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        story = Story(tmp_path)
        story.write("push")
        first = await story.generations.load()
        images = story.generations.images
        if text is None:
            story.file.unlink()
        else:
            story.file.write_text(text)
        assert not await story.generations.reload()
        assert story.generations.current is first
        assert story.generations.images is images
        assert (story.generations.failures, len(story.published)) == (1, 1)
        assert str(story.file) in story.generations.last_failure
        assert "generation 1 stays in force" in caplog.text
        story.write("push")
        assert await story.generations.reload()
        assert story.generations.last_failure == ""
        await story.generations.images.close()

    asyncio.run(run())


LISTED = """{"configurationFileVersion": 2, "enhancedContainerIsolation": {"value": true, "dockerSocketMount":
 {"imageList": {"images": ["reg.example/app:1"]}, "commandList": {"type": "deny", "commands": ["%s"]}}}}"""
ROOT = "sha256:" + "a" * 64


class LockedStory(Story):
    """The same with a lock file."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.lock = directory / "digests.lock.json"
        config = self.generations._config
        policy = dataclasses.replace(config.policy, lock=str(self.lock))
        self.generations._config = dataclasses.replace(config, policy=policy)

    def write(self, command: str) -> None:
        self.file.write_text(LISTED % command)

    def lock_it(self) -> None:
        parts = Parts.of(ROOT, frozenset(), frozenset({ROOT}), frozenset())
        sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()
        self.lock.write_text(render_lock(Lock(sha256, "2026-11-22T14:00:00Z", {"reg.example/app:1": parts})))


def test_a_policy_is_in_force_with_the_lock_that_belongs_to_it(tmp_path: Path) -> None:
    async def run() -> None:
        story = LockedStory(tmp_path)
        story.write("push")
        story.lock_it()
        await story.generations.load()
        (status,) = story.generations.images.status()
        assert (status.digest, status.source) == (ROOT, "lock")
        assert story.generations.locked_at == "2026-11-22T14:00:00Z"
        await story.generations.images.close()

    asyncio.run(run())


def test_a_lock_of_another_policy_lets_no_first_policy_come_into_force(tmp_path: Path) -> None:
    async def run() -> None:
        story = LockedStory(tmp_path)
        story.write("push")
        story.lock_it()
        story.write("build")
        with pytest.raises(DocumentError, match="it was written on"):
            await story.generations.load()
        assert story.generations.current is None

    asyncio.run(run())


def test_a_reload_takes_policy_and_lock_together_or_not_at_all(tmp_path: Path) -> None:
    async def run() -> None:
        story = LockedStory(tmp_path)
        story.write("push")
        story.lock_it()
        first = await story.generations.load()
        story.write("build")
        assert not await story.generations.reload()
        assert story.generations.current is first
        story.lock_it()
        assert await story.generations.reload()
        assert story.generations.current is not None
        assert story.generations.current.commands.names == ("build",)
        await story.generations.images.close()

    asyncio.run(run())


def test_a_lock_that_is_missing_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        story = LockedStory(tmp_path)
        story.write("push")
        with pytest.raises(DocumentError, match="names the lock file"):
            await story.generations.load()

    asyncio.run(run())
