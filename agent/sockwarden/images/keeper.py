"""Keeping what the resolver and the holdings know, and giving it back after a restart.

Owns when the file of answers is written, and what its times mean on a clock that may have been set. It must never
make a decision wait for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from sockwarden.images.resolver import Remembered
from sockwarden.images.store import Kept, Snapshot, StoreError, answers_in, held_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockwarden.images.holdings import Holdings
    from sockwarden.images.resolver import Resolver
    from sockwarden.images.store import AnswerStore

CHANGED_SECONDS: Final = 5.0
"""After an answer that changes what is allowed; those that come meanwhile are written with it."""

CONFIRMED_SECONDS: Final = 600.0
"""After an answer that says the same again. A power cut costs that many seconds of knowing when it was asked."""

FUTURE_SECONDS: Final = 300.0
"""Hosts disagree on the time by this much without anything being wrong. Answers from later on are asked again."""

_log = logging.getLogger(__name__)


class Keeper:
    """Writes a store in the background. ``clock`` is the resolver's, ``wall`` seconds since 1970."""

    def __init__(
        self,
        store: AnswerStore,
        resolver: Resolver,
        holdings: Holdings,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.fault = ""
        self.written_at: float | None = None
        self._store = store
        self._resolver = resolver
        self._holdings = holdings
        self._wall = wall
        self._due_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None

    def recall(self) -> None:
        """Give what the file holds to the resolver and the holdings; a file that cannot be believed is logged."""
        try:
            body = self._store.read()
        except StoreError as error:
            self.fault = str(error)
            _log.warning("%s", error)
            return
        if body is None:
            return
        now, wall = self._resolver.clock(), self._wall()
        self._resolver.remember(lambda: ((target, _remembered(kept, now, wall)) for target, kept in answers_in(body)))
        for repository, raw in held_in(body):
            self._holdings.adopt(repository, raw)

    def start(self) -> None:
        """Write from now on, some seconds after each change."""
        self._resolver.on_change = self._changed
        self._holdings.on_change = lambda: self._changed(True)

    async def close(self) -> None:
        """Write what is not written yet, and stop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._saving is not None:
            await asyncio.gather(self._saving, return_exceptions=True)
        if self._due_at is not None:
            await self._save()

    def status(self) -> dict[str, Any]:
        """Return the file, when it was written (seconds since 1970, None: not yet), and the newest fault."""
        return {"file": str(self._store.path), "written_at": self.written_at, "error": self.fault}

    def _changed(self, changed: bool) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time() + (CHANGED_SECONDS if changed else CONFIRMED_SECONDS)
        if self._due_at is not None and self._due_at <= due_at:
            return
        self._due_at = due_at
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(due_at, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._saving is not None and not self._saving.done():
            self._due_at = None
            self._changed(True)  # a slow disk: the next one follows when this one has ended
            return
        self._saving = asyncio.get_running_loop().create_task(self._save())

    async def _save(self) -> None:
        self._due_at = None
        snapshot = self._snapshot()
        try:
            left_out = await asyncio.to_thread(self._store.save, snapshot)
        except StoreError as error:
            if str(error) != self.fault:
                _log.warning("%s", error)
            self.fault = str(error)
            return
        self.written_at = self._wall()
        self.fault = f"{left_out} answers do not fit into {self._store.path}" if left_out else ""

    def _snapshot(self) -> Snapshot:
        """Copy what is known, with times of the wall clock."""
        offset = self._wall() - self._resolver.clock()
        answers = {
            record.target: Kept(
                record.answer.raw,
                (record.answered_at or 0.0) + offset,
                tuple((answer.raw, since + offset) for answer, since in record.earlier),
            )
            for record in self._resolver.records()
            if record.answer is not None
        }
        return Snapshot(answers, self._holdings.held())


def _remembered(kept: Kept, now: float, wall: float) -> Remembered:
    """Translate times. Where the wall clock was set back, an answer is asked again, and grace is not made longer."""
    age = max(0.0, wall - kept.answered_at)
    from_future = kept.answered_at > wall + FUTURE_SECONDS
    earlier = tuple((raw, now - max(0.0, wall - since)) for raw, since in kept.earlier)
    return Remembered(kept.raw, now - age, None if from_future else now - age, earlier)
