"""What the text of /proc/PID/cgroup says about containers: cgroup v1, v2 and hybrid, every driver's spelling.

Text in, values out. It never reads a file, and it never takes the *place* of a name in a path as proof: names below a
container's own cgroup are the container's to choose, and those above it can be chosen by ``--cgroup-parent``. Only
``choose``, which compares with the init processes that the engine names, says which container it is.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CANDIDATES: Final = 16
"""A container can nest directories named like containers, and each name costs a question to the engine. Three levels of
Docker in Docker need three."""

_CACHED_TEXTS: Final = 256
_CACHED_TEXT_LIMIT: Final = 4096  # characters: bounds the cache to about 1 MiB, whatever names a container makes up

_ID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")

_DELETED: Final = " (deleted)"  # the kernel's mark on the path of a cgroup that is gone (kernel/cgroup/cgroup.c)


class Place(enum.Enum):
    """Where the cgroups put a process."""

    HOST = "host"
    CONTAINER = "container"  # an id is in the path; the engine must confirm it
    FOREIGN = "foreign"  # some container, but none that an engine's id names


class Candidate(NamedTuple):
    """A container id found in a path, and the path up to the component that holds it."""

    container_id: str
    path_prefix: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a process is, by its cgroups alone. ``reason`` says why it is FOREIGN, without a full stop."""

    place: Place
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""


class _Sign(NamedTuple):
    component: re.Pattern[str]
    reason: str


# Components that containers leave in a path without an id of 64 hex digits. Services that merely are called like this
# (docker.service, lxcfs.service, kubelet.service) are host processes.
_SIGNS: Final = (
    _Sign(re.compile(r"buildkit"), "a build step of BuildKit"),
    _Sign(re.compile(r".*:docker:.*"), "a build step of BuildKit"),  # runc's SLICE:PREFIX:NAME, read as a path
    _Sign(re.compile(r"docker"), "below /docker, but under no container id"),
    _Sign(re.compile(r"docker-.*\.scope"), "a scope of Docker without a container id"),
    _Sign(re.compile(r"(libpod|cri-containerd|crio|nerdctl)-.*"), "a container of another runtime"),
    _Sign(re.compile(r"libpod_parent"), "a container of Podman"),
    _Sign(re.compile(r"kubepods.*"), "a pod of Kubernetes"),
    _Sign(re.compile(r"k8s\.io|default"), "a container of containerd"),  # its namespaces, with the cgroupfs driver
    _Sign(re.compile(r"lxc|lxc\.(payload|monitor|pivot).*"), "a container of LXC"),
    _Sign(re.compile(r"machine\.slice"), "a container or machine of systemd-machined"),
    _Sign(re.compile(r"garden|mesos"), "a container of another runtime"),
    _Sign(re.compile(r"\.\."), "outside of the agent's own cgroup namespace"),
)


def hierarchies(text: str) -> dict[str, str]:
    """Return the path in each hierarchy: the key is the controller list of v1, and empty for v2.

    Only a newline ends a line: it is the one character that the kernel forbids in a cgroup's name, and a container may
    put any other separator there. A text with a line that is not of the form ``ID:CONTROLLERS:PATH`` (cgroups(7)), or
    with two for the same hierarchy, gives nothing.
    """
    paths: dict[str, str] = {}
    for line in text.removesuffix("\n").split("\n"):
        parts = line.split(":", 2)
        if len(parts) != 3 or not parts[2].startswith("/") or parts[1] in paths:
            return {}
        paths[parts[1]] = parts[2].removesuffix(_DELETED)
    return paths


def candidates(text: str) -> tuple[Candidate, ...]:
    """Return every container id in any path of ``text`` with its prefix, each pair once, in order of appearance."""
    found: dict[Candidate, None] = {}
    for path in hierarchies(text).values():
        for match in _ID.finditer(path):
            end = path.find("/", match.end())
            found[Candidate(match.group(), path if end < 0 else path[:end])] = None
    return tuple(found)


def placement(text: str) -> Placement:
    """Return where ``text`` puts its process. One sign of a container in any hierarchy is enough not to be host."""
    if len(text) > _CACHED_TEXT_LIMIT:
        return _placement(text)
    return _cached_placement(text)


def _placement(text: str) -> Placement:
    paths = hierarchies(text)
    if not paths:
        return Placement(Place.FOREIGN, reason="the kernel names no cgroup for it")
    found = candidates(text)
    if len({candidate.container_id for candidate in found}) > MAX_CANDIDATES:
        return Placement(Place.FOREIGN, reason=f"its cgroup path names more than {MAX_CANDIDATES} containers")
    if found:
        return Placement(Place.CONTAINER, candidates=found)
    for path in paths.values():
        if reason := _foreign(path):
            return Placement(Place.FOREIGN, reason=f"its cgroup is that of {path!r}: {reason}")
    return Placement(Place.HOST)


_cached_placement: Final = lru_cache(maxsize=_CACHED_TEXTS)(_placement)


def _foreign(path: str) -> str:
    """Return why ``path`` belongs to some container, or nothing."""
    for component in path.split("/"):
        for sign in _SIGNS:
            if sign.component.fullmatch(component):
                return sign.reason
    return ""


def home(container_id: str, path: str) -> str | None:
    """Return the cgroup that the engine made for a container, from the path of its init process.

    It ends at the *outermost* component that holds the id: init may have moved itself deeper, as systemd and Docker in
    Docker do, and whatever is below is the container's own; above it, nobody could have known the id beforehand.
    """
    match = re.search(f"(?<![0-9a-f]){re.escape(container_id)}(?![0-9a-f])", path)
    if match is None:
        return None
    end = path.find("/", match.end())
    return path if end < 0 else path[:end]


def choose(peer_text: str, inits: Mapping[str, str]) -> str | None:
    """Return the id of the container that holds the peer, or None where that is not certain.

    ``inits`` maps the id of each candidate that the engine says is running to the cgroup text of its init process. In
    one hierarchy the container with the longest home that contains the peer's path wins. All hierarchies in which the
    peer shows any sign of a container must name the same one.
    """
    homes = {container_id: hierarchies(text) for container_id, text in inits.items()}
    winner: str | None = None
    for hierarchy, path in hierarchies(peer_text).items():
        best, longest = None, 0
        for container_id, paths in homes.items():
            root = home(container_id, paths.get(hierarchy, ""))
            if root is not None and len(root) > longest and f"{path}/".startswith(f"{root}/"):
                best, longest = container_id, len(root)
        if best is None:
            if _ID.search(path) or _foreign(path):
                return None
        elif winner is None:
            winner = best
        elif winner != best:
            return None
    return winner
