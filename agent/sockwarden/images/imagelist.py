"""The image list: may this local image use the socket?

Owns the decision for one policy generation. It must never decide by a name: RepoTags and RepoDigests only say
which registry answers are worth refreshing before a refusal. What allows an image is that its own content
digest is in the set that a registry gave, hash by hash, for an entry, or is itself listed as a local image.
"""

from __future__ import annotations

import asyncio
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from sockwarden.errors import EngineError, RegistryError
from sockwarden.images.ancestry import Ancestry
from sockwarden.images.answers import DIGEST_BYTES
from sockwarden.images.derived import is_local_only, may_be_local
from sockwarden.images.followed import Followed
from sockwarden.images.hints import hints_of, repository_of
from sockwarden.images.holdings import Question
from sockwarden.images.patterns import Patterns
from sockwarden.images.reasons import EMPTY, LOCKED, NOT_DERIVED, EntryStatus, silence, status_of, why_not
from sockwarden.images.refresher import FIRST_RETRY_SECONDS, Refresher
from sockwarden.images.resolver import Target
from sockwarden.model import DIGEST, ImageAnswer, LocalImage

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from sockwarden.dockerapi.reference import ImagePattern
    from sockwarden.images.ancestry import ImageStore
    from sockwarden.images.endpoints import Repository
    from sockwarden.images.hints import Hints
    from sockwarden.images.holdings import Holdings
    from sockwarden.images.resolver import Record, Resolver

ON_DEMAND_SECONDS: Final = 10.0
"""How long one create may wait for registries in total. The docker CLI itself shows nothing meanwhile."""

RECHECK_SECONDS: Final = 60.0
"""An answer older than this is asked for again before an image of that name is refused."""

MOVED_RECHECK_SECONDS: Final = 5.0
"""The same, where the engine knows a digest of that repository that the answer does not hold: a tag just moved."""

MAX_ON_DEMAND: Final = 64
"""Entries and repositories that one refusal may ask for; the background refresh does the rest."""

MAX_PARENTS: Final = 8
"""Parents of one image that registries are asked about. A chain of allowed images on one another is rarely longer."""


