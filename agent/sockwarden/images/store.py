"""The file of answers: what registries said, kept over a restart and over power loss.

Owns the form of the file, its checksum, and who may have written it. It must never give out a part of a damaged file:
all of it is believed, or nothing.

The file is lines of JSON: a head, one line for each reference and for each repository of a ``name:*`` entry, and a last
line with the SHA-256 of everything before it. Times are of the wall clock; digests are packed as in ``answers`` and
written in hexadecimal.
"""

from __future__ import annotations

import collections
import hashlib
import io
import json
import math
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sockwarden.dockerapi.reference import InvalidReference, Reference
from sockwarden.errors import SockwardenError
from sockwarden.images.answers import DIGEST_BYTES, unpack
from sockwarden.images.endpoints import Repository
from sockwarden.images.ownfile import read_own
from sockwarden.images.resolver import MAX_EARLIER, Target
from sockwarden.model import DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sockwarden.images.endpoints import RegistrySettings

NAME: Final = "answers.jsonl"

VERSION: Final = 1
"""Of the form of the file. Another version is not read: registries can say it all again."""

MAX_STORE_BYTES: Final = 64 * 1024 * 1024
"""10,000 references with eight platforms each take 14 MiB. What does not fit is not kept, and is asked again."""

_IGNORED: Final = "it is ignored, and registries are asked as if it was not there"
_HEX: Final = re.compile(r"(?:[0-9a-f]{64})+")
_LAST_LINE: Final = '{{"sha256": "{}"}}\n'
_LAST_LINE_BYTES: Final = len(_LAST_LINE.format("0" * 64))


