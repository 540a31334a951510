"""Docker's commands and the endpoints that each of them uses.

Owns ``commands.tsv`` and the names that a command list may use: those of ``docker --help``, their documented
aliases, and Docker Desktop's six wildcards. It must never decide anything: policy does.

The columns of the table: *characteristic* endpoints, without which the command cannot do its work, so
that denying them blocks it; *supporting* ones, which an allow list must open as well. Endpoints stand as
``METHOD /path (note)``, separated by ``|``. Several rows may have one name; a ``(no CLI)`` row names
endpoints that only other clients use, and belongs to its group all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import Final

from sockwarden.dockerapi.routes import OPERATION_KEYS


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table. ``name`` is "" for endpoints without a command; ``label`` is never empty."""

    name: str
    label: str
    groups: tuple[str, ...]
    characteristic: frozenset[str]
    supporting: frozenset[str]


ALWAYS: Final = frozenset({"HEAD /_ping", "GET /_ping", "GET /version", "OPTIONS /{any}"})
"""Negotiation: without these no client can even read the refusal. They pass whatever a list says."""

UNSUPPORTED: Final = frozenset(
    {"compose", "dev", "extension", "feedback", "init", "manifest", "plugin", "sbom", "scout", "trust"}
)
"""Commands that Docker Desktop's command list does not support, each with its subcommands."""

WILDCARDS: Final = ("container*", "image*", "volume*", "network*", "build*", "system*")
"""Docker Desktop's names for all ``docker <group> ...`` commands."""

OTHER: Final = "other"
"""The label of a request that is no command's."""

_PREFIXES: Final = (
    "builder",
    "buildx",
    "swarm",
    "node",
    "service",
    "stack",
    "secret",
    "config",
    "context",
    "checkpoint",
)
"""Management commands of ``docker --help`` without a wildcard: the bare word means all subcommands."""

# fmt: off
_CONTAINER_VERBS: Final = (
    "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port", "rename", "restart",
    "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait",
)
_IMAGE_VERBS: Final = ("history", "import", "load", "pull", "push", "save", "tag")
_LISTED: Final = ("volume", "network", "node", "service", "stack", "secret", "config", "context", "checkpoint")
# fmt: on

_PS: Final = ("ps", "container ls")
_IMAGES: Final = ("images", "image ls")
_RMI: Final = ("rmi", "image rm")
_BUILD: Final = ("build", "image build", "builder build")
_EVENTS: Final = ("events", "system events")
_INFO: Final = ("info", "system info")

_ALIASES: Final = {
    **{f"container {verb}": (verb,) for verb in _CONTAINER_VERBS},
    **{f"image {verb}": (verb,) for verb in _IMAGE_VERBS},
    **{f"{noun} list": (f"{noun} ls",) for noun in _LISTED},
    **{f"{noun} remove": (f"{noun} rm",) for noun in _LISTED},
    **dict.fromkeys((*_PS, "container list", "container ps"), _PS),
    **dict.fromkeys((*_IMAGES, "image list"), _IMAGES),
    **dict.fromkeys((*_RMI, "image remove"), _RMI),
    **dict.fromkeys(_BUILD, _BUILD),
    **dict.fromkeys(_EVENTS, _EVENTS),
    **dict.fromkeys(_INFO, _INFO),
    "container remove": ("rm",),
    "stack down": ("stack rm",),
    "stack up": ("stack deploy",),
}
"""The aliases that ``docker COMMAND --help`` (CLI 28) prints, as names of rows."""

_LABELS: Final = {
    "POST /grpc": "build",
    "POST /session": "build",
    "POST /services/{id}/update": "service update",
    "GET /tasks": "task ls",
    "GET /tasks/{id}": "task inspect",
}
"""Endpoints for which the row with the fewest endpoints has a misleading name."""

_VARIABLE: Final = re.compile(r"\{\w+\}")
_ENDPOINT: Final = re.compile(r"([A-Z]+ /\S*)(?: \([^|]*\))?")


