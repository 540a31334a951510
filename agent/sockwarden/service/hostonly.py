"""Finding the sockets that no container may touch: the globs that we know, and the walk from a glob to sockets.

Owns the table and the walk. Must never guard what is not a socket, and never follow a link that somebody other than
root has made: in /run/user a user may put a link to the gateway's own socket, and no container could use it any more.
"""

from __future__ import annotations

import itertools
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sockwarden.config import DEFAULT_GLOBS
from sockwarden.documents.glob import has_magic, matches
from sockwarden.kernel.connections.sockets import SocketIdentity

KNOWN: Final[tuple[tuple[str, str], ...]] = (
    ("/run/containerd/containerd.sock", "containerd: makes containers of any power, past Docker"),
    ("/run/containerd/containerd.sock.ttrpc", "containerd: the same over ttrpc"),
    ("/run/docker/containerd/containerd.sock", "the containerd that dockerd starts itself"),
    ("/run/docker/containerd/containerd.sock.ttrpc", "the containerd that dockerd starts itself"),
    ("/run/snap.docker/containerd/containerd.sock", "the containerd of Docker's snap"),
    ("/run/nerdctl/containerd.sock", "containerd as some nerdctl set-ups have it"),
    ("/run/buildkit/buildkitd.sock", "BuildKit: runs build steps, with host power where entitled"),
    ("/run/buildkit-default/buildkitd.sock", "BuildKit for containerd's default namespace"),
    ("/run/podman/podman.sock", "Podman's engine of root"),
    ("/run/crio/crio.sock", "CRI-O: the container runtime interface of Kubernetes"),
    ("/run/cri-dockerd.sock", "cri-dockerd: the same for Docker"),
    ("/run/dockershim.sock", "dockershim: the same in old kubelets"),
    ("/run/k3s/containerd/containerd.sock", "the containerd of k3s and RKE2"),
    ("/run/k3s/containerd/containerd.sock.ttrpc", "the containerd of k3s and RKE2"),
    ("/run/k0s/containerd.sock", "the containerd of k0s"),
    ("/var/snap/microk8s/common/run/containerd.sock", "the containerd of MicroK8s"),
    ("/var/lib/lxd/unix.socket", "LXD: makes containers of any power"),
    ("/var/snap/lxd/common/lxd/unix.socket", "LXD's snap"),
    ("/var/lib/incus/unix.socket", "Incus: makes containers of any power"),
    ("/run/incus/unix.socket", "Incus: makes containers of any power"),
    ("/run/user/*/docker.sock", "rootless Docker: has the power of its user"),
    ("/run/user/*/docker/containerd/containerd.sock", "the containerd of rootless Docker"),
    ("/run/user/*/podman/podman.sock", "rootless Podman: has the power of its user"),
    ("/run/user/*/buildkit/buildkitd.sock", "rootless BuildKit"),
    ("/run/user/*/buildkit-default/buildkitd.sock", "rootless BuildKit"),
)
"""What ``default`` in ``guard.host_only`` stands for, and why each is there. /var/run is /run everywhere."""

MAX_SOCKETS: Final = 256
"""Sockets guarded for all globs together: three generations of them fit into the kernel's map of 1,024."""

MAX_ENTRIES: Final = 4096
"""Names of one folder that are looked at for a component with * in it."""

MAX_FOLDERS: Final = 512
"""Folders watched; the default globs need some 30 and four for each user who is logged in."""


@dataclass(frozen=True, slots=True)
class Match:
    """A socket that a glob led to. ``known`` if it was one of the default globs."""

    path: Path
    identity: SocketIdentity
    known: bool


@dataclass(slots=True)
class Finding:
    """What a walk found. ``folders`` are those on the way, with the components that matter in each."""

    matches: dict[SocketIdentity, Match] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    folders: dict[str, set[str]] = field(default_factory=dict)
    left_out: int = 0

    def matters(self, folder: str, name: str) -> bool:
        """Return whether a name that appeared in a folder, or left it, can change what a walk finds."""
        return any(matches(part, name) for part in self.folders.get(folder, ()))


def expanded(globs: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Return each glob with whether it is a known one, the word ``default`` replaced by them; written ones first."""
    written = [(glob, False) for glob in globs if glob != DEFAULT_GLOBS]
    known = [(glob, True) for glob, _ in KNOWN] if DEFAULT_GLOBS in globs else []
    return (*written, *known)


def find(globs: tuple[tuple[str, bool], ...]) -> Finding:
    """Return the sockets of ``globs`` at this moment, and where to look for those that are not there yet."""
    finding = Finding()
    for glob, known in globs:
        paths = _walk("/", glob.split("/")[1:], finding)
        found = False
        for path in paths:
            identity = _socket(path)
            if identity is None:
                continue
            found = True
            if identity in finding.matches:
                continue
            if len(finding.matches) < MAX_SOCKETS:
                finding.matches[identity] = Match(Path(path), identity, known)
            else:
                finding.left_out += 1
        if not found:
            finding.waiting.append(glob)
    return finding


def _walk(folder: str, parts: list[str], finding: Finding) -> list[str]:
    """Return the paths below ``folder`` that ``parts`` name, and note the folders on the way."""
    real = os.path.realpath(folder)  # a directory is watched once, by whichever of its names
    if real in finding.folders or len(finding.folders) < MAX_FOLDERS:
        finding.folders.setdefault(real, set()).add(parts[0])
    else:
        finding.left_out += 1
    paths = _named(folder, parts[0])
    if len(parts) == 1:
        return paths
    found = []
    for path in paths:
        status = _status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            found += _walk(path, parts[1:], finding)
    return found


def _named(folder: str, part: str) -> list[str]:
    if not has_magic(part):
        return [os.path.join(folder, part)]
    try:
        with os.scandir(folder) as entries:
            some = itertools.islice(entries, MAX_ENTRIES)
            return sorted(entry.path for entry in some if matches(part, entry.name))
    except OSError:
        return []


def _status(path: str) -> os.stat_result | None:
    """Return what is at ``path``, through links that root made; None where there is nothing, or another's link."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) and status.st_uid == 0:
            status = os.stat(path)
    except OSError:
        return None
    return None if stat.S_ISLNK(status.st_mode) else status


def _socket(path: str) -> SocketIdentity | None:
    status = _status(path)
    return SocketIdentity.of(status) if status is not None and stat.S_ISSOCK(status.st_mode) else None
