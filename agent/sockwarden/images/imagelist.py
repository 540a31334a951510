"""The image list: may this local image use the socket?

Owns the decision for one policy generation. It must never decide by a name: RepoTags and RepoDigests only say
which registry answers are worth refreshing before a refusal. What allows an image is that its own content
digest is in the set that a registry gave, hash by hash, for an entry.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi.reference import InvalidReference, parse_reference
from sockwarden.errors import EngineError, RegistryError
from sockwarden.images.derived import derived_from, is_local_only
from sockwarden.images.endpoints import Repository
from sockwarden.images.holdings import Question
from sockwarden.images.refresher import FIRST_RETRY_SECONDS, Refresher
from sockwarden.images.resolver import Target
from sockwarden.model import DIGEST, ImageAnswer, LocalImage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterator, Sequence

    from sockwarden.dockerapi.reference import ImagePattern, Reference
    from sockwarden.images.holdings import Holdings
    from sockwarden.images.resolver import Record, Resolver

    LocalLayers = Callable[[str], Awaitable[LocalImage | None]]

ON_DEMAND_SECONDS: Final = 10.0
"""How long one create may wait for registries in total. The docker CLI itself shows nothing meanwhile."""

RECHECK_SECONDS: Final = 60.0
"""An answer older than this is asked for again before an image of that name is refused."""

MOVED_RECHECK_SECONDS: Final = 5.0
"""The same, where the engine knows a digest of that repository that the answer does not hold: a tag just moved."""

MAX_ON_DEMAND: Final = 64
"""Entries and repositories that one refusal may ask for; the background refresh does the rest."""

MAX_HINTS: Final = 16
"""Names of one image that are looked at. Names are free to make, so that their number must not cost us."""


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """What is known of one entry: how many digests, how old (seconds, None: never), and the newest fault.

    ``digest`` is where it points to, ``source`` who said so (``resolver.Source``), ``grace`` the digests before a
    move with the seconds for which they still count.
    """

    entry: str
    digests: int
    age_seconds: float | None
    last_error: str = ""
    digest: str = ""
    source: str = ""
    grace: tuple[tuple[str, float], ...] = ()

    @property
    def stale(self) -> bool:
        """Is an old answer in force because the newest question got none?"""
        return self.age_seconds is not None and bool(self.last_error)


@dataclass(frozen=True, slots=True)
class _Hints:
    """Where the names of a local image say that it might come from. Forgeable, and used as such."""

    repositories: tuple[Repository, ...]
    digests: tuple[str, ...]
    references: tuple[tuple[Repository, str], ...]


class ImageList:
    """Judges local images by the entries of one policy generation.

    ``resolver`` and ``holdings`` outlive the generation, so that a reload loses no answer. With
    ``allow_derived``, ``local_layers`` inspects a reference in the engine's store; it may raise EngineError.
    """

    def __init__(
        self,
        entries: Sequence[ImagePattern],
        resolver: Resolver,
        holdings: Holdings,
        *,
        refresh_seconds: float = 3600.0,
        allow_derived: bool = False,
        local_layers: LocalLayers | None = None,
    ) -> None:
        self._resolver = resolver
        self._holdings = holdings
        self._everything = next((entry.text for entry in entries if entry.is_everything), "")
        self._targets: dict[Target, str] = {}
        self._any_tag: dict[Repository, str] = {}
        self._by_repository: dict[Repository, list[Target]] = {}
        for entry in entries:
            if not entry.is_everything:
                self._add(entry)
        resolver.add(self._targets)
        self._local_layers = local_layers if allow_derived else None
        self._refresher = Refresher(resolver, tuple(self._targets), refresh_seconds)

    def start(self) -> None:
        """Make this the generation in force: forget what only others named, and ask in the background."""
        self._resolver.retain(self._targets)
        if not self._everything:
            self._refresher.start()

    async def close(self) -> None:
        """End the background refresh. The answers stay with the resolver."""
        await self._refresher.close()

    def judge_now(self, image: LocalImage) -> ImageAnswer | None:
        """Answer from memory; None where a registry or the engine must be asked first."""
        entry = self._allowing(image)
        if entry is not None:
            return ImageAnswer(allowed=True, entry=entry)
        hints = _hints(image)
        if self._stale(hints) or self._open_questions(image, hints) or self._may_be_derived(image):
            return None
        return self._refusal(image, hints)

    async def judge(self, image: LocalImage) -> ImageAnswer:
        """Answer, asking registries and the engine for ``ON_DEMAND_SECONDS`` at most where memory does not tell."""
        answer = self.judge_now(image)
        if answer is not None:
            return answer
        hints = _hints(image)
        try:
            async with asyncio.timeout(ON_DEMAND_SECONDS):
                await asyncio.gather(
                    *map(self._resolver.refresh, self._stale(hints)),
                    *map(self._holdings.ask, self._open_questions(image, hints)),
                )
                entry = self._allowing(image) or await self._parent(image)
        except TimeoutError:
            entry = self._allowing(image)  # what came in time counts; the next start finds the other answers
        except EngineError as error:
            return ImageAnswer(allowed=False, reason=f"the engine cannot say what the image was built on: {error}")
        except RegistryError as error:
            return ImageAnswer(allowed=False, reason=str(error))
        return self._refusal(image, hints) if entry is None else ImageAnswer(allowed=True, entry=entry)

    async def refresh_all(
        self,
        progress: Callable[[int, int, EntryStatus], None] | None = None,
        only: Container[str] | None = None,
    ) -> None:
        """Ask for every entry now, or for those whose text is in ``only``.

        ``progress`` gets (done, of how many, the entry) as each one ends.
        """
        done = 0
        wanted = [target for target, text in self._targets.items() if only is None or text in only]

        def landed(target: Target) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, len(wanted), self._status(target))

        await self._refresher.sweep(wanted, landed)

    def status(self) -> tuple[EntryStatus, ...]:
        """Return what is known of every entry. ``name:*`` and ``*`` are never resolved as a whole."""
        lazy = (*self._any_tag.values(), *((self._everything,) if self._everything else ()))
        return (
            *(self._status(target) for target in self._targets),
            *(EntryStatus(text, 0, None) for text in lazy),
        )

    def _add(self, entry: ImagePattern) -> None:
        reference = entry.reference
        repository = _repository(reference)
        if entry.is_any_tag:
            self._any_tag[repository] = entry.text
            return
        target = Target(repository, reference.digest or sys.intern(reference.tag or ""))
        self._targets[target] = entry.text
        self._by_repository.setdefault(repository, []).append(target)

    def _allowing(self, image: LocalImage) -> str | None:
        """Return the entry that allows the image by what is in memory."""
        if self._everything:
            return self._everything
        for digest in _digests(image):
            for target in self._resolver.owners(digest):
                if target in self._targets:
                    return self._targets[target]
            for repository in self._holdings.holders(digest):
                if repository in self._any_tag:
                    return self._any_tag[repository]
        return None

    def _named(self, hints: _Hints) -> list[Target]:
        """Return the targets of the repositories that the image's names point at."""
        return [target for repository in hints.repositories for target in self._by_repository.get(repository, ())]

    def _unresolved(self) -> Iterator[Target]:
        return (target for target in self._resolver.unresolved if target in self._targets)

    def _stale(self, hints: _Hints) -> list[Target]:
        """Return the targets that may answer otherwise when asked now: hinted ones, and those never answered."""
        wanted = dict.fromkeys((*self._named(hints), *islice(self._unresolved(), MAX_ON_DEMAND)))
        return list(islice((target for target in wanted if self._worth_asking(target, hints)), MAX_ON_DEMAND))

    def _worth_asking(self, target: Target, hints: _Hints) -> bool:
        record = self._resolver.record(target)
        if record.asked_at is None:
            return True
        if target.pinned and record.members:
            return False
        if record.failures:
            wait = FIRST_RETRY_SECONDS
        elif any(repository == target.repository and _is_news(text, record) for repository, text in hints.references):
            wait = MOVED_RECHECK_SECONDS
        else:
            wait = RECHECK_SECONDS
        return self._resolver.clock() - record.asked_at >= wait

    def _questions(self, image: LocalImage, hints: _Hints) -> list[Question]:
        """Return what to ask the ``name:*`` repositories, those first that the image's names point at."""
        digests = frozenset(_digests(image))
        named = (repository for repository in hints.repositories if repository in self._any_tag)
        # The same image may have come from elsewhere: its digests are worth a question everywhere.
        others = (repository for repository in self._any_tag if hints.digests and repository not in hints.repositories)
        return [
            Question(
                repository,
                digests,
                tuple(dict.fromkeys((*hints.digests, *(text for at, text in hints.references if at == repository)))),
            )
            for repository in islice(chain(named, others), MAX_ON_DEMAND)
        ]

    def _open_questions(self, image: LocalImage, hints: _Hints) -> list[Question]:
        return [question for question in self._questions(image, hints) if not self._holdings.is_answered(question)]

    def _may_be_derived(self, image: LocalImage) -> bool:
        return self._local_layers is not None and is_local_only(image) and len(image.layers) > 1

    async def _parent(self, image: LocalImage) -> str | None:
        """Return the entry of an allowed image in the engine's store that ``image`` was built on."""
        if self._local_layers is None or not self._may_be_derived(image):
            return None
        for target, text in self._targets.items():
            parent = await self._local_layers(str(target))
            # The name may lead to anything: the parent counts only if its own content is allowed.
            if parent is not None and self._allowing(parent) is not None and derived_from(image, parent.layers):
                return text
        return None

    def _refusal(self, image: LocalImage, hints: _Hints) -> ImageAnswer:
        if not self._targets and not self._any_tag:
            return ImageAnswer(allowed=False, reason="the image list is empty")
        reasons = chain(
            map(self._why_target, self._named(hints)),
            map(self._why_question, self._questions(image, hints)),
            (f"no entry of the image list holds its content {image.id}",),
            map(self._why_target, islice(self._unresolved(), 1)),
        )
        # The nearest entry's reason, and the first silence: an entry that is not resolved may be the right one.
        found = list(dict.fromkeys(reason for reason in reasons if reason))
        return ImageAnswer(allowed=False, reason="; ".join(found[:2]))

    def _why_target(self, target: Target) -> str:
        """Return why a target allows not what bears its name."""
        record = self._resolver.record(target)
        if record.answered_at is None:
            return f"{target} is not resolved yet: {_fault(record.error)}"
        if not record.members:
            return f"{target} allows nothing: {_fault(record.error)}"
        old = "" if record.error is None else f" by the last answer, which is old: {_fault(record.error)}"
        return (
            f"{target} is {record.digest} in its registry{old}, and the local image is not (if it is old, pull again)"
        )

    def _why_question(self, question: Question) -> str:
        """Return why a ``name:*`` entry could not be checked, "" where the repository does not hold the image."""
        fault = self._holdings.fault(question)
        if fault is None and self._holdings.is_answered(question):
            return ""
        return f"{question.repository} could not be asked for the image: {_fault(fault)}"

    def _status(self, target: Target) -> EntryStatus:
        record = self._resolver.record(target)
        age = None if record.answered_at is None else self._resolver.clock() - record.answered_at
        error = "" if record.error is None else str(record.error)
        left = ((answer.digest, self._resolver.grace_left(record, answer)) for answer, _ in record.earlier)
        grace = tuple((digest, seconds) for digest, seconds in left if seconds > 0)
        text, source = self._targets[target], record.source.value
        return EntryStatus(text, len(record.members), age, error, record.digest, source, grace)


