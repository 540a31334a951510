"""Checks a decoded body against the shape of the Go structure that the engine decodes it into.

Owns the rule that every key has one meaning: in a structure only the exact names of its table, in a map any key.
Must never look at what a value allows; that is policy.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from sockwarden.dockerapi.gojson import dotted, fold, read_object
from sockwarden.errors import ClientError

_UPGRADE: Final = "remove the field, or use a version of sockwarden that knows it"


class Fault(Exception):  # noqa: N818 - it is one fault of the client, turned into a ClientError at the top
    """What is wrong with one value; ``path`` grows from the innermost key outwards."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem: Final = problem
        self.remedy: Final = remedy
        self.path: Final[list[str | int]] = []


class Kind(Protocol):
    """The shape of a value. A member that is ``null`` is never checked: Go leaves it unset, whatever its type."""

    def check(self, value: Any) -> None:
        """Raise ``Fault`` when Go could not decode ``value``, or when it could be read in two ways."""


class Leaf:
    """A value that is not looked into: of one of ``types``, or of any type when there are none."""

    __slots__ = ("_name", "_types")

    def __init__(self, name: str, *types: type) -> None:
        self._name = name
        self._types = frozenset(types)

    def check(self, value: Any) -> None:
        """Refuse a value of another type."""
        if self._types and type(value) not in self._types:
            raise Fault(f"is not {self._name}")


class ListOf:
    """A JSON list whose items all have one kind. A ``null`` item is refused: Go makes an empty value of it."""

    __slots__ = ("_item",)

    def __init__(self, item: Kind) -> None:
        self._item = item

    def check(self, value: Any) -> None:
        """Refuse what is not a list, and any item that is not of the kind."""
        if type(value) is not list:
            raise Fault("is not a list")
        check = self._item.check
        index = -1
        try:
            for item in value:
                index += 1
                check(item)
        except Fault as fault:
            fault.path.append(index)
            raise


class MapOf:
    """A Go map: any key, case-sensitive; the values all have one kind."""

    __slots__ = ("_item",)

    def __init__(self, item: Kind) -> None:
        self._item = item

    def check(self, value: Any) -> None:
        """Refuse what is not an object, and any member that is not of the kind."""
        if type(value) is not dict:
            raise Fault("is not an object")
        key = ""
        try:
            for key, item in value.items():  # noqa: B007 - the key is the place of a fault
                if item is not None:
                    self._item.check(item)
        except Fault as fault:
            fault.path.append(key)
            raise


class Misplaced:
    """A field that some engine reads here although its place is elsewhere: only ``null`` passes."""

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def check(self, value: Any) -> None:
        """Refuse any value."""
        del value
        raise Fault(self._reason, "move the field")


class Struct:
    """A Go structure: fields by their exact JSON names.

    ``scalars`` and ``ignored`` are space-separated names: of fields that are never judged, and of keys that real
    clients send and no engine reads. ``aliases`` are other spellings that real clients send for a field.
    """

    __slots__ = ("_aliases", "_folded", "fields")

    def __init__(
        self,
        scalars: str = "",
        fields: dict[str, Kind] | None = None,
        *,
        ignored: str = "",
        aliases: dict[str, str] | None = None,
    ) -> None:
        self.fields: Final[dict[str, Kind]] = {**dict.fromkeys(scalars.split(), SCALAR), **(fields or {})}
        self._folded: Final = {fold(name): name for name in self.fields}
        self._aliases: Final = aliases or {}
        self.fields.update({alias: self.fields[name] for alias, name in self._aliases.items()})
        for name in ignored.split():
            if fold(name) in self._folded:
                raise AssertionError(f"{name} is a field, it cannot be ignored")
            self.fields[name] = ANY
            self._folded[fold(name)] = name

    def check(self, value: Any) -> None:
        """Refuse an unknown field that says something, another spelling of a known one, and any faulty field."""
        if type(value) is not dict:
            raise Fault("is not an object")
        key = ""
        fields = self.fields
        try:
            for key, item in value.items():
                kind = fields.get(key)
                if kind is None:
                    self._unknown(key, item)
                elif item is not None:
                    kind.check(item)
            for key, name in self._aliases.items():
                if key in value and name in value:  # the raise gets its place below, as all others do
                    raise Fault(f"stands beside {name}, and the engine reads both as one field")  # noqa: TRY301
        except Fault as fault:
            fault.path.append(key)
            raise

    def _unknown(self, key: str, item: Any) -> None:
        name = self._folded.get(fold(key))
        if name is not None:
            raise Fault(f"is another spelling of {name}", f"write {name}")
        if item is not None:
            raise Fault("is not a field of this request that sockwarden knows", _UPGRADE)


SCALAR: Final = Leaf("a single value", str, int, float, bool)
TEXT: Final = Leaf("a string", str)
FLAG: Final = Leaf("true or false", bool)
ANY: Final = Leaf("")
ARGV: Final = Leaf("a string or a list", str, list)
STRINGS: Final = ListOf(TEXT)
LABELS: Final = MapOf(TEXT)


def read_struct(data: bytes, shape: Struct) -> dict[str, Any]:
    """Return the object in ``data`` once it can be read in one way only as ``shape``.

    Raises:
        ClientError: 400 with the place and the name of the offending key, or what ``read_object`` raises.
    """
    value = read_object(data)
    try:
        shape.check(value)
    except Fault as fault:
        place = dotted(fault.path[::-1])
        raise ClientError(f"the request body's field {place} {fault.problem}", remedy=fault.remedy) from None
    return value
