"""The sockets of this host that give the power of an engine, under guard or not, and who in a container holds one.

Looks where engines put their sockets when nobody tells them otherwise, and at what engines that run have open. Must not
connect to any.
"""

from __future__ import annotations

import glob
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from sockwarden.config import MOVED_SOCKET, PUBLIC_SOCKET
from sockwarden.doctor.engines import hosts_of
from sockwarden.doctor.facts import HolderFact, SocketFact, Told, Untold
from sockwarden.errors import KernelError
from sockwarden.identity.cgroup import Place, placement
from sockwarden.identity.peer import PROCFS
from sockwarden.kernel.connections.holders import scan
from sockwarden.kernel.connections.sockets import SocketIdentity, identify
from sockwarden.kernel.life import process
from sockwarden.service.hostonly import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENGINES: Final = {
    "dockerd": "Docker Engine",
    "containerd": "containerd",
    "buildkitd": "BuildKit",
    "podman": "Podman",
    "crio": "CRI-O",
    "cri-dockerd": "cri-dockerd",
}
"""Processes by their short names, and what they are."""

_NAMES: Final = re.compile(r"(docker|engine|containerd|buildkitd|podman|crio|cri-dockerd)\.sock(\.ttrpc)?")
"""Sockets of engines, wherever they are told to listen; their others (metrics, plugins, debug) have no such power."""

_DOCKER: Final = ((MOVED_SOCKET, "Docker Engine"), (PUBLIC_SOCKET, "Docker Engine"))


def find(own: Iterable[SocketFact], configured: str, root: Path = Path("/")) -> tuple[SocketFact, ...]:
    """Return the sockets that the agent guards (``own``), then those that it does not: one fact for each object."""
    facts = {(fact.device, fact.inode): fact for fact in own}
    usual = [(path, kind) for pattern, kind in KNOWN for path in sorted(glob.glob(f"{root}/{pattern.lstrip('/')}"))]
    for path, kind in [(configured, "Docker Engine"), *_DOCKER, *usual, *_of_processes()]:
        try:
            identity = identify(Path(path))
        except KernelError:
            continue  # no socket at this moment: nothing that could be connected to
        fact = SocketFact(path, kind, identity.device, identity.inode, guarded=False)
        facts.setdefault((identity.device, identity.inode), fact)
    return tuple(facts.values())


def _of_processes() -> Iterator[tuple[str, str]]:
    """Yield the sockets that engines' processes have open under names that engines use, as seen from here."""
    for found in psutil.process_iter(["name"]):
        kind = ENGINES.get(found.info["name"])
        if kind is None:
            continue
        asked = _asked(found)
        for path in bound_paths(found):
            if path in asked or _NAMES.fullmatch(posixpath.basename(path)):
                yield _from_here(found.pid, path), kind


def _from_here(pid: int, path: str) -> str:
    """Return the path by which we reach what ``path`` is for a process: the same one, unless its view differs."""
    theirs = f"/proc/{pid}/root{path}"
    try:
        return path if identify(Path(path)) == identify(Path(theirs)) else theirs
    except KernelError:
        return theirs


def _asked(found: psutil.Process) -> set[str]:
    """Return the paths at which an engine's options tell it to listen."""
    try:
        return {host.removeprefix("unix://") for host in hosts_of(found.cmdline()) if host.startswith("unix://")}
    except (psutil.Error, OSError):
        return set()


def bound_paths(found: psutil.Process) -> tuple[str, ...]:
    """Return the paths that a process's unix sockets were bound to, sorted; none if it has ended."""
    # psutil 6 has renamed it, and warns of the old name.
    connections = getattr(found, "net_connections", None) or found.connections
    try:
        paths = {str(one.laddr) for one in connections("unix")}
    except (psutil.Error, OSError):
        return ()
    return tuple(sorted(path for path in paths if path.startswith("/")))


def held_by_containers(sockets: Iterable[SocketFact]) -> Told[HolderFact] | Untold:
    """Return the processes in containers that hold a connection to one of ``sockets``."""
    paths = {SocketIdentity(fact.device, fact.inode): fact.path for fact in sockets}
    try:
        found = scan(paths.keys()).holders
    except OSError as error:
        return Untold(f"socket diag failed: {error.strerror}", "run as root, on a kernel with CONFIG_UNIX_DIAG")
    facts = []
    for holder in dict.fromkeys(found):
        lines = PROCFS.cgroup(holder.pid) or ""
        if lines and placement(lines).place is not Place.HOST:
            where = process.cgroup_path(holder.pid) or "a container"
            facts.append(HolderFact(holder.pid, process.name(holder.pid), where, paths[holder.identity]))
    return Told(tuple(facts))