def _fault(error: RegistryError | None) -> str:
    """Return the sentence and the remedy of a registry's silence."""
    if error is None:
        return f"no answer within {ON_DEMAND_SECONDS:g} seconds; try again, and check that the registry runs"
    return f"{error}; {error.remedy}" if error.remedy else str(error)


def _repository(reference: Reference) -> Repository:
    return Repository(sys.intern(reference.domain), reference.path)  # one text for all entries of a registry


def _digests(image: LocalImage) -> tuple[str, ...]:
    """Return the content hashes of an image: its id in either store, and its platform manifest's digest."""
    return (image.id,) if image.manifest_digest is None else (image.id, image.manifest_digest)


def _hints(image: LocalImage) -> _Hints:
    """Read the names of an image, digests before tags; what is no reference ("<none>:<none>") is left out."""
    references = []
    for text in (*image.repo_digests[:MAX_HINTS], *image.repo_tags[:MAX_HINTS]):
        try:
            references.append(parse_reference(text))
        except InvalidReference:
            continue
    named = [(_repository(reference), reference.digest or reference.tag) for reference in references]
    digests = [text for _, text in named if text is not None and DIGEST.fullmatch(text)]
    if image.manifest_digest is not None:
        digests += _digests(image)  # the containerd store's ids are digests that registries know
    return _Hints(
        repositories=tuple(dict.fromkeys(repository for repository, _ in named)),
        digests=tuple(dict.fromkeys(digests)),
        references=tuple((repository, text) for repository, text in named if text is not None),
    )


def _is_news(reference: str, record: Record) -> bool:
    """Is this a digest that the record does not hold?"""
    return DIGEST.fullmatch(reference) is not None and reference not in record.members
