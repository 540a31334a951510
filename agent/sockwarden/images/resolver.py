"""What the references of the image list point to: sets of content digests, kept across policy generations.

Owns the last good answer of every tag and digest that a policy names, and how long the answer before it counts. It
must never take an answer for true that was not verified by its hash, and never forget a good answer because a
registry is silent.
"""

from __future__ import annotations

import asyncio
import enum
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi.manifest import Kind
from sockwarden.errors import RegistryError
from sockwarden.images.answers import Answer, AnswerIndex, key_of, pack, unpack
from sockwarden.images.flights import Flights
from sockwarden.images.registry import NotInRegistryError
from sockwarden.model import DIGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from sockwarden.dockerapi.manifest import Manifest
    from sockwarden.images.endpoints import Repository
    from sockwarden.images.registry import RegistryClient

MAX_DEPTH: Final = 3
"""An index may list indexes. Build tools write one level; two leave room for an index of release indexes."""

MAX_MANIFESTS: Final = 2048
"""Manifests of one reference over all levels: more is no image that anybody runs."""

MAX_EARLIER: Final = 8
"""Answers of one tag that may be in their grace time at once. A tag that moves more often loses the oldest."""

NO_ANSWER: Final[AbstractSet[str]] = frozenset()


class Source(enum.Enum):
    """Where an answer comes from. The value is what status shows."""

    NONE = ""
    REGISTRY = "registry"  # asked since the agent started
    CACHE = "cache"  # remembered from an earlier run of the agent
    LOCK = "lock"  # from the lock file


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


