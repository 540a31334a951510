"""The lock file: what every entry of one policy stood for when a fleet's operator asked once.

Owns its form, and that it belongs to exactly one policy. It must never be taken for another policy's, and never be
completed from anywhere else: what it does not hold is not allowed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sockwarden.dockerapi.reference import InvalidReference, parse_entry
from sockwarden.errors import DocumentError, Fault
from sockwarden.images.hints import repository_of
from sockwarden.images.resolver import MAX_MANIFESTS, Parts, Target
from sockwarden.model import DIGEST

if TYPE_CHECKING:
    from sockwarden.dockerapi.reference import ImagePattern

VERSION: Final = 1
"""Of the form of the file."""

MAX_LOCK_BYTES: Final = 64 * 1024 * 1024
"""10,000 entries with eight platforms each take 16 MiB."""

LAZY: Final = (
    "it stands for more than one reference, so that it cannot be locked; with this file it allows nothing: "
    "list the tags or digests that are needed"
)
"""What the file says of an entry with a pattern."""

_KIND: Final = "digests-lock"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_REMEDY: Final = "write it again with sockwarden digests lock"


@dataclass(frozen=True, slots=True)
class Lock:
    """The locked parts by entry, and the entries that cannot be locked. ``created`` is a time in RFC 3339."""

    policy_sha256: str
    created: str
    entries: dict[str, Parts]
    lazy: tuple[str, ...] = ()

    def answers(self) -> dict[Target, bytes]:
        """Return the packed digests of each target, as ``Resolver.lock`` takes them."""
        return {
            target: parts.answer
            for text, parts in self.entries.items()
            if (target := target_of(parse_entry(text))) is not None
        }


def target_of(pattern: ImagePattern) -> Target | None:
    """Return the one reference that an entry stands for, None for a pattern."""
    if pattern.is_everything or not pattern.is_single:
        return None
    reference = pattern.reference
    return Target(repository_of(reference), reference.digest or reference.tag or "")


def render_lock(lock: Lock) -> str:
    """Return the text of the file: JSON, the same for the same lock, in an order that diffs well."""
    entries: dict[str, Any] = {text: {"locked": False, "reason": LAZY} for text in lock.lazy}
    for text, parts in lock.entries.items():
        entries[text] = {
            "target": str(target_of(parse_entry(text))),
            "digest": parts.root,
            "index": sorted(parts.indexes),
            "manifests": sorted(parts.manifests),
            "configs": sorted(parts.configs),
        }
    document = {
        "sockwarden": _KIND,
        "version": VERSION,
        "policy_sha256": lock.policy_sha256,
        "created": lock.created,
        "entries": dict(sorted(entries.items())),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse_lock(text: bytes, file: str) -> Lock:
    """Return what a lock file says.

    Raises:
        DocumentError: it is no lock file of this version, or a part of it makes no sense.
    """
    try:
        return _lock(json.loads(text, object_pairs_hook=_object))
    except (ValueError, RecursionError, InvalidReference) as error:
        raise DocumentError([Fault(file, 0, 0, f"it is no lock file that can be used: {error}", _REMEDY)]) from error


def check_policy(lock: Lock, file: str, policy_sha256: str, policy_file: str) -> None:
    """Let a lock count only for the policy that it was written for.

    Raises:
        DocumentError: it was written for another one.
    """
    if lock.policy_sha256 == policy_sha256:
        return
    message = (
        f"it was written on {lock.created} for the policy with sha256 {lock.policy_sha256}, and {policy_file} has "
        f"{policy_sha256}"
    )
    remedy = f"put the policy there that it belongs to, or run: sockwarden digests lock --policy {policy_file}"
    raise DocumentError([Fault(file, 0, 0, message, f"{remedy} --output {file}")])


def _lock(document: object) -> Lock:
    if not isinstance(document, dict) or document.get("sockwarden") != _KIND:
        _refuse('there is no "sockwarden": "digests-lock" in it')
    if document.get("version") != VERSION:
        _refuse(f"it is of version {document.get('version')!r}, and this sockwarden reads {VERSION}")
    policy, created, entries = document.get("policy_sha256"), document.get("created"), document.get("entries")
    if not isinstance(policy, str) or not _SHA256.fullmatch(policy):
        _refuse("policy_sha256 is no SHA-256")
    if not isinstance(created, str) or not isinstance(entries, dict):
        _refuse("created or entries is missing")
    locked: dict[str, Parts] = {}
    lazy: list[str] = []
    for text, entry in entries.items():
        target = target_of(parse_entry(text))
        if isinstance(entry, Parts) and target is not None:
            if target.pinned and target.reference != entry.root:
                _refuse(f"the digest of {text!r} is another one than the entry names")
            locked[text] = entry
        elif isinstance(entry, dict) and entry.get("locked") is False:
            lazy.append(text)
        else:
            _refuse(f"the entry {text!r} holds no digests, or none can be locked")
    return Lock(policy, created, locked, tuple(lazy))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Parts:
    """Pack an entry as soon as it is read, so that ten thousand of them never lie there as texts."""
    document = dict(pairs)
    if len(document) != len(pairs):
        _refuse("a key stands twice in one object")
    return _parts(document) if "digest" in document else document


def _parts(entry: dict[str, Any]) -> Parts:
    root, name = entry["digest"], entry.get("target")
    kinds: list[Any] = [entry.get(key) for key in ("index", "manifests", "configs")]
    if not _is_digest(root) or not all(map(_are_digests, kinds)):
        _refuse(f"the entry of {name!r} holds something else than digests")
    try:
        return Parts.of(root, *kinds)
    except ValueError:
        _refuse(f"the digest of {name!r} is none of its index and manifests")


def _are_digests(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_MANIFESTS and all(map(_is_digest, value))


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)