def _shape(key: str) -> str:
    return _VARIABLE.sub("{}", key)


_KEY_OF_SHAPE: Final = {_shape(key): key for key in OPERATION_KEYS}


def _read_cell(cell: str) -> frozenset[str]:
    """Return the operation keys of one cell, spelled as in the route table."""
    keys = set()
    for piece in cell.split(" | ") if cell else ():
        endpoint = _ENDPOINT.fullmatch(piece)
        if endpoint is None or _shape(endpoint[1]) not in _KEY_OF_SHAPE:
            raise AssertionError(f"commands.tsv names an endpoint that the engine does not have: {piece!r}")
        keys.add(_KEY_OF_SHAPE[_shape(endpoint[1])])
    return frozenset(keys)


def _read_row(line: str) -> Command:
    title, groups, characteristic, supporting = line.split("\t")
    label = title.removeprefix("(no CLI) ")
    name = "" if label != title else title.partition(" (")[0]
    return Command(
        name=name,
        label=name or label,
        groups=() if groups == "none" else tuple(groups.split(",")),
        characteristic=_read_cell(characteristic),
        supporting=_read_cell(supporting),
    )


def _read_table() -> tuple[Command, ...]:
    text = resources.files(__package__ or "sockwarden.dockerapi").joinpath("commands.tsv").read_text(encoding="utf-8")
    return tuple(_read_row(line) for line in text.splitlines()[1:])


COMMANDS: Final = _read_table()
"""Every row of the table, in its order."""


def is_unsupported(name: str) -> bool:
    """Tell whether ``name``, or the command that it is a subcommand of, is one that a command list cannot hold."""
    return name.partition(" ")[0] in UNSUPPORTED


def _resolve_all() -> dict[str, frozenset[Command]]:
    supported = [command for command in COMMANDS if not is_unsupported(command.label)]
    rows: dict[str, set[Command]] = {}
    for command in supported:
        if command.name:
            rows.setdefault(command.name, set()).add(command)
    names = {name: frozenset(commands) for name, commands in rows.items()}
    for alias, targets in _ALIASES.items():
        names[alias] = frozenset().union(*(rows[target] for target in targets))
    for wildcard in WILDCARDS:
        names[wildcard] = frozenset(command for command in supported if wildcard in command.groups)
        if wildcard != "build*":  # ``docker build`` is a command, its group word is ``builder``
            names[wildcard[:-1]] = names[wildcard]
    for prefix in _PREFIXES:
        names[prefix] = frozenset(command for command in supported if command.name.startswith(f"{prefix} "))
    return names


_RESOLVED: Final = _resolve_all()

COMMAND_NAMES: Final = frozenset(_RESOLVED)
"""Every name that a command list may hold: commands, aliases, group words and wildcards."""


def resolve_command(name: str) -> frozenset[Command] | None:
    """Return the rows that ``name`` stands for, or None where a command list may not hold it.

    Names are exact: lower case, single spaces, without "docker". None is the answer for an unsupported
    command too; ``is_unsupported`` tells it from an unknown one.
    """
    return _RESOLVED.get(name)


def _label_all() -> dict[str, str]:
    labels: dict[str, tuple[bool, int, str]] = {}
    for command in COMMANDS:
        rank = (not command.name, len(command.characteristic), command.label)
        for key in command.characteristic:
            if key not in labels or rank[:2] < labels[key][:2]:
                labels[key] = rank
    return {key: label for key, (_, _, label) in labels.items()} | _LABELS


_LABEL_OF: Final = _label_all()

COMMAND_LABELS: Final = frozenset(_LABEL_OF.values()) | {OTHER}
"""Every answer of ``command_for``: a label set that no client can widen."""


def command_for(key: str | None) -> str:
    """Return the name to show for an operation key in metrics and audit records; "other" for None or a foreign key."""
    return OTHER if key is None else _LABEL_OF.get(key, OTHER)
