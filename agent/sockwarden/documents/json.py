"""A strict JSON reader that knows places and reports every fault that it can in one run.

Stricter than RFC 8259 where two readers could understand one text differently: duplicate keys, lone
surrogates, numbers out of range. It goes on after a fault as long as the rest can still be read in one
way only. Reads documents of the operator; bodies of requests are not its business.
"""

from __future__ import annotations

import math
import re
from typing import Final

from sockwarden.documents.faults import FaultList, quoted
from sockwarden.documents.node import Array, Broken, Member, Node, Object, Scalar
from sockwarden.documents.place import LineIndex, Place
from sockwarden.documents.text import decode

MAX_DEPTH: Final = 64
"""Levels of nesting. Docker Desktop's file needs 5; each level costs stack frames here and in every later reader."""

MAX_NUMBER_CHARACTERS: Final = 64
"""Characters of one number. Longer ones cannot be kept exactly by other readers, and cost quadratic time."""

# RFC 8259, section 2 (white space), section 6 (number), section 7 (unescaped characters of a string).
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_HEX4: Final = re.compile(r"[0-9A-Fa-f]{4}")
_WORD: Final = re.compile(r"[-+.\w$]+")
_COMMENT: Final = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?\*/", re.DOTALL)

_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_NOT_NUMBERS: Final = frozenset({"nan", "infinity", "inf"})


class _UnreadableError(Exception):
    """The rest of the text cannot be read in one way only; the fault is recorded already."""


def read_json(text: bytes, file: str) -> Node:
    """Return the one JSON value of a file, each key and value with its place.

    Raises:
        DocumentError: with every fault that could be found, sorted by place.
    """
    faults = FaultList(file)
    node = scan_json(text, faults)
    faults.raise_if_any()
    return node


def scan_json(text: bytes, faults: FaultList) -> Node:
    """Return what can be read of a JSON file, recording faults instead of raising them.

    Values that cannot be read are ``Broken``, so that the caller can go on and find its own faults too.
    """
    decoded = decode(text, faults)
    if decoded is None:
        return Broken(Place(1, 1))
    try:
        return _Reader(decoded, faults).document()
    except _UnreadableError:
        return Broken(Place(1, 1))


