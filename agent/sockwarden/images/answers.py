"""Sets of content digests, kept small: 32 bytes for each digest, and one table that finds the sets of a digest.

Owns the packed form and its index. It must never shorten a digest: what allows an image is all of its 256 bits.
"""

from __future__ import annotations

from array import array
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIGEST_BYTES: Final = 32
"""SHA-256, the only algorithm that the engine names images by."""

_PREFIX: Final = "sha256:"
_DIGEST_CHARS: Final = len(_PREFIX) + 2 * DIGEST_BYTES
_ROOM: Final = 1.25  # times the digests that are there, after a rebuild
_FULL: Final = 2 / 3  # of the slots taken: a fuller table makes long walks
_FIRST_SLOTS: Final = 64
_EMPTY: Final = 0
_REMOVED: Final = 1
_FIRST_NUMBER: Final = 2


def key_of(digest: str) -> bytes:
    """Return the 32 bytes of a digest, b"" for a text that is none: what an engine calls an image may be anything."""
    if len(digest) != _DIGEST_CHARS or not digest.startswith(_PREFIX):
        return b""
    try:
        key = bytes.fromhex(digest[7:])
    except ValueError:
        return b""
    return key if len(key) == DIGEST_BYTES else b""  # fromhex() overlooks white space


def pack(root: str, members: Iterable[str]) -> bytes:
    """Return the digests in 32 bytes each, ``root`` first and the others sorted."""
    others = sorted(bytes.fromhex(member[7:]) for member in members if member != root)
    return b"".join((bytes.fromhex(root[7:]), *others))


def unpack(raw: bytes) -> list[str]:
    """Return the digests of a packed set, its root first."""
    return [_PREFIX + raw[at : at + DIGEST_BYTES].hex() for at in range(0, len(raw), DIGEST_BYTES)]


class Answer(AbstractSet[str]):
    """What one reference stands for: a set of digests, packed. Two answers are one object if they are equal.

    ``holders`` are what the owner of the index keeps with it: the records that this answer belongs to.
    """

    __slots__ = ("_held", "number", "raw")

    def __init__(self, raw: bytes, number: int) -> None:
        """Take the packed digests; ``number`` is the answer's place in its index."""
        self.raw: Final = raw
        self.number: Final = number
        self._held: Any = ()  # one holder, as nearly always, is kept without the 56 bytes of a tuple

    @property
    def holders(self) -> tuple[Any, ...]:
        """Everything that was added and not removed."""
        return self._held if isinstance(self._held, tuple) else (self._held,)

    def add_holder(self, holder: object) -> None:
        """Keep ``holder``, which is no tuple, with this answer."""
        self._held = (*self.holders, holder) if self.holders else holder

    def remove_holder(self, holder: object) -> None:
        """Keep ``holder`` no more."""
        left = tuple(one for one in self.holders if one is not holder)
        self._held = left[0] if len(left) == 1 else left

    @property
    def digest(self) -> str:
        """The digest that the reference itself points to."""
        return _PREFIX + self.raw[:DIGEST_BYTES].hex()

    def holds(self, digest: bytes) -> bool:
        """Is this digest, of 32 bytes, a member?"""
        at = self.raw.find(digest)
        while at >= 0 and at % DIGEST_BYTES:  # bytes of two neighbours are no digest
            at = self.raw.find(digest, at + 1)
        return at >= 0

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, str) and (key := key_of(digest)) != b"" and self.holds(key)

    def __iter__(self) -> Iterator[str]:
        return iter(unpack(self.raw))

    def __len__(self) -> int:
        return len(self.raw) // DIGEST_BYTES


class AnswerIndex:
    """Finds answers by any digest in them.

    One open table of answer numbers, searched from the place that a digest's hash names: 4 bytes a slot where a
    dictionary of texts takes some 300 bytes for each digest. Python keys that hash anew in each process, so that
    nobody can push images whose digests crowd one place.
    """

    def __init__(self) -> None:
        self._answers: list[Answer | None] = []
        self._free: list[int] = []
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))
        self._digests = 0
        self._taken = 0

    def __len__(self) -> int:
        """Return the number of digests under which answers are found."""
        return self._digests

    def find(self, digest: bytes) -> list[Answer]:
        """Return every answer that holds ``digest``, of 32 bytes."""
        slots, answers = self._slots, self._answers
        mask = len(slots) - 1
        at = hash(digest) & mask
        found: list[Answer] = []
        while number := slots[at]:
            if number != _REMOVED:
                answer = answers[number - _FIRST_NUMBER]
                if answer is not None and answer.holds(digest) and not (found and _is_one_of(answer, found)):
                    found.append(answer)
            at = (at + 1) & mask
        return found

    def intern(self, raw: bytes) -> Answer:
        """Return the answer of exactly these packed digests, a new one if there is none."""
        for answer in self.find(raw[:DIGEST_BYTES]):
            if answer.raw == raw:
                return answer
        number = self._free.pop() if self._free else len(self._answers)
        answer = Answer(raw, number)
        if number == len(self._answers):
            self._answers.append(answer)
        else:
            self._answers[number] = answer
        self._digests += len(answer)
        if self._taken + len(answer) > len(self._slots) * _FULL:
            self._rebuild()
        else:
            self._enter(answer)
        return answer

    def drop(self, answer: Answer) -> None:
        """Forget an answer that this index gave out."""
        slots, mask, wanted = self._slots, len(self._slots) - 1, answer.number + _FIRST_NUMBER
        for start in _starts(answer.raw):
            at = start & mask
            while slots[at] != wanted:
                at = (at + 1) & mask
            slots[at] = _REMOVED
        self._answers[answer.number] = None
        self._free.append(answer.number)
        self._digests -= len(answer)

    def _enter(self, answer: Answer) -> None:
        slots, mask = self._slots, len(self._slots) - 1
        for start in _starts(answer.raw):
            at = start & mask
            while slots[at] > _REMOVED:
                at = (at + 1) & mask
            self._taken += slots[at] == _EMPTY
            slots[at] = answer.number + _FIRST_NUMBER

    def _rebuild(self) -> None:
        """Make a table that fits, without the marks of what was removed."""
        size = _FIRST_SLOTS
        while size * _FULL < self._digests * _ROOM:
            size *= 2
        self._slots = array("I", bytes(4 * size))
        self._taken = 0
        for answer in self._answers:
            if answer is not None:
                self._enter(answer)


def _starts(raw: bytes) -> Iterator[int]:
    return (hash(raw[at : at + DIGEST_BYTES]) for at in range(0, len(raw), DIGEST_BYTES))


def _is_one_of(answer: Answer, found: list[Answer]) -> bool:
    """Is this very object in the list? Two digests of one answer may lie on one walk."""
    return any(answer is other for other in found)
