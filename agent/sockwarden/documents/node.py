"""The values of a document, each with its place. The same four kinds serve JSON and TOML.

Nodes carry no meaning: what a document may hold is decided by whoever reads it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sockwarden.documents.place import Place

ScalarValue = str | int | float | bool | dt.date | dt.time | None
"""What JSON and TOML have as single values (``datetime.datetime`` is a ``datetime.date``)."""

_SCALAR_KINDS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (str, "a string"),
    (bool, "a boolean"),  # before int, of which it is a subclass
    ((int, float), "a number"),
    ((dt.date, dt.time), "a date or time"),
    (type(None), "null"),
)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value."""

    place: Place
    value: ScalarValue

    @property
    def kind(self) -> str:
        """Say what this is, with its article, for messages."""
        return next(name for types, name in _SCALAR_KINDS if isinstance(self.value, types))

    def plain(self) -> object:
        """Return the value as Python's own type."""
        return self.value


@dataclass(frozen=True, slots=True)
class Array:
    """An ordered list of nodes."""

    place: Place
    items: tuple[Node, ...]

    @property
    def kind(self) -> str:
        """Say what this is, with its article, for messages."""
        return "an array"

    def plain(self) -> object:
        """Return the items as a list of Python's own types."""
        return [item.plain() for item in self.items]


@dataclass(frozen=True, slots=True)
class Member:
    """One key of an object with its value. ``place`` is that of the key."""

    key: str
    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class Object:
    """Named members in the order of the text; no name stands twice."""

    place: Place
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        if len({member.key for member in self.members}) != len(self.members):
            raise AssertionError("an object holds each key once")

    @property
    def kind(self) -> str:
        """Say what this is, with its article, for messages."""
        return "an object"

    def plain(self) -> object:
        """Return the members as a dictionary of Python's own types."""
        return {member.key: member.value.plain() for member in self.members}


@dataclass(frozen=True, slots=True)
class Broken:
    """A value that could not be read. Its fault is reported already, so readers pass over it in silence."""

    place: Place

    @property
    def kind(self) -> str:
        """Say what this is, with its article, for messages."""
        return "an unreadable value"

    def plain(self) -> object:
        """Return None, which stands in for the value that could not be read."""
        return None


Node = Scalar | Array | Object | Broken
