"""What the references of the image list point to: sets of content digests, kept across policy generations.

Owns the last good answer of every tag and digest that a policy names. It must never take an answer for true
that was not verified by its hash, and never forget a good answer because a registry is silent.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.errors import RegistryError
from sockwarden.images.flights import Flights
from sockwarden.images.registry import NotInRegistryError
from sockwarden.model import DIGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from sockwarden.dockerapi.manifest import Manifest
    from sockwarden.images.endpoints import Repository
    from sockwarden.images.registry import RegistryClient

MAX_DEPTH: Final = 3
"""An index may list indexes. Build tools write one level; two leave room for an index of release indexes."""

MAX_MANIFESTS: Final = 2048
"""Manifests of one reference over all levels: more is no image that anybody runs."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One reference that is resolved as a whole: a tag, or the digest of an index or manifest."""

    repository: Repository
    reference: str

    def __str__(self) -> str:
        return f"{self.repository}{'@' if self.pinned else ':'}{self.reference}"

    @property
    def pinned(self) -> bool:
        """Does the reference name content, so that its answer never changes?"""
        return DIGEST.fullmatch(self.reference) is not None


@dataclass(slots=True)
class Record:
    """What is known of one target. Times are of the resolver's clock; None: not yet.

    ``members`` is the last good answer and stays in force while ``error`` says why the newest try gave none.
    """

    digest: str = ""
    members: frozenset[str] = frozenset()
    answered_at: float | None = None
    asked_at: float | None = None
    failures: int = 0
    error: RegistryError | None = None


class Resolver:
    """Resolves targets through a ``RegistryClient``, and finds the targets that a digest belongs to.

    The digests before a tag moved leave with the answer that shows the move: as on Docker Desktop, an old
    local copy is then refused. A grace time for them would be a second member set in ``Record``.
    """

    def __init__(self, client: RegistryClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.client: Final = client
        self.clock: Final = clock
        self._flights = Flights()
        self._records: dict[Target, Record] = {}
        self._owners: dict[str, set[Target]] = {}
        self._unresolved: set[Target] = set()

    async def close(self) -> None:
        """End what is under way, then close the client."""
        await self._flights.close()
        await self.client.close()

    def add(self, targets: Iterable[Target]) -> None:
        """Keep answers of these targets from now on; those that are new begin unresolved."""
        for target in targets:
            if target not in self._records:
                self._records[target] = Record()
                self._unresolved.add(target)

    def retain(self, targets: Iterable[Target]) -> None:
        """Forget every target but these: no policy in force names the others any more."""
        for target in self._records.keys() - set(targets):
            self._replace(target, self._records.pop(target), frozenset())
            self._unresolved.discard(target)

    def record(self, target: Target) -> Record:
        """Return what is known of ``target``; an empty record for one that is not kept."""
        return self._records.get(target) or Record()

    def owners(self, digest: str) -> AbstractSet[Target]:
        """Return every kept target whose last good answer holds ``digest``."""
        return self._owners.get(digest, frozenset())

    @property
    def unresolved(self) -> AbstractSet[Target]:
        """Every retained target that no registry has answered yet."""
        return self._unresolved

    async def refresh(self, target: Target) -> None:
        """Ask where ``target`` points now and note the answer, or why there is none."""
        await self._flights.once(target, lambda: self._refresh(target))

    async def closure(self, repository: Repository, digest: str) -> frozenset[str]:
        """Return ``digest``, every manifest below it and every config: what an engine may call this image.

        The caller has shown that the repository holds ``digest``. Content that is known is not fetched again.

        Raises:
            RegistryError: a part could not be fetched and verified.
        """
        members: set[str] = set()
        level = {digest}
        depth = 0
        while level:
            members |= level
            if depth == MAX_DEPTH or len(members) > MAX_MANIFESTS:
                raise RegistryError(f"{repository}@{digest} is an index of more than {MAX_DEPTH} levels or too wide")
            manifests = await self._fetch(repository, level, required=depth == 0)
            level = {child for manifest in manifests for child in manifest.children} - members
            members.update(manifest.config for manifest in manifests if manifest.config is not None)
            depth += 1
        return frozenset(members)

    async def _fetch(self, repository: Repository, digests: set[str], *, required: bool) -> list[Manifest]:
        """Return the manifests that exist. Some registries keep an index and drop platforms that nobody uses."""

        async def one(digest: str) -> Manifest | None:
            known = self.client.known(digest)
            if known is not None:
                return known
            try:
                return await self.client.manifest(repository, digest)
            except NotInRegistryError:
                if required:
                    raise
                return None

        answers = await asyncio.gather(*map(one, digests), return_exceptions=True)
        manifests = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer is not None:
                manifests.append(answer)
        return manifests

    async def _refresh(self, target: Target) -> None:
        try:
            digest = await self.client.head(target.repository, target.reference)
            record = self.record(target)
            members = record.members if digest == record.digest else await self.closure(target.repository, digest)
            error = None
        except NotInRegistryError as absent:
            # The registry itself says that there is nothing: an answer, and it ends what was allowed before.
            digest, members, error = "", frozenset[str](), absent
        except RegistryError as failure:
            self._note_failure(target, failure)
            return
        except Exception as fault:  # noqa: BLE001 - one entry's fault must not end the refresh of all others
            self._note_failure(target, RegistryError(f"the agent failed while it asked: {fault!r}"))
            return
        record = self.record(target)
        if target in self._records:
            self._replace(target, record, members)
            self._unresolved.discard(target)
        record.digest, record.members, record.error, record.failures = digest, members, error, 0
        record.answered_at = record.asked_at = self.clock()

    def _note_failure(self, target: Target, failure: RegistryError) -> None:
        record = self.record(target)
        record.asked_at, record.error = self.clock(), failure
        record.failures += 1

    def _replace(self, target: Target, record: Record, members: frozenset[str]) -> None:
        """Let ``owners`` find ``target`` under ``members`` instead of what it was found under."""
        for digest in record.members - members:
            owners = self._owners[digest]
            owners.discard(target)
            if not owners:
                del self._owners[digest]
        for digest in members - record.members:
            self._owners.setdefault(digest, set()).add(target)
