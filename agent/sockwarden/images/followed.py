"""The tags that globs like ``name:1.*`` led to: each is asked for, kept and refreshed like an entry of its own.

Owns which tags those are, and their number. It must never take a name's word: a tag is followed because an image of
the engine bears it, and allows what its registry says that it points to.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from sockwarden.images.resolver import Target

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from sockwarden.images.hints import Hints
    from sockwarden.images.patterns import Patterns
    from sockwarden.images.resolver import Resolver

MAX_FOLLOWED: Final = 1024
"""Tags at once. Names are free to make: the tag that no image bore for the longest time makes room."""


class Followed:
    """The tags of one image list. ``others`` are its single references, which need no following."""

    def __init__(self, patterns: Patterns, resolver: Resolver, others: Container[Target]) -> None:
        """Go on with the tags of the generation before, and of an earlier run, that this list covers too."""
        self._patterns: Final = patterns
        self._resolver: Final = resolver
        self._others: Final = others
        self._targets: Final[OrderedDict[Target, None]] = OrderedDict()
        if patterns.with_tags:
            kept = [record.target for record in resolver.records()]
            for target in (*kept, *resolver.remembered):
                self._take(target)

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def follow(self, hints: Hints) -> Iterable[Target]:
        """Follow the tags that an image bears and a glob covers, and return them."""
        if not self._patterns.with_tags or self._resolver.locked:
            return ()
        return [target for target in (Target(*tag) for tag in hints.tags) if self._take(target)]

    def entry_of(self, target: Target) -> str:
        """Return the glob that covers what a registry said of this target, "" for none."""
        return "" if target.pinned else self._patterns.for_tag(target.repository, target.reference)

    def answered(self) -> list[Target]:
        """Return those that lead somewhere: the others are not worth a question until an image bears them again."""
        return [target for target in self._targets if self._resolver.record(target).members]

    def _take(self, target: Target) -> bool:
        if target in self._others or not self.entry_of(target):
            return False
        if target not in self._targets:
            self._resolver.add((target,))
            self._targets[target] = None
        self._targets.move_to_end(target)
        while len(self._targets) > MAX_FOLLOWED:
            self._resolver.forget(self._targets.popitem(last=False)[0])
        return True
