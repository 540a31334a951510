"""The cache of built images: an entry is made once, whole or not at all, and goes when nobody uses it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from tests.vm import images

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return images.cache_folder()


def build(folder: Path) -> None:
    (folder / "disk").write_text("made", "ascii")


def broken(folder: Path) -> None:
    (folder / "disk").write_text("half", "ascii")
    raise RuntimeError("no room")


def test_an_image_is_built_once_for_one_recipe() -> None:
    first = images._kept("root", "recipe", build)
    assert images._kept("root", "recipe", broken) == first
    assert (first / "disk").read_text("ascii") == "made"


def test_another_recipe_makes_another_image() -> None:
    assert images._kept("root", "one", build) != images._kept("root", "other", build)


def test_a_broken_build_leaves_nothing_behind(cache: Path) -> None:
    with pytest.raises(RuntimeError):
        images._kept("root", "recipe", broken)
    assert [path.name for path in cache.iterdir()] == [".root.lock"]
    assert (images._kept("root", "recipe", build) / "disk").exists()


def test_an_image_that_another_run_uses_stays() -> None:
    first = images._kept("root", "one", build)
    images._kept("root", "other", build)
    assert first.is_dir()


def test_an_image_that_nobody_used_for_a_day_is_removed_when_its_successor_is_used() -> None:
    first = images._kept("root", "one", build)
    long_ago = time.time() - images.UNUSED_SECONDS - 1
    os.utime(first, (long_ago, long_ago))
    images._kept("root", "other", build)
    assert not first.exists()


def test_an_image_of_another_name_is_not_removed() -> None:
    first = images._kept("root-plain", "one", build)
    long_ago = time.time() - images.UNUSED_SECONDS - 1
    os.utime(first, (long_ago, long_ago))
    images._kept("root-engine", "other", build)
    assert first.is_dir()
