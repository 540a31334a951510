"""TOML with places: the standard library's ``tomllib`` says what a file means, this module where it stands.

``tomllib`` keeps no places, so a second pass walks over the text. It runs only on text that ``tomllib``
has accepted, and therefore need not check the grammar again.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final, cast

from sockwarden.documents.faults import FaultList, quoted
from sockwarden.documents.json import MAX_DEPTH
from sockwarden.documents.node import Array, Broken, Member, Node, Object, Scalar, ScalarValue
from sockwarden.documents.place import START, UNKNOWN, LineIndex, Place
from sockwarden.documents.text import decode

_Path = tuple[str | int, ...]

# The grammar of toml.io, version 1.0.0, reduced to what tells one token from the next.
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE: Final = re.compile(r"[^,\]}#\n]+")
_SYNTAX_PLACE: Final = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)\Z")

_LONG_KEY: Final = re.compile(
    r"""(?<![\w-])(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % MAX_DEPTH  # noqa: UP031 -- braces
)
"""A key of more names than may be nested. ``tomllib`` spends the square of their number in time and memory: 32,000
take 4 GB. Text between quotes or in a comment with as many dots is refused too, and nobody writes that."""


def scan_toml(text: bytes, faults: FaultList) -> Object | Broken:
    """Return the table of a TOML file with places, or ``Broken`` with the fault recorded in ``faults``."""
    decoded = decode(text, faults)
    if decoded is None:
        return Broken(START)
    long_key = _LONG_KEY.search(decoded)
    if long_key is not None:
        place = LineIndex(decoded).place(long_key.start())
        faults.add(place, f"a key of more than {MAX_DEPTH} names", "flatten this part of the document")
        return Broken(START)
    try:
        values = tomllib.loads(decoded)
    except tomllib.TOMLDecodeError as error:
        place, message = _syntax_fault(str(error), decoded)
        faults.add(place, f"not TOML: {message}", "repair this line")
        return Broken(START)
    except (RecursionError, ValueError):  # ValueError: an integer beyond sys.get_int_max_str_digits()
        faults.add(UNKNOWN, "a value is nested too deeply, or a number is too long", "flatten or shorten the value")
        return Broken(START)
    for key, value in values.items():
        if _depth(value) > MAX_DEPTH:
            message = f"{quoted(key)} is nested more than {MAX_DEPTH} levels deep"
            faults.add(UNKNOWN, message, "flatten this part of the document")
            return Broken(START)
    walk = _Walk(decoded)
    walk.document()
    return cast("Object", walk.node(values, ()))


def _syntax_fault(message: str, text: str) -> tuple[Place, str]:
    """Split the place from tomllib's message; it counts lines and columns as we do."""
    match = _SYNTAX_PLACE.search(message)
    if match is None:
        return UNKNOWN, message
    if match[1] is None:
        return LineIndex(text).place(len(text)), f"{message[: match.start()]} at the end of the file"
    return Place(int(match[1]), int(match[2])), message[: match.start()]


def _depth(value: object) -> int:
    """Return the levels of nesting, without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


class _Walk:
    """Finds the place of each key and each value by its path (names, and indexes of arrays)."""

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._lines: Final = LineIndex(text)
        self._at = 0
        self._keys: dict[_Path, Place] = {}
        self._values: dict[_Path, Place] = {(): START}
        self._table_arrays: dict[_Path, int] = {}

    def node(self, value: object, path: _Path) -> Node:
        """Return ``value``, which stands at ``path``, as a node."""
        place = self._values[path]
        if isinstance(value, dict):
            members = (Member(key, self._keys[*path, key], self.node(v, (*path, key))) for key, v in value.items())
            return Object(place, tuple(members))
        if isinstance(value, list):
            return Array(place, tuple(self.node(item, (*path, index)) for index, item in enumerate(value)))
        return Scalar(place, cast("ScalarValue", value))

    def document(self) -> None:
        """Walk over the whole text."""
        table: _Path = ()
        while self._skip_blank() < len(self._text):
            if self._take("[["):
                table = self._header(element=True)
            elif self._take("["):
                table = self._header(element=False)
            else:
                self._pair(table)

    def _header(self, *, element: bool) -> _Path:
        """Read the rest of ``[a.b]`` or ``[[a.b]]`` and return the path of the table that it opens."""
        path: _Path = ()
        place = self._lines.place(self._skip_blank())
        names = self._key()
        for index, (name, name_place) in enumerate(names, start=1):
            path = (*path, name)
            self._keys.setdefault(path, name_place)
            self._values.setdefault(path, name_place)
            if element and index == len(names):
                self._table_arrays[path] = self._table_arrays.get(path, -1) + 1
            if path in self._table_arrays:  # names beyond this one belong to the newest element
                path = (*path, self._table_arrays[path])
        self._values.setdefault(path, place)
        self._take("]]" if element else "]")
        return path

    def _pair(self, table: _Path) -> None:
        path = table
        for name, place in self._key():
            path = (*path, name)
            self._keys.setdefault(path, place)
            self._values.setdefault(path, place)
        self._take("=")
        self._value(path)

    def _key(self) -> list[tuple[str, Place]]:
        """Read a dotted key; return each of its names with its place."""
        names: list[tuple[str, Place]] = []
        while True:
            start = self._skip_blank()
            if self._text[start] in "\"'":
                quoted_key = self._step(_STRING)
                name = cast("str", tomllib.loads(f"key = {quoted_key}")["key"])
            else:
                name = self._step(_BARE_KEY)
            names.append((name, self._lines.place(start)))
            if not self._take("."):
                return names

    def _value(self, path: _Path) -> None:
        start = self._skip_blank()
        self._values[path] = self._lines.place(start)
        if self._take("["):
            index = 0
            while not self._take("]"):
                self._value((*path, index))
                self._take(",")
                index += 1
        elif self._take("{"):
            while not self._take("}"):
                self._pair(path)
                self._take(",")
        else:
            self._step(_STRING if self._text[start] in "\"'" else _BARE_VALUE)

    def _skip_blank(self) -> int:
        self._step(_BLANK)
        return self._at

    def _take(self, token: str) -> bool:
        """Step over ``token`` if it comes next, after white space and comments."""
        if not self._text.startswith(token, self._skip_blank()):
            return False
        self._at += len(token)
        return True

    def _step(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None  # noqa: S101 -- tomllib has accepted the text
        self._at = match.end()
        return match.group()
