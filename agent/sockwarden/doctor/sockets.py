"""The sockets of this host that give the power of an engine, under guard or not, and who in a container holds one.

Owns where engines put their sockets when nobody tells them otherwise. Must not connect to any.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.doctor.facts import HolderFact, SocketFact, Told, Untold
from sockwarden.errors import KernelError
from sockwarden.identity.cgroup import Place, placement
from sockwarden.identity.peer import PROCFS
from sockwarden.kernel import process
from sockwarden.kernel.holders import scan
from sockwarden.kernel.sockets import SocketIdentity, identify

if TYPE_CHECKING:
    from collections.abc import Iterable

USUAL_PLACES: Final = (
    ("run/docker.sock", "Docker Engine"),
    ("run/sockwarden/engine.sock", "Docker Engine"),
    ("run/user/*/docker.sock", "rootless Docker Engine"),
    ("run/containerd/containerd.sock", "containerd"),
    ("run/docker/containerd/containerd.sock", "containerd of Docker Engine"),
    ("run/k3s/containerd/containerd.sock", "containerd of k3s"),
    ("run/buildkit/buildkitd.sock", "BuildKit"),
    ("run/user/*/buildkit/buildkitd.sock", "rootless BuildKit"),
    ("run/podman/podman.sock", "Podman"),
    ("run/user/*/podman/podman.sock", "rootless Podman"),
    ("run/crio/crio.sock", "CRI-O"),
    ("run/cri-dockerd.sock", "cri-dockerd"),
)
"""Below the root directory: the defaults of moby, containerd, buildkit, podman, cri-o, cri-dockerd and k3s."""


def find(own: Iterable[SocketFact], configured: str, root: Path = Path("/")) -> tuple[SocketFact, ...]:
    """Return the sockets that the agent guards (``own``), then those that it does not: one fact for each object."""
    facts = {(fact.device, fact.inode): fact for fact in own}
    places = [(path, kind) for pattern, kind in USUAL_PLACES for path in sorted(glob.glob(str(root / pattern)))]
    for path, kind in [(configured, "Docker Engine"), *places]:
        try:
            identity = identify(Path(path))
        except KernelError:
            continue  # no socket at this moment: nothing that could be connected to
        fact = SocketFact(path, kind, identity.device, identity.inode, guarded=False)
        facts.setdefault((identity.device, identity.inode), fact)
    return tuple(facts.values())


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