class _Reader:
    """Recursive descent over one text. ``_at`` is the offset of the next character to read."""

    def __init__(self, text: str, faults: FaultList) -> None:
        self._text: Final = text
        self._faults: Final = faults
        self._lines: Final = LineIndex(text)
        self._at = 0

    def document(self) -> Node:
        self._skip_space()
        node = self._value(depth=1)
        self._skip_space()
        if self._at < len(self._text):
            self._fault("there is more text after the end of the document", "keep one JSON value, and remove the rest")
        return node

    def _value(self, depth: int) -> Node:
        place = self._place()
        character = self._peek()
        if character in ("{", "["):
            if depth > MAX_DEPTH:
                raise self._stop(f"nested more than {MAX_DEPTH} levels deep", "flatten this part of the document")
            self._at += 1
            return self._object(place, depth) if character == "{" else self._array(place, depth)
        if character == '"':
            return Scalar(place, self._string())
        if _WORD.match(character):
            return self._word(place)
        raise self._stop(f"expected a value, not {self._here()}", "write a JSON value here")

    def _object(self, place: Place, depth: int) -> Object:
        members: dict[str, Member] = {}
        while self._another("}", first=not members):
            key_place = self._place()
            if self._peek() != '"':
                raise self._stop(
                    f"expected a key in double quotes, not {self._here()}", "put the key into double quotes"
                )
            key = self._string()
            self._skip_space()
            if self._peek() != ":":
                raise self._stop(
                    f"expected a colon after the key, not {self._here()}", "write a colon between key and value"
                )
            self._at += 1
            self._skip_space()
            value = self._value(depth + 1)
            if key in members:
                earlier = members[key].place
                message = f"the key {quoted(key)} stands here for the second time; first at line {earlier.line}"
                self._faults.add(key_place, message, "keep one of the two: readers differ in which one they take")
            else:
                members[key] = Member(key, key_place, value)
        return Object(place, tuple(members.values()))

    def _array(self, place: Place, depth: int) -> Array:
        items: list[Node] = []
        while self._another("]", first=not items):
            items.append(self._value(depth + 1))
        return Array(place, tuple(items))

    def _another(self, close: str, *, first: bool) -> bool:
        """Step over what separates two items. Return False, and step over ``close``, after the last one."""
        self._skip_space()
        comma_at = self._at
        comma = self._peek() == "," and not first
        if comma:
            self._at += 1
            self._skip_space()
        if self._peek() == close:
            if comma:
                self._faults.add(self._lines.place(comma_at), f"a comma before {close}", "remove the comma")
            self._at += 1
            return False
        if not (comma or first):
            # Another item without a comma can be meant in one way only; anything else cannot.
            if not (self._peek() == '"' or (close == "]" and self._peek() in ("{", "["))):
                raise self._stop(f"expected a comma or {close}, not {self._here()}", f"write a comma or {close} here")
            self._fault("a comma is missing before this", "write a comma after the item before")
        return True

    def _word(self, place: Place) -> Node:
        """Read a literal or a number, or what somebody wrote in place of one."""
        match = _WORD.match(self._text, self._at)
        assert match is not None  # noqa: S101 -- the caller has looked at the first character
        word = match.group()
        self._at = match.end()
        if word in _LITERALS:
            return Scalar(place, _LITERALS[word])
        number = _NUMBER.fullmatch(word)
        if number is not None:
            return self._number(place, number)
        if word.lower() in _LITERALS:
            self._faults.add(place, f"{quoted(word)} is not JSON", f"write {word.lower()} in lower case")
        elif word.lower().lstrip("+-") in _NOT_NUMBERS:
            self._faults.add(place, f"{quoted(word)} is not a number in JSON", "write a finite number")
        elif word[0] in "+-.0123456789":
            self._faults.add(place, f"{quoted(word)} is not a number in JSON", "write it like 12, -3 or 0.5")
        else:
            self._faults.add(place, f"{quoted(word)} is not JSON", "put text into double quotes")
        return Broken(place)

    def _number(self, place: Place, match: re.Match[str]) -> Node:
        word = match.group()
        if len(word) > MAX_NUMBER_CHARACTERS:
            message = f"a number of {len(word)} characters; the limit is {MAX_NUMBER_CHARACTERS}"
            self._faults.add(place, message, "write a shorter number")
            return Broken(place)
        if match["fraction"] is None and match["exponent"] is None:
            return Scalar(place, int(word))
        value = float(word)
        if math.isinf(value):
            self._faults.add(place, f"the number {word} is out of range", "write a smaller number")
            return Broken(place)
        return Scalar(place, value)

    def _string(self) -> str:
        """Read a string from its opening quote on. A broken escape is recorded and stands as U+FFFD."""
        opening = self._at
        self._at += 1
        parts: list[str] = []
        while True:
            match = _PLAIN.match(self._text, self._at)
            assert match is not None  # noqa: S101 -- the pattern matches the empty text
            parts.append(match.group())
            self._at = match.end()
            character = self._peek()
            if character == '"':
                self._at += 1
                return "".join(parts)
            if character in ("", "\n", "\r"):
                self._at = opening
                raise self._stop("the string is not closed on its line", "close it with a double quote")
            if character == "\\":
                parts.append(self._escape())
            else:
                message = f"a control character in a string: U+{ord(character):04X}"
                self._fault(message, f"write it as \\u{ord(character):04x}, or remove it")
                self._at += 1

    def _escape(self) -> str:
        start = self._at
        letter = self._text[start + 1 : start + 2]
        if letter in _ESCAPES:
            self._at += 2
            return _ESCAPES[letter]
        unit = self._code_unit(start)
        if unit is None:
            self._fault(f"not an escape of JSON: {quoted(self._text[start : start + 2])}", "write a backslash as \\\\")
            self._at += 1
            return "\N{REPLACEMENT CHARACTER}"
        self._at += 6
        if not 0xD800 <= unit <= 0xDFFF:
            return chr(unit)
        low = self._code_unit(self._at)
        if unit <= 0xDBFF and low is not None and 0xDC00 <= low <= 0xDFFF:
            self._at += 6
            return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        place = self._lines.place(start)
        self._faults.add(place, "half of a surrogate pair stands alone", "write the whole character, or both halves")
        return "\N{REPLACEMENT CHARACTER}"

    def _code_unit(self, offset: int) -> int | None:
        if not self._text.startswith("\\u", offset):
            return None
        match = _HEX4.match(self._text, offset + 2)
        return None if match is None else int(match.group(), 16)

    def _skip_space(self) -> None:
        """Step over white space, and over comments, which are a fault and mean nothing."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None  # noqa: S101 -- the pattern matches the empty text
            self._at = match.end()
            comment = _COMMENT.match(self._text, self._at)
            if comment is None:
                return
            self._fault("JSON has no comments", "remove the comment")
            self._at = comment.end()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _place(self) -> Place:
        return self._lines.place(self._at)

    def _here(self) -> str:
        return quoted(self._peek()) if self._peek() else "the end of the file"

    def _fault(self, message: str, remedy: str) -> None:
        self._faults.add(self._place(), message, remedy)

    def _stop(self, message: str, remedy: str) -> _UnreadableError:
        self._fault(message, remedy)
        return _UnreadableError()
