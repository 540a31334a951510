"""``name:*`` entries: does that repository hold this very image?

Owns the answers to that question and how long they count. It must never believe a local name: names only say
which digests are worth asking for, and the repository's verified manifests decide.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.errors import RegistryError
from sockwarden.images.answers import unpack
from sockwarden.images.flights import Flights
from sockwarden.images.registry import NotInRegistryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from sockwarden.images.endpoints import Repository
    from sockwarden.images.resolver import Resolver

ABSENT_SECONDS: Final = 60.0
"""How long "the repository does not hold it" counts: a push that follows is seen after a minute."""

MAX_HELD: Final = 65_536
"""Digests that were found in a repository. They count for ever: content does not change."""

MAX_ABSENT: Final = 4096
"""Negative answers. Local images are easily made, so that an attacker can fill this: the oldest make room."""

MAX_REFERENCES: Final = 16
"""Hints of one image that are followed per repository. Names are free to make; requests are not."""


@dataclass(frozen=True, slots=True)
class Question:
    """One repository, the digests of the local image, and the tags and digests that may lead to them there."""

    repository: Repository
    digests: frozenset[str]
    references: tuple[str, ...]


class Holdings:
    """Answers, from memory or by asking, whether a repository holds an image."""

    def __init__(self, resolver: Resolver) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._resolver = resolver
        self._flights = Flights()
        self._held: OrderedDict[str, set[Repository]] = OrderedDict()
        self._absent: OrderedDict[Question, tuple[float, RegistryError | None]] = OrderedDict()

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()

    def holders(self, digest: str) -> AbstractSet[Repository]:
        """Return every repository that is known to hold ``digest``."""
        repositories = self._held.get(digest)
        if repositories is None:
            return frozenset()
        self._held.move_to_end(digest)
        return repositories

    def held(self) -> dict[Repository, bytes]:
        """Return the digests that repositories are known to hold, packed as in ``answers``."""
        found: dict[Repository, list[bytes]] = {}
        for digest, repositories in self._held.items():
            for repository in repositories:
                found.setdefault(repository, []).append(bytes.fromhex(digest[7:]))
        return {repository: b"".join(digests) for repository, digests in found.items()}

    def adopt(self, repository: Repository, raw: bytes) -> None:
        """Take packed digests that an earlier run found in ``repository``."""
        self._note_held(repository, frozenset(unpack(raw)))

    def is_answered(self, question: Question) -> bool:
        """Is there nothing to gain by asking now?"""
        until, _ = self._absent.get(question, (0.0, None))
        return not question.references or self._resolver.clock() < until

    def fault(self, question: Question) -> RegistryError | None:
        """Return why the last time that ``question`` was asked gave no answer, None if it gave one."""
        return self._absent.get(question, (0.0, None))[1]

    async def ask(self, question: Question) -> None:
        """Ask the repository and note the answer, or why there is none."""
        await self._flights.once(question, lambda: self._ask(question))

    async def _ask(self, question: Question) -> None:
        repository = question.repository
        answers = await asyncio.gather(
            *(self._look(repository, reference) for reference in question.references[:MAX_REFERENCES]),
            return_exceptions=True,
        )
        fault: RegistryError | None = None
        for answer in answers:
            if isinstance(answer, RegistryError):
                fault = answer
            elif isinstance(answer, BaseException):
                fault = RegistryError(f"the agent failed while it asked: {answer!r}")
            elif found := answer & question.digests:
                self._note_held(repository, found)
                self.on_change()
                return
        self._absent[question] = (self._resolver.clock() + ABSENT_SECONDS, fault)
        self._absent.move_to_end(question)
        while len(self._absent) > MAX_ABSENT:
            self._absent.popitem(last=False)

    async def _look(self, repository: Repository, reference: str) -> frozenset[str]:
        """Return what ``reference`` stands for in ``repository``; nothing if it is not there."""
        if self._resolver.locked:
            raise RegistryError(
                "with a lock file no registry is asked, and an entry with a pattern allows nothing",
                remedy="list the tag or digest that is needed, and write the lock file again",
            )
        try:
            # HEAD first: forged names then cost a registry nothing that it counts.
            digest = await self._resolver.client.head(repository, reference)
            return await self._resolver.closure(repository, digest)
        except NotInRegistryError:
            return frozenset()

    def _note_held(self, repository: Repository, digests: frozenset[str]) -> None:
        for digest in digests:
            self._held.setdefault(digest, set()).add(repository)
            self._held.move_to_end(digest)
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