@dataclass(frozen=True, slots=True)
class Parts:
    """What an image consists of, packed: its indexes, manifests and configs, each sorted, one after the other.

    ``at`` is the place of the digest that the reference points to.
    """

    raw: bytes
    indexed: int
    manifested: int
    at: int

    @classmethod
    def of(cls, root: str, indexes: Iterable[str], manifests: Iterable[str], configs: Iterable[str]) -> Parts:
        """Pack the parts.

        Raises:
            ValueError: the root is no index or manifest of them, or a text is no digest.
        """
        kinds = [sorted({bytes.fromhex(digest[7:]) for digest in kind}) for kind in (indexes, manifests, configs)]
        bodies = kinds[0] + kinds[1]
        raw = b"".join((*bodies, *kinds[2]))
        return cls(raw, len(kinds[0]), len(kinds[1]), bodies.index(bytes.fromhex(root[7:])))

    @property
    def root(self) -> str:
        """The digest that the reference points to."""
        return unpack(self.raw)[self.at]

    @property
    def indexes(self) -> frozenset[str]:
        """The lists of platforms."""
        return frozenset(unpack(self.raw)[: self.indexed])

    @property
    def manifests(self) -> frozenset[str]:
        """The images of platforms."""
        return frozenset(unpack(self.raw)[self.indexed : self.indexed + self.manifested])

    @property
    def configs(self) -> frozenset[str]:
        """What graph drivers name images by."""
        return frozenset(unpack(self.raw)[self.indexed + self.manifested :])

    @property
    def members(self) -> frozenset[str]:
        """Every digest that an engine may call this image by."""
        return frozenset(unpack(self.raw))

    @property
    def answer(self) -> bytes:
        """All of it with the root first, as an answer is packed."""
        return pack(self.root, self.members) if self.at else self.raw


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is to be known of a target from elsewhere: packed digests, and times of the resolver's clock.

    ``asked_at`` None lets the target be asked again at once. ``earlier`` are answers in their grace time: packed
    digests, and since when they are the old ones.
    """

    raw: bytes
    answered_at: float
    asked_at: float | None
    earlier: tuple[tuple[bytes, float], ...] = ()


class Record:
    """What is known of one target. Times are of the resolver's clock; None: not yet.

    ``answer`` is the last good one and stays in force while ``error`` says why the newest try gave none. ``earlier``
    are the answers before it, newest first, each with the time since when it is the old one.
    """

    __slots__ = ("answer", "answered_at", "asked_at", "earlier", "error", "failures", "source", "target")

    def __init__(self, target: Target) -> None:
        """Begin with nothing known."""
        self.target: Final = target
        self.answer: Answer | None = None
        self.answered_at: float | None = None
        self.asked_at: float | None = None
        self.failures = 0
        self.error: RegistryError | None = None
        self.source = Source.NONE
        self.earlier: tuple[tuple[Answer, float], ...] = ()

    @property
    def digest(self) -> str:
        """Where the target points to by the last good answer, "" for nowhere."""
        return "" if self.answer is None else self.answer.digest

    @property
    def members(self) -> AbstractSet[str]:
        """Every digest of the last good answer."""
        return NO_ANSWER if self.answer is None else self.answer


def uptime() -> float:
    """Return seconds since the host started, with those that it slept: a grace time must not sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Resolver:
    """Resolves targets through a ``RegistryClient``, and finds the targets that a digest belongs to.

    After a tag moved, the digests before count for ``grace_seconds`` more, from the moment that the move was seen.
    They end at once when the registry says that there is no such tag: who deletes a tag takes it back.
    ``on_change`` is told of every answer, and whether it changed what is allowed.
    """

    def __init__(
        self,
        client: RegistryClient,
        *,
        grace_seconds: float = 0.0,
        clock: Callable[[], float] = uptime,
    ) -> None:
        self.client: Final = client
        self.clock: Final = clock
        self.grace_seconds: Final = grace_seconds
        self.on_change: Callable[[bool], None] = lambda _: None
        self.locked = False
        self._flights = Flights()
        self._index = AnswerIndex()
        self._records: dict[Target, Record] = {}
        self._unresolved: set[Target] = set()
        self._recall: Callable[[], Iterable[tuple[Target, Remembered]]] = tuple

    async def close(self) -> None:
        """End what is under way, then close the client."""
        await self._flights.close()
        await self.client.close()

    def remember(self, recall: Callable[[], Iterable[tuple[Target, Remembered]]]) -> None:
        """Let ``recall`` tell what an earlier run knew, when ``retain`` is called next.

        It tells one after the other, so that what nobody names any more takes no memory.
        """
        self._recall = recall

    def add(self, targets: Iterable[Target]) -> None:
        """Keep answers of these targets from now on; those that are new begin unresolved."""
        for target in targets:
            if target not in self._records:
                self._records[target] = Record(target)
                self._unresolved.add(target)

    def retain(self, targets: Iterable[Target]) -> None:
        """Forget every target but these: no policy in force names the others any more."""
        for target, remembered in self._recall():
            if target in self._unresolved:
                self._take(self._records[target], remembered, Source.CACHE)
                self._resolved(target)
        self._recall = tuple
        for target in self._records.keys() - set(targets):
            self._settle(self._records.pop(target), None, ())
            self._resolved(target)
        self.on_change(True)

    def forget(self, target: Target) -> None:
        """Keep the answer of this target no more."""
        record = self._records.pop(target, None)
        if record is not None:
            self._settle(record, None, ())
            self._resolved(target)

    @property
    def remembered(self) -> Iterator[Target]:
        """Every target that an earlier run had an answer of, until ``retain`` is called."""
        return (target for target, _ in self._recall())

    def lock(self, answers: Mapping[Target, bytes], where: str) -> None:
        """Let these packed digests be the only answers: from now on no registry is asked.

        A kept target that is not among them allows nothing; ``where`` names the file for that refusal.
        """
        self.locked = True
        now = self.clock()
        for target, record in self._records.items():
            raw = answers.get(target)
            if raw is not None:
                self._take(record, Remembered(raw, now, now), Source.LOCK)
                self._resolved(target)
                continue
            self._settle(record, None, ())
            self._unresolved.add(target)
            record.answered_at, record.asked_at, record.source = None, now, Source.LOCK
            record.error = RegistryError(
                f"the lock file {where} does not hold it, and with a lock file no registry is asked",
                remedy="write the lock file again with sockwarden digests lock",
            )

    def record(self, target: Target) -> Record:
        """Return what is known of ``target``; an empty record for one that is not kept."""
        return self._records.get(target) or Record(target)

    def records(self) -> Iterator[Record]:
        """Return every record that is kept."""
        return iter(self._records.values())

    def owners(self, digest: str) -> AbstractSet[Target]:
        """Return every kept target that ``digest`` belongs to: by its last good answer, or by one in its grace time."""
        key = key_of(digest)
        found: set[Target] = set()
        for answer in self._index.find(key) if key else ():
            for record in answer.holders:
                if record.answer is answer or self.grace_left(record, answer) > 0:
                    found.add(record.target)
        return found

    def grace_left(self, record: Record, answer: Answer) -> float:
        """Return for how many seconds more an earlier answer of the record counts, 0 where it does not."""
        for earlier, since in record.earlier:
            if earlier is answer:
                return max(0.0, since + self.grace_seconds - self.clock())
        return 0.0

    def expire(self) -> None:
        """Drop the answers whose grace time is over. They have not counted since; this gives their memory back."""
        limit = self.clock() - self.grace_seconds
        for record in self._records.values():
            if record.earlier and any(since <= limit for _, since in record.earlier):
                left = tuple(one for one in record.earlier if one[1] > limit)
                self._settle(record, record.answer, left)
                self.on_change(True)

    @property
    def unresolved(self) -> AbstractSet[Target]:
        """Every retained target that no registry has answered yet."""
        return self._unresolved

    async def refresh(self, target: Target) -> None:
        """Ask where ``target`` points now and note the answer, or why there is none. With a lock nothing is asked."""
        if not self.locked:
            await self._flights.once(target, lambda: self._refresh(target))

    async def closure(self, repository: Repository, digest: str) -> frozenset[str]:
        """Return ``digest``, every manifest below it and every config: what an engine may call this image.

        The caller has shown that the repository holds ``digest``. Content that is known is not fetched again.

        Raises:
            RegistryError: a part could not be fetched and verified.
        """
        return (await self.parts(repository, digest)).members

    async def parts(self, repository: Repository, digest: str) -> Parts:
        """Return what :meth:`closure` does, by kind. A manifest that the registry dropped counts as a manifest.

        Raises:
            RegistryError: a part could not be fetched and verified.
        """
        indexes: set[str] = set()
        manifests: set[str] = set()
        configs: set[str] = set()
        level = {digest}
        depth = 0
        while level:
            manifests |= level
            if depth == MAX_DEPTH or len(manifests) + len(configs) > MAX_MANIFESTS:
                raise RegistryError(f"{repository}@{digest} is an index of more than {MAX_DEPTH} levels or too wide")
            found = await self._fetch(repository, level, required=depth == 0)
            indexes.update(manifest.digest for manifest in found if manifest.kind is Kind.INDEX)
            level = {child for manifest in found for child in manifest.children} - manifests
            configs.update(manifest.config for manifest in found if manifest.config is not None)
            depth += 1
        return Parts.of(digest, indexes, manifests - indexes, configs)

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
        record = self.record(target)
        try:
            digest = await self.client.head(target.repository, target.reference)
            same = digest == record.digest
            raw = b"" if same else pack(digest, await self.closure(target.repository, digest))
        except NotInRegistryError as absent:
            # The registry itself says that there is nothing: an answer, and it ends what was allowed before.
            self._note_answer(record, None, absent)
        except RegistryError as failure:
            self._note_failure(record, failure)
        except Exception as fault:  # noqa: BLE001 - one entry's fault must not end the refresh of all others
            self._note_failure(record, RegistryError(f"the agent failed while it asked: {fault!r}"))
        else:
            self._note_answer(record, raw, None)

    def _note_answer(self, record: Record, raw: bytes | None, absent: RegistryError | None) -> None:
        """Note what a registry said: packed digests, b"" for those of before, None where there is nothing."""
        if self._records.get(record.target) is not record or self.locked:
            return  # forgotten, or locked, meanwhile
        now = self.clock()
        if raw is None:
            self._settle(record, None, ())
        elif raw:
            self._move(record, raw, now)
        self._resolved(record.target)
        record.answered_at = record.asked_at = now
        record.source, record.error, record.failures = Source.REGISTRY, absent, 0
        self.on_change(raw != b"")

    def _move(self, record: Record, raw: bytes, now: float) -> None:
        """Give the record a new answer; the one before it enters its grace time."""
        answer = self._index.intern(raw)
        earlier = tuple(one for one in record.earlier if one[0] is not answer)
        if record.answer is not None and self.grace_seconds > 0:
            earlier = ((record.answer, now), *earlier)[:MAX_EARLIER]
        self._settle(record, answer, earlier)

    def _note_failure(self, record: Record, failure: RegistryError) -> None:
        record.asked_at, record.error = self.clock(), failure
        record.failures += 1

    def _resolved(self, target: Target) -> None:
        self._unresolved.discard(target)
        if not self._unresolved:
            self._unresolved = set()  # a set never shrinks by itself

    def _take(self, record: Record, remembered: Remembered, source: Source) -> None:
        """Let the record hold what is known from elsewhere."""
        limit = self.clock() - self.grace_seconds
        earlier = tuple((self._index.intern(raw), since) for raw, since in remembered.earlier if since > limit)
        self._settle(record, self._index.intern(remembered.raw), earlier)
        record.answered_at, record.asked_at, record.source = remembered.answered_at, remembered.asked_at, source
        record.error, record.failures = None, 0

    def _settle(self, record: Record, answer: Answer | None, earlier: tuple[tuple[Answer, float], ...]) -> None:
        """Let ``owners`` find the record under these answers instead of those that it was found under."""
        before = _answers(record.answer, record.earlier)
        after = _answers(answer, earlier)
        record.answer, record.earlier = answer, earlier
        for one in after:
            if not any(one is other for other in before):
                one.add_holder(record)
        for one in before:
            if not any(one is other for other in after):
                one.remove_holder(record)
                if not one.holders:
                    self._index.drop(one)


def _answers(answer: Answer | None, earlier: tuple[tuple[Answer, float], ...]) -> list[Answer]:
    found = [one for one, _ in earlier]
    return found if answer is None else [answer, *found]