class ImageList:
    """Judges local images by the entries of one policy generation.

    ``resolver`` and ``holdings`` outlive the generation, so that a reload loses no answer. ``local_ids`` are images
    that are allowed by their id. With a ``store``, the engine's, images that were built on an allowed one are, too.
    """

    def __init__(
        self,
        entries: Sequence[ImagePattern],
        resolver: Resolver,
        holdings: Holdings,
        *,
        local_ids: Iterable[str] = (),
        refresh_seconds: float = 3600.0,
        store: ImageStore | None = None,
    ) -> None:
        self._resolver = resolver
        self._holdings = holdings
        self._everything = any(entry.is_everything for entry in entries)
        self._local_ids = frozenset(local_ids)
        self._patterns = Patterns()
        self._targets: dict[Target, None] = {}
        self._by_repository: dict[Repository, Target | list[Target]] = {}
        for entry in entries:
            if not entry.is_everything:
                self._add(entry)
        resolver.add(self._targets)
        self._followed = Followed(self._patterns, resolver, self._targets)
        self._background = [*self._targets, *self._followed]
        self._ancestry = None if store is None else Ancestry(store, resolver.clock, self._is_plausible)
        self._refresher = Refresher(resolver, self._background, refresh_seconds)
        self._started = False

    def start(self) -> None:
        """Make this the generation in force: forget what only others named, and ask in the background."""
        self._started = True
        self._resolver.retain((*self._targets, *self._followed))
        if not self._everything:
            self._refresher.start()

    async def close(self) -> None:
        """End the background refresh. The answers stay with the resolver."""
        await self._refresher.close()
        if self._ancestry is not None:
            await self._ancestry.close()

    def judge_now(self, image: LocalImage) -> ImageAnswer | None:
        """Answer from memory; None where a registry or the engine must be asked first."""
        answer = self._allowing(image) or self._remembered_parent(image)
        if answer is not None:
            return answer
        hints = hints_of(image)
        if self._stale(hints) or self._open_questions(image, hints) or self._may_be_derived(image):
            return None
        return self._refusal(image, hints)

    async def judge(self, image: LocalImage) -> ImageAnswer:
        """Answer, asking registries and the engine for ``ON_DEMAND_SECONDS`` at most where memory does not tell."""
        answer = self.judge_now(image)
        if answer is not None:
            return answer
        hints = hints_of(image)
        try:
            async with asyncio.timeout(ON_DEMAND_SECONDS):
                await self._ask(image, hints)
                answer = self._allowing(image) or await self._parent(image)
        except TimeoutError:
            answer = self._allowing(image)  # what came in time counts; the next start finds the other answers
        except EngineError as error:
            return self._refused(image, f"the engine cannot say what the image was built on: {error}")
        except RegistryError as error:
            return self._refused(image, str(error))
        return answer or self._refusal(image, hints)

    async def refresh_all(
        self,
        progress: Callable[[int, int, EntryStatus], None] | None = None,
        only: Container[str] | None = None,
    ) -> None:
        """Ask for every entry now, or for those whose canonical text is in ``only``.

        ``progress`` gets (done, of how many, the entry) as each one ends.
        """
        done = 0
        wanted = [
            target for target in (*self._targets, *self._followed.answered()) if only is None or str(target) in only
        ]

        def landed(target: Target) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, len(wanted), self._status(target))

        await self._refresher.sweep(wanted, landed)

    def status(self) -> tuple[EntryStatus, ...]:
        """Return what is known of every entry, and of every tag that a glob led to. "*" is never resolved."""
        asked = map(self._status, (*self._targets, *self._followed.answered()))
        found = dict.fromkeys(self._patterns, 0)
        for repository, raw in self._holdings.held().items():
            entry = self._patterns.for_any_tag(repository)
            if entry:
                found[entry] += len(raw) // DIGEST_BYTES
        for target in self._followed:
            found[self._followed.entry_of(target)] += len(self._resolver.record(target).members)
        patterns = (EntryStatus(text, count, None, kind="pattern") for text, count in found.items())
        ids = (EntryStatus(text, 1, None, kind="id") for text in sorted(self._local_ids))
        everything = (EntryStatus("*", 0, None, kind="everything"),) if self._everything else ()
        return (*asked, *patterns, *ids, *everything)

    def _add(self, entry: ImagePattern) -> None:
        if not entry.is_single:
            self._patterns.add(entry)
            return
        reference = entry.reference
        repository = repository_of(reference)
        target = Target(repository, reference.digest or reference.tag or "")
        if target in self._targets:
            return
        self._targets[target] = None
        before = self._by_repository.setdefault(repository, target)
        if isinstance(before, list):
            before.append(target)
        elif before is not target:
            self._by_repository[repository] = [before, target]

    def _allowing(self, image: LocalImage) -> ImageAnswer | None:
        """Return by which entry and digest the image is allowed, by what is in memory."""
        if self._everything:
            return ImageAnswer(allowed=True, entry="*", digest=image.id)
        for digest in image.digests:
            entry = self._entry_of(digest)
            if entry:
                return ImageAnswer(allowed=True, entry=entry, digest=digest)
        return None

    def _entry_of(self, digest: str) -> str:
        if digest in self._local_ids:
            return digest
        for target in self._resolver.owners(digest):
            entry = str(target) if target in self._targets else self._followed.entry_of(target)
            if entry:
                return entry
        if not self._resolver.locked:
            for repository in self._holdings.holders(digest):
                entry = self._patterns.for_any_tag(repository)
                if entry:
                    return entry
        return ""

    def _named(self, hints: Hints) -> Iterator[Target]:
        """Yield the targets that the image's names point at: first those very names, then of their repositories."""
        yield from (target for target in (Target(*told) for told in hints.references) if target in self._targets)
        yield from self._followed.follow(hints)
        for repository in hints.repositories:
            found = self._by_repository.get(repository, [])
            yield from islice(found, MAX_ON_DEMAND) if isinstance(found, list) else (found,)

    def _unresolved(self) -> Iterator[Target]:
        return (target for target in self._resolver.unresolved if target in self._targets)

    def _stale(self, hints: Hints) -> list[Target]:
        """Return the targets that may answer otherwise when asked now: hinted ones, and those never answered."""
        if self._resolver.locked:
            return []
        wanted = dict.fromkeys((*self._named(hints), *islice(self._unresolved(), MAX_ON_DEMAND)))
        return list(islice((target for target in wanted if self._worth_asking(target, hints)), MAX_ON_DEMAND))

    def _worth_asking(self, target: Target, hints: Hints) -> bool:
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

    def _questions(self, image: LocalImage, hints: Hints) -> Iterator[Question]:
        """Yield what to ask the repositories of ``name:*``, those first that the image's names point at."""
        digests = frozenset(image.digests)
        named = (repository for repository in hints.repositories if self._patterns.for_any_tag(repository))
        # The same image may have come from elsewhere: its digests are worth a question everywhere.
        listed = self._patterns.repositories if hints.digests else ()
        others = (repository for repository in listed if repository not in hints.repositories)
        for repository in islice(chain(named, others), MAX_ON_DEMAND):
            # A glob fits any number of made-up names: each costs its own references, and not all others too.
            elsewhere = hints.digests if repository in listed else ()
            references = (*(text for at, text in hints.references if at == repository), *elsewhere)
            yield Question(repository, digests, tuple(dict.fromkeys(references)))

    def _open_questions(self, image: LocalImage, hints: Hints) -> list[Question]:
        if self._resolver.locked or not self._patterns:
            return []
        return [question for question in self._questions(image, hints) if not self._holdings.is_answered(question)]

    async def _ask(self, image: LocalImage, hints: Hints) -> None:
        """Ask registries whatever may allow the image."""
        await asyncio.gather(
            *map(self._resolver.refresh, self._stale(hints)),
            *map(self._holdings.ask, self._open_questions(image, hints)),
        )
        if len(self._followed):
            self._background[len(self._targets) :] = self._followed.answered()
            if self._started and not self._everything:
                self._refresher.start()

    # -- derived images

    def _may_be_derived(self, image: LocalImage) -> bool:
        return self._ancestry is not None and is_local_only(image) and len(image.layers) > 1

    def _remembered_parent(self, image: LocalImage) -> ImageAnswer | None:
        if self._ancestry is None or not is_local_only(image):
            return None
        return self._first_allowed(self._ancestry.known(image.id))

    async def _parent(self, image: LocalImage) -> ImageAnswer | None:
        """Return by which image of the engine's store this one is allowed, that was built on it."""
        if self._ancestry is None or not self._may_be_derived(image):
            return None
        parents = await self._ancestry.parents(image)
        answer = self._first_allowed(parents)
        if answer is not None:
            return answer
        # The names may lead to anything: a parent counts only if its own content is allowed.
        await asyncio.gather(*(self._ask(parent, hints_of(parent)) for parent in parents[:MAX_PARENTS]))
        return self._first_allowed(parents)

    def _first_allowed(self, parents: Iterable[LocalImage]) -> ImageAnswer | None:
        for parent in parents:
            answer = self._allowing(parent)
            if answer is not None:
                return ImageAnswer(allowed=True, entry=answer.entry, digest=answer.digest, parent=parent.id)
        return None

    def _is_plausible(self, image: LocalImage) -> bool:
        """Is the image allowed, or named so that a registry may allow it?"""
        hints = hints_of(image)
        return (
            self._allowing(image) is not None
            or any(repository in self._by_repository for repository in hints.repositories)
            or any(map(self._patterns.for_any_tag, hints.repositories))
            or any(self._patterns.for_tag(*tag) for tag in hints.tags)
        )

    # -- refusals and status

    def _refused(self, image: LocalImage, reason: str, entry: str = "") -> ImageAnswer:
        return ImageAnswer(allowed=False, entry=entry, reason=reason, digest=image.id, local=may_be_local(image))

    def _covering(self, hints: Hints) -> str:
        """Return the first entry that covers a name of the image, "" for none."""
        exact = (str(target) for target in (Target(*told) for told in hints.references) if target in self._targets)
        globs = (self._patterns.for_tag(*tag) for tag in hints.tags)
        return next(filter(None, chain(exact, globs, map(self._patterns.for_any_tag, hints.repositories))), "")

    def _refusal(self, image: LocalImage, hints: Hints) -> ImageAnswer:
        if not (self._targets or self._patterns or self._local_ids):
            return self._refused(image, EMPTY)
        reasons = chain(
            map(self._why_target, self._named(hints)),
            map(self._why_question, self._questions(image, hints)),
            (f"no entry of the image list holds its content {image.id}",),
            (NOT_DERIVED if self._may_be_derived(image) else "",),
            map(self._why_target, islice(self._unresolved(), 1)),
        )
        # The nearest entry's reason, and the first silence: an entry that is not resolved may be the right one.
        found = dict.fromkeys(filter(None, reasons))
        return self._refused(image, "; ".join(islice(found, 2)), self._covering(hints))

    def _why_target(self, target: Target) -> str:
        return why_not(self._resolver.record(target), ON_DEMAND_SECONDS)

    def _why_question(self, question: Question) -> str:
        """Return why a ``name:*`` entry could not be checked, "" where the repository does not hold the image."""
        if self._resolver.locked:
            entry = self._patterns.for_any_tag(question.repository)
            return f"{entry} {LOCKED}"
        fault = self._holdings.fault(question)
        if fault is None and self._holdings.is_answered(question):
            return ""
        return f"{question.repository} could not be asked for the image: {silence(fault, ON_DEMAND_SECONDS)}"

    def _status(self, target: Target) -> EntryStatus:
        return status_of(self._resolver.record(target), self._resolver)


def _is_news(reference: str, record: Record) -> bool:
    """Is this a digest that the record does not hold?"""
    return DIGEST.fullmatch(reference) is not None and reference not in record.members
