"""A name in a directory, watched by inotify."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from sockwarden.errors import SockwardenError
from sockwarden.gateway.watch import NameWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def seen(directory: Path, change: Callable[[], object]) -> bool:
    """Whether a change is told before that of a second name, which is told in any case."""

    async def watch() -> bool:
        told: list[None] = []
        last = asyncio.Event()
        first = NameWatch(str(directory / "name"), lambda: told.append(None))
        second = NameWatch(str(directory / "last"), last.set)
        change()
        (directory / "last").touch()
        await last.wait()
        await asyncio.sleep(0)
        first.close()
        first.close()
        second.close()
        return bool(told)

    return asyncio.run(watch())


def test_a_name_that_appears_disappears_or_is_replaced_is_told(tmp_path: Path) -> None:
    name, other = tmp_path / "name", tmp_path / "other"
    other.touch()
    assert seen(tmp_path, name.touch)
    assert seen(tmp_path, lambda: os.replace(other, name))
    assert seen(tmp_path, name.unlink)


def test_other_names_are_not_told(tmp_path: Path) -> None:
    assert not seen(tmp_path, (tmp_path / "other").touch)


def test_a_directory_that_does_not_exist_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    async def watch() -> None:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(SockwardenError, match="cannot be watched"):
            NameWatch(str(tmp_path / "missing" / "name"), lambda: None)
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(watch())
