"""Reading an object key by key: types, choices, and what nobody asked for.

Owns how a wrong type and an unknown key are worded. A reader gets the default where a value is wrong,
so that it goes on and finds the other faults of the file.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeVar

from sockwarden.documents.faults import FaultList, quoted
from sockwarden.documents.node import Array, Broken, Node, Object, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockwarden.documents.place import Place

MAX_ITEMS: Final = 20_000
"""Items of one list. Each image costs requests to a registry, each command a look-up for every operation."""

_Choice = TypeVar("_Choice", bound=enum.Enum)


class Text:
    """A string of a document with its place."""

    __slots__ = ("place", "text")

    def __init__(self, text: str, place: Place) -> None:
        self.text: Final = text
        self.place: Final = place


class Fields:
    """The members of one object. Every key that is asked for is known; ``finish`` reports the others."""

    def __init__(self, node: Node | None, path: str, faults: FaultList) -> None:
        """Read ``node``, which stands at the dotted ``path`` ("" for the whole file); None is an empty object."""
        self.path: Final = path
        self._faults: Final = faults
        self._known: Final[set[str]] = set()
        self.members: Final = node.members if isinstance(node, Object) else ()
        self._by_key: Final = {member.key: member for member in self.members}
        if node is not None and not isinstance(node, (Object, Broken)):
            message = f"{path or 'the document'} must be an object, not {node.kind}"
            faults.add(node.place, message, "write its keys and values")

    def has(self, key: str) -> bool:
        """Return whether ``key`` is written at all, whatever its value."""
        return key in self._by_key

    def place(self, key: str) -> Place:
        """Return where ``key``, which must be there, is written."""
        return self._by_key[key].place

    def value_place(self, key: str) -> Place:
        """Return where the value of ``key``, which must be there, is written."""
        return self._by_key[key].value.place

    def node(self, key: str) -> Node | None:
        """Return the value of ``key`` as it stands there, or None."""
        self._known.add(key)
        member = self._by_key.get(key)
        return member.value if member else None

    def section(self, key: str) -> Fields:
        """Return the object at ``key``, empty if there is none."""
        return Fields(self.node(key), self._name(key), self._faults)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return the boolean at ``key``."""
        node = self.node(key)
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self._wrong_type(node, self._name(key), "true or false", "write true or false, without quotes")
        return default

    def text(self, key: str) -> Text | None:
        """Return the string at ``key``, or None."""
        node = self.node(key)
        return None if node is None else self._text(node, self._name(key))

    def choice(self, key: str, default: _Choice) -> _Choice:
        """Return the member of the enumeration of ``default`` whose value stands at ``key``."""
        found = self.text(key)
        if found is None:
            return default
        choices = {str(member.value): member for member in type(default)}
        if found.text not in choices:
            self._faults.unknown(found.place, f"value of {self._name(key)}:", found.text, choices)
        return choices.get(found.text, default)

    def texts(self, key: str) -> tuple[Text, ...]:
        """Return the strings of the list at ``key``, empty if there is none; at most ``MAX_ITEMS``."""
        node = self.node(key)
        if not isinstance(node, Array):
            self._wrong_type(node, self._name(key), "a list of strings", 'write ["…", "…"]')
            return ()
        if len(node.items) > MAX_ITEMS:
            message = f"{self._name(key)} has {len(node.items)} items; the limit is {MAX_ITEMS}"
            self._faults.add(node.items[MAX_ITEMS].place, message, "shorten the list")
        found = (self._text(item, f"{self._name(key)}[{i}]") for i, item in enumerate(node.items[:MAX_ITEMS]))
        return tuple(text for text in found if text is not None)

    def finish(self, also_known: Iterable[str] = ()) -> None:
        """Record every key that nobody has asked for as a fault."""
        known = self._known.union(also_known)
        for member in self.members:
            if member.key not in known:
                self._faults.unknown(member.place, "key", member.key, known, self.path)

    def _name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _text(self, node: Node, name: str) -> Text | None:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return Text(node.value, node.place)
        self._wrong_type(node, name, "a string", "put it into double quotes")
        return None

    def _wrong_type(self, node: Node | None, name: str, wanted: str, remedy: str) -> None:
        if node is not None and not isinstance(node, Broken):
            shown = f" {quoted(node.value)}" if isinstance(node, Scalar) and isinstance(node.value, str) else ""
            self._faults.add(node.place, f"{name} must be {wanted}, not {node.kind}{shown}", remedy)