class StoreError(SockwardenError):
    """The file of answers cannot be read, believed or written. The message names it and says what follows."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer as it lies in the file: packed digests and seconds of the wall clock."""

    raw: bytes
    answered_at: float
    earlier: tuple[tuple[bytes, float], ...] = ()

    @property
    def digest(self) -> str:
        """Where the reference pointed to."""
        return unpack(self.raw)[0]

    @property
    def count(self) -> int:
        """The number of digests."""
        return len(self.raw) // DIGEST_BYTES

    def earlier_digests(self) -> list[tuple[str, float]]:
        """Return where the reference pointed to before, and since when it does no more."""
        return [(unpack(raw)[0], since) for raw, since in self.earlier]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a file holds. ``held`` are packed digests that were found in a repository."""

    answers: dict[Target, Kept] = field(default_factory=dict)
    held: dict[Repository, bytes] = field(default_factory=dict)


class AnswerStore:
    """The file in one directory. ``settings`` are those that the answers are asked under.

    Another mirror may answer otherwise: answers of other settings are not believed.
    """

    def __init__(self, directory: Path, settings: RegistrySettings) -> None:
        self.path: Final = directory / NAME
        self._directory: Final = directory
        self._settings: Final = _fingerprint(settings)

    def load(self) -> Snapshot | None:
        """Return what the file holds, None if there is no file yet.

        Raises:
            StoreError: the file is damaged, foreign, or of other settings.
        """
        body = self.read()
        return None if body is None else Snapshot(dict(answers_in(body)), dict(held_in(body)))

    def read(self) -> bytes | None:
        """Return the lines of the file, every one of which can be believed; None if there is no file yet.

        Raises:
            StoreError: the file is damaged, foreign, or of other settings.
        """
        try:
            self._check_directory()
            body = _verified(read_own(self.path, MAX_STORE_BYTES))
            self._check_head(body)
            collections.deque(_entries(body), maxlen=0)  # all of it is read once before any of it counts
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read ({error.strerror}): {_IGNORED}") from error
        except (ValueError, RecursionError) as error:
            raise StoreError(
                f"{self.path} cannot be believed ({error}): {_IGNORED}",
                remedy="nothing is to be done: it is written anew. If it happens again, look at the disk and its owner",
            ) from error
        return body

    def save(self, snapshot: Snapshot) -> int:
        """Replace the file, and return how many lines did not fit. A power cut leaves the old file or the new one.

        Raises:
            StoreError: it cannot be written; the old file is as it was.
        """
        new = self._directory / f"{NAME}.new"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_directory()
            new.unlink(missing_ok=True)
            number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(number, "wb") as file:
                left_out = 0
                checksum = hashlib.sha256()
                size = _LAST_LINE_BYTES
                for line in self._lines(snapshot):
                    if size + len(line) > MAX_STORE_BYTES:
                        left_out += 1
                        continue
                    size += len(line)
                    checksum.update(line)
                    file.write(line)
                file.write(_LAST_LINE.format(checksum.hexdigest()).encode())
                file.flush()
                os.fsync(number)
            new.replace(self.path)
            _sync_directory(self._directory)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StoreError(
                f"{self.path} cannot be written ({reason}): after a restart registries are asked again",
                remedy='see daemon.state_dir; "" there keeps no answers',
            ) from error
        return left_out

    def _check_directory(self) -> None:
        """Let only a directory count in which nobody else can put a file."""
        found = self._directory.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise ValueError("its directory is none")
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others than root may write into its directory")

    def _lines(self, snapshot: Snapshot) -> Iterator[bytes]:
        yield _line({"sockwarden": "answers", "version": VERSION, "settings": self._settings})
        for target, kept in snapshot.answers.items():
            line: dict[str, Any] = {
                "target": [target.repository.domain, target.repository.path, target.reference],
                "digests": kept.raw.hex(),
                "answered_at": kept.answered_at,
            }
            if kept.earlier:
                line["earlier"] = [[raw.hex(), since] for raw, since in kept.earlier]
            yield _line(line)
        for repository, raw in snapshot.held.items():
            yield _line({"held": [repository.domain, repository.path], "digests": raw.hex()})

    def _check_head(self, body: bytes) -> None:
        head = json.loads(body.partition(b"\n")[0] or b"null")
        if not isinstance(head, dict) or head.get("sockwarden") != "answers":
            raise ValueError("it is no file of answers")
        if head.get("version") != VERSION:
            raise ValueError(f"it is of version {head.get('version')!r}, and this sockwarden reads {VERSION}")
        if head.get("settings") != self._settings:
            raise ValueError("it was written under other settings of mirrors or plain HTTP")


def answers_in(body: bytes) -> Iterator[tuple[Target, Kept]]:
    """Yield the answers of what ``AnswerStore.read`` returned."""
    return ((key, value) for key, value in _entries(body) if isinstance(key, Target) and isinstance(value, Kept))


def held_in(body: bytes) -> Iterator[tuple[Repository, bytes]]:
    """Yield the packed digests that were found in repositories, from what ``AnswerStore.read`` returned."""
    return ((key, value) for key, value in _entries(body) if isinstance(key, Repository) and isinstance(value, bytes))


def _entries(body: bytes) -> Iterator[tuple[Target | Repository, Kept | bytes]]:
    """Read one line at a time: ten thousand at once would take memory that the interpreter never gives back."""
    lines = io.BytesIO(body)
    next(lines)
    for text in lines:
        line = json.loads(text)
        if not isinstance(line, dict):
            raise ValueError("a line is no object")  # noqa: TRY004 - a fault of the file, not of a caller
        if "target" in line:
            domain, path, reference = _texts(line["target"], 3)
            raw, earlier = _raw(line.get("digests")), tuple(_earlier(line.get("earlier", [])))
            yield _target(domain, path, reference), Kept(raw, _time(line.get("answered_at")), earlier)
        else:
            domain, path = _texts(line.get("held"), 2)
            yield _repository(domain, path), _raw(line.get("digests"))


def _fingerprint(settings: RegistrySettings) -> str:
    said = [sorted(settings.plain_http), sorted(settings.mirrors.items())]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode() + b"\n"


def _verified(text: bytes) -> bytes:
    """Return the lines before the last one, which must be their checksum."""
    body, last = text[:-_LAST_LINE_BYTES], text[-_LAST_LINE_BYTES:]
    if last != _LAST_LINE.format(hashlib.sha256(body).hexdigest()).encode():
        raise ValueError("its checksum is wrong: it is damaged or not whole")
    return body


def _texts(value: object, count: int) -> list[str]:
    if not isinstance(value, list) or len(value) != count or not all(isinstance(item, str) for item in value):
        raise ValueError("a line names no reference")
    return value


def _repository(domain: str, path: str) -> Repository:
    try:
        Reference(domain, path)
    except InvalidReference as error:
        raise ValueError("a line names no reference") from error
    return Repository(domain, path)


def _target(domain: str, path: str, reference: str) -> Target:
    pinned = DIGEST.fullmatch(reference) is not None
    try:
        Reference(domain, path, None if pinned else reference, reference if pinned else None)
    except InvalidReference as error:
        raise ValueError("a line names no reference") from error
    return Target(Repository(domain, path), reference)


def _raw(value: object) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError("a line holds no digests")
    return bytes.fromhex(value)


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a line holds no time")
    return float(value)


def _earlier(value: object) -> Iterable[tuple[bytes, float]]:
    if not isinstance(value, list) or len(value) > MAX_EARLIER:
        raise ValueError("a line holds no earlier answers")
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise ValueError("a line holds no earlier answers")
        yield _raw(item[0]), _time(item[1])


def _sync_directory(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
