"""What the agent knows of the image list's digests, for ``sockwarden digests`` and status.

Never: a decision about an image, or a question to a registry that nobody ordered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from sockwarden.dockerapi.reference import canonical_entry
from sockwarden.errors import SockwardenError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sockwarden.config import Config
    from sockwarden.images.keeper import Keeper
    from sockwarden.images.reasons import EntryStatus
    from sockwarden.service.generations import Generations


class Knowing(Protocol):
    """The parts of a running agent that know digests; see ``service.app.Agent``."""

    config: Config
    generations: Generations
    keeper: Keeper | None


def image_rows(agent: Knowing) -> list[dict[str, Any]]:
    """Return what is known of every entry as JSON values. Ages and times left are in seconds."""
    return [_row(status) for status in agent.generations.images.status()]


def sources_of(agent: Knowing) -> dict[str, Any]:
    """Return which lock file is in force and where answers are kept, each None if there is none."""
    lock = agent.config.policy.lock
    return {
        "lock": {"file": lock, "created": agent.generations.locked_at} if lock else None,
        "cache": None if agent.keeper is None else agent.keeper.status(),
    }


async def digests_of(agent: Knowing) -> dict[str, Any]:
    """Answer ``sockwarden digests show``."""
    generation = agent.generations.current
    policy = {"file": agent.config.policy.file, "sha256": generation.document.sha256 if generation else ""}
    return {"policy": policy, **sources_of(agent), "images": image_rows(agent)}


async def refresh_digests(agent: Knowing, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """Ask registries for the ``entries`` of the request, or for all, and yield each as it ends.

    Raises:
        SockwardenError: there is a lock file, or no such entry.
    """
    if agent.config.policy.lock:
        raise SockwardenError(
            f"nothing to refresh: the digests come from the lock file {agent.config.policy.lock}",
            remedy="write it again with sockwarden digests lock, then sockwarden reload",
        )
    images = agent.generations.images
    only = _wanted(request.get("entries"), {status.entry for status in images.status()})
    landed: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def note(done: int, of: int, status: EntryStatus) -> None:
        landed.put_nowait({"done": done, "of": of, **_row(status)})

    task = asyncio.get_running_loop().create_task(images.refresh_all(note, only))
    task.add_done_callback(lambda _: landed.put_nowait(None))
    try:
        while (row := await landed.get()) is not None:
            yield row
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _wanted(entries: object, known: set[str]) -> frozenset[str] | None:
    if not isinstance(entries, list) or not entries:
        return None
    wanted = frozenset(canonical_entry(str(entry)) for entry in entries)
    strange = sorted(wanted - known)
    if strange:
        raise SockwardenError(
            f"the image list in force has no entry {strange[0]!r}",
            remedy="name an entry of the policy; sockwarden digests show lists them",
        )
    return wanted


def _row(status: EntryStatus) -> dict[str, Any]:
    return {
        "entry": status.entry,
        "kind": status.kind,
        "digests": status.digests,
        "digest": status.digest,
        "source": status.source,
        "age_seconds": status.age_seconds,
        "grace": [{"digest": digest, "seconds_left": round(seconds, 1)} for digest, seconds in status.grace],
        "error": status.last_error,
    }
