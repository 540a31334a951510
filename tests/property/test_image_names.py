"""No name decides: whatever an image is called, its content alone is compared with what registries say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.images.conftest import Bench
from tests.unit.images.locals import EVIL, REG

from sockwarden.model import LocalImage

pytestmark = pytest.mark.property

BASE, TOP = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def world_of() -> tuple[Bench, list[str], dict[str, str]]:
    """Return registries, names that lead to images there, and the content that each entry allows."""
    bench = Bench()
    names, allowed = [], {}
    for path, tag, entry in (
        ("app", "1", f"{REG}/app:1"),
        ("any", "2", f"{REG}/any:*"),
        ("ci/x", "3", f"{REG}/ci/*:*"),
        ("some", "1.4", f"{REG}/some:1.*"),
        ("ci/x", "latest", f"{REG}/c*/x"),
    ):
        manifest, config = bench.world.image(REG, path, tag, f"{path}:{tag}")
        names += [f"{REG}/{path}:{tag}", f"{REG}/{path}@{manifest}"]
        allowed[entry] = config
    return bench, names, allowed


NAMES = st.lists(st.sampled_from(world_of()[1]) | st.sampled_from(["<none>:<none>", "app", EVIL[7:]]), max_size=8)
ENTRIES = st.lists(st.sampled_from(sorted(world_of()[2])), min_size=1, max_size=5, unique=True)


def judge(entries: list[str], image: LocalImage, **options: Any) -> tuple[Any, dict[str, str]]:
    bench, _, allowed = world_of()

    async def scenario(image_list: Any) -> Any:
        first = await image_list.judge(image)
        bench.clock.now += 100
        return first, await image_list.judge(image)

    return bench.judge(entries, scenario, **options), allowed


def called(image_id: str, names: list[str], layers: tuple[str, ...] = ()) -> LocalImage:
    digests = tuple(name for name in names if "@" in name)
    return LocalImage(image_id, tuple(name for name in names if "@" not in name), digests, layers)


@given(ENTRIES, NAMES)
def test_no_names_make_other_content_an_allowed_image(entries, names):
    answers, _ = judge(entries, called(EVIL, names))
    assert not any(answer.allowed for answer in answers)


class ForgedStore:
    """An image store in which other content bears the names of allowed images."""

    def __init__(self, names: list[str]) -> None:
        self._parent = called("sha256:" + "d" * 64, names, (BASE,))

    async def inspect_image(self, _: str, /) -> LocalImage | None:
        return self._parent

    async def list_images(self) -> tuple[LocalImage, ...]:
        return (self._parent,)


@given(ENTRIES, NAMES)
def test_no_names_make_other_content_a_parent(entries, names):
    answers, _ = judge(entries, called(EVIL, [], (BASE, TOP)), store=ForgedStore(names))
    assert not any(answer.allowed for answer in answers)


@given(ENTRIES, NAMES, st.data())
def test_an_image_is_allowed_by_an_entry_that_its_registry_confirms_or_by_none(entries, names, data):
    config = data.draw(st.sampled_from(sorted(world_of()[2].values())))
    answers, allowed = judge(entries, called(config, names))
    for answer in answers:
        assert answer.allowed is bool(answer.entry and answer.digest == config and answer.reason == "")
        if answer.allowed:
            # An image may be in a repository that a wider entry covers, beside the one that was made for it.
            confirming = {entry for entry, content in allowed.items() if content == config}
            confirming |= {f"{REG}/ci/*:*", f"{REG}/c*/x:latest"} if config in _ci(allowed) else set()
            assert answer.entry in confirming


def _ci(allowed: dict[str, str]) -> set[str]:
    return {allowed[f"{REG}/ci/*:*"], allowed[f"{REG}/c*/x"]}
