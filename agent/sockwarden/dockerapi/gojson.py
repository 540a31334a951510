"""Reads a JSON request body so that there is only one way to read it.

Owns what is wrong with a body as *text*: encoding, duplicate keys, what follows the value, depth, size. What
its keys mean is the business of ``bodies_schema``. Must never repair a body: the engine gets the client's bytes,
and Go's decoder merges duplicate objects, folds the case of keys and, up to 20.10, ignores what follows the value.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, Final, NoReturn

from sockwarden.errors import ClientError

MAX_JSON_BODY_BYTES: Final = 4 * 1024 * 1024
"""Above this the engine itself refuses a body when an authorization plugin must see it
(moby: pkg/authorization/authz.go); the largest real ones, with a seccomp profile inside, are some 100 kB."""

MAX_DEPTH: Final = 64
"""Nested objects and lists. The deepest body of the Engine API, a service, needs 9."""

MAX_SHOWN_KEY: Final = 64
"""Characters of a client's key that a message repeats."""

MAX_SEARCHED_CHARACTERS: Final = 64 * 1024
"""A faulty body up to this size is searched for the place of its fault, which takes some 60 ms at worst."""

_TOO_DEEP: Final = f"is nested deeper than {MAX_DEPTH} levels"

_FOLDS: Final = {0x17F: "s", 0x212A: "k"}
"""The only characters outside ASCII whose simple folding (Unicode CaseFolding.txt, status C) is an ASCII letter."""

_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_BOM: Final = b"\xef\xbb\xbf"


def fold(key: str) -> str:
    """Return the form under which Go's encoding/json compares a key with a field's name (foldName in fold.go)."""
    return key.translate(_FOLDS).lower()


def shown(key: str) -> str:
    """Return a client's key for a message: ASCII only, of bounded length, bare when it is a plain name."""
    short = key if len(key) <= MAX_SHOWN_KEY else key[:MAX_SHOWN_KEY] + "..."
    return short if short.isascii() and short.isprintable() else ascii(short)


def dotted(path: list[str | int]) -> str:
    """Return a place in a body as people write it: ``HostConfig.Mounts[0].Type``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else ("." if text else "") + shown(step)
    return text


def read_object(data: bytes) -> dict[str, Any]:
    """Return the one object that ``data`` holds.

    No bytes at all, and a bare ``null``, give an empty object: the engine leaves its structure as it was for
    both (moby: daemon/server/httputils ReadJSON), and docker 20.10 sends ``null`` with commit.

    Raises:
        ClientError: 413 above ``MAX_JSON_BODY_BYTES``, else 400 when the bytes can be read in two ways or in none.
    """
    if len(data) > MAX_JSON_BODY_BYTES:
        raise ClientError(f"the request body is larger than {MAX_JSON_BODY_BYTES} bytes", status=413)
    if not data:
        return {}
    if data.startswith(_BOM):
        raise ClientError("the request body starts with a byte order mark")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ClientError(f"the request body is not UTF-8 at byte {error.start}") from None
    try:
        value = _decode(text, _FAST)
    except _DuplicateKeyError as error:
        raise _named(text, f"has the key {shown(error.key)} twice") from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _refuse_deep(value)
    if _SURROGATE_ESCAPE.search(data) and not _encodable(value):
        raise _named(text, "has half a surrogate pair, which Go replaces")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ClientError("the request body is not a JSON object")
    return value


class _DuplicateKeyError(Exception):
    """Some object of the text has ``key`` twice; the fast reader does not know where."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key: Final = key


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, duplicates too, told apart from a list by its type."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateKeyError(_duplicate(pairs) or "")
    return members


def _duplicate(pairs: list[tuple[str, Any]]) -> str | None:
    """Return the first key that stands twice, if any does."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


def _no_constant(name: str) -> NoReturn:
    raise ClientError(f"the request body holds {name}, which is not JSON")


_FAST: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_EXACT: Final = json.JSONDecoder(object_pairs_hook=_Pairs, parse_constant=_no_constant)


def _decode(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        what = "has something after its JSON value" if error.msg == "Extra data" else f"is not JSON: {error.msg}"
        raise ClientError(f"the request body {what} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise ClientError(f"the request body {_TOO_DEEP}") from None
    except ValueError:  # int() refuses more than 4,300 digits
        raise ClientError("the request body holds a number that is too long") from None


def _refuse_deep(value: Any) -> None:
    """Refuse nesting beyond ``MAX_DEPTH``, level by level: a client's list may have a million members."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    if level:
        raise ClientError(f"the request body {_TOO_DEEP}")


def _encodable(value: Any) -> bool:
    """Say whether every string of ``value`` is Unicode text, without half a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(text: str, problem: str) -> ClientError:
    """Return the refusal for ``problem``, with its place where the body is small enough to be searched for it."""
    if len(text) <= MAX_SEARCHED_CHARACTERS:
        problem = _first_fault(_decode(text, _EXACT))
    return ClientError(f"the request body {problem}")


def _first_fault(value: Any) -> str:
    """Return the first fault with its place. There is one: a duplicate key or half a surrogate pair was seen.

    Iterative: the depth is the client's choice.
    """
    todo: deque[tuple[Any, list[str | int]]] = deque([(value, [])])
    while True:
        item, path = todo.popleft()
        if len(path) > MAX_DEPTH:
            return _TOO_DEEP
        if isinstance(item, _Pairs):
            key = _duplicate(item)
            if key is not None:
                return f"has the key {dotted([*path, key])} twice"
            for name, member in item:
                todo += (name, [*path, name]), (member, [*path, name])
        elif isinstance(item, list):
            todo.extend((member, [*path, index]) for index, member in enumerate(item))
        elif not _encodable(item):
            return f"has half a surrogate pair in {dotted(path)}, which Go replaces"
