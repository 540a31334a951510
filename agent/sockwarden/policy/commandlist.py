"""The command list: which of Docker's commands may come over the socket.

Owns the meaning of ``commandList``: a deny list blocks what it names, an allow list blocks everything else.
It must never look at a request: it is asked about operation keys (``dockerapi.routes.operation_key``).

A command is blocked by its characteristic endpoints, so two commands that share one are blocked together:
denying ``run`` also denies ``create`` and ``start``, as the wire shows no difference.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from sockwarden.dockerapi.commands import ALWAYS, COMMAND_NAMES, Command, command_for, resolve_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLACE: Final = "commandList.commands"
"""Where an operator finds the list in admin-settings.json."""

Kind = Literal["deny", "allow"]


@dataclass(frozen=True, slots=True)
class CommandRules:
    """A compiled command list. ``notes`` holds what an operator should know of it, a sentence each."""

    kind: Kind
    names: tuple[str, ...]
    notes: tuple[str, ...]
    _entries_of: Mapping[str, tuple[str, ...]] = field(compare=False, repr=False)

    @classmethod
    def compile(cls, kind: Kind, names: tuple[str, ...]) -> CommandRules:
        """Return the rules of a list of ``names``, each of which ``resolve_command`` knows."""
        entries_of: dict[str, tuple[str, ...]] = {}
        notes = []
        for name in dict.fromkeys(names):
            commands = resolve_command(name)
            if commands is None:
                raise AssertionError(f"not the name of a command: {name!r}")
            keys = _characteristic(commands) if kind == "deny" else _opened(commands)
            if not keys - ALWAYS:
                notes.append(_note(kind, name, has_endpoints=bool(keys)))
            for key in keys - ALWAYS:
                entries_of[key] = (*entries_of.get(key, ()), name)
        return cls(kind, names, tuple(notes), entries_of)

    def decide(self, key: str | None) -> str | None:
        """Return None where the operation passes, else the list entry that denies it ("" under an allow list).

        ``key`` is None for a request that the engine has no route for: an allow list does not name it, a deny
        list neither.
        """
        if key is None:
            return None if self.kind == "deny" else ""
        entries = self._entries_of.get(key)
        if self.kind == "deny":
            return None if entries is None else entries[0]
        return None if entries is not None or key in ALWAYS else ""

    def allowing(self, key: str | None) -> str:
        """Return what to change in the list to allow ``key``, as a sentence; "" where it passes already."""
        if self.decide(key) is None:
            return ""
        if self.kind == "deny" and key is not None:
            return f"remove {_quoted(self._entries_of[key])} from {PLACE}"
        opener = _opener(key)
        if opener is None:
            return f'no name in {PLACE} opens this request: it needs a list of the type "deny"'
        return f'add "{opener}" to {PLACE}'


def _characteristic(commands: Iterable[Command]) -> frozenset[str]:
    return frozenset().union(*(command.characteristic for command in commands))


def _opened(commands: Iterable[Command]) -> frozenset[str]:
    return frozenset().union(*(command.characteristic | command.supporting for command in commands))


def _note(kind: Kind, name: str, *, has_endpoints: bool) -> str:
    effect = "denying it blocks nothing" if kind == "deny" else "allowing it opens nothing"
    if has_endpoints:
        return f'"{name}" uses only endpoints that always pass: {effect}'
    return f'"{name}" uses no endpoint of the engine: {effect}'


def _quoted(names: tuple[str, ...]) -> str:
    return " and ".join(f'"{name}"' for name in names)


@functools.cache
def _opener(key: str | None) -> str | None:
    """Return the name to add to an allow list for ``key``, or None where no name opens it.

    That is the command which metrics and audit records name; where it does not open the endpoint, the name that
    opens least besides. The cache is bounded by the number of operation keys.
    """
    openers = {name for name in COMMAND_NAMES if key in _opened(resolve_command(name) or ())}
    label = command_for(key)
    if label in openers:
        return label
    return min(openers, key=lambda name: (len(_opened(resolve_command(name) or ())), len(name), name), default=None)
