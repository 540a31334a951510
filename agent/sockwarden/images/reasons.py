"""What is said of the entries of an image list: their state, and why they do not allow an image.

Owns those words. Names stand in them in canonical form. It must never decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockwarden.errors import RegistryError
    from sockwarden.images.resolver import Record, Resolver

LOCKED = "allows nothing while a lock file is in force: with it no registry is asked"
"""Of an entry that stands for more than one reference."""

NOT_DERIVED = "and it was built on no allowed image of the engine's store"
EMPTY = "the image list is empty"


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """What is known of one entry: how many digests, how old (seconds, None: never), and the newest fault.

    ``digest`` is where it points to, ``source`` who said so (``resolver.Source``), ``grace`` the digests before a
    move with the seconds for which they still count. ``kind`` is "reference", "pattern", "id" or "everything"; only a
    reference is resolved as a whole.
    """

    entry: str
    digests: int
    age_seconds: float | None
    last_error: str = ""
    digest: str = ""
    source: str = ""
    grace: tuple[tuple[str, float], ...] = ()
    kind: str = "reference"

    @property
    def stale(self) -> bool:
        """Is an old answer in force because the newest question got none?"""
        return self.age_seconds is not None and bool(self.last_error)


def status_of(record: Record, resolver: Resolver) -> EntryStatus:
    """Return what is known of one reference."""
    age = None if record.answered_at is None else resolver.clock() - record.answered_at
    error = "" if record.error is None else str(record.error)
    left = ((answer.digest, resolver.grace_left(record, answer)) for answer, _ in record.earlier)
    grace = tuple((digest, seconds) for digest, seconds in left if seconds > 0)
    text, source = str(record.target), record.source.value
    return EntryStatus(text, len(record.members), age, error, record.digest, source, grace)


def why_not(record: Record, waited_seconds: float) -> str:
    """Return why a reference allows not what bears its name. A silence lasted ``waited_seconds``."""
    target = record.target
    if record.answered_at is None:
        return f"{target} is not resolved yet: {silence(record.error, waited_seconds)}"
    if not record.members:
        return f"{target} allows nothing: {silence(record.error, waited_seconds)}"
    old = "" if record.error is None else f" by the last answer, which is old: {silence(record.error, waited_seconds)}"
    return f"{target} is {record.digest} in its registry{old}, and the local image is not (if it is old, pull again)"


def silence(error: RegistryError | None, waited_seconds: float) -> str:
    """Return the sentence and the remedy of a registry's silence."""
    if error is None:
        return f"no answer within {waited_seconds:g} seconds; try again, and check that the registry runs"
    return f"{error}; {error.remedy}" if error.remedy else str(error)
