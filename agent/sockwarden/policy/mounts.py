"""Judges what a mount would show of the guarded sockets.

Owns the rule that a source exposes a socket when it is the socket, by path or by inode, or a directory above it.
Pure: the file system is asked through ``Paths``. Its word is advice at the time of asking: a symlink can be
re-pointed later; the kernel's guard on the socket object, and a second look at start, are the wall.
"""

from __future__ import annotations

import enum
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi.bodies_mounts import LOCAL_DRIVER, MountKind, MountSource
from sockwarden.policy.paths import Unresolvable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockwarden.policy.paths import Paths

_BIND_FLAGS: Final = frozenset({"bind", "rbind"})
"""Options that make mount(2) ignore the type (moby/sys mount flags; compared exactly)."""

_ELSEWHERE: Final = frozenset({"tmpfs", "ramfs", "nfs", "nfs4", "cifs", "smb3"})
"""File system types that show nothing of this host's tree, whatever their device and options."""

_DEVICE_TREE: Final = "/dev"
"""Where the host has the one instance of devtmpfs."""

_LAYER_KEYS: Final = frozenset({"lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+"})
"""Options of overlayfs that name directories (fs/overlayfs/params.c)."""

MAX_MOUNT_DATA: Final = 4096
"""Bytes of options that mount(2) takes: one page."""


class Exposure(enum.IntEnum):
    """What a mount would show; the larger, the worse. ``UNJUDGEABLE`` is to be refused like ``ENGINE``."""

    NONE = 0
    PUBLIC = 1  # the gateway's own socket: subject to the image list
    UNJUDGEABLE = 2
    ENGINE = 3  # the engine's socket: never


@dataclass(frozen=True, slots=True)
class Finding:
    """The judgement of one mount. ``reason`` is a clause without a full stop, empty for ``NONE``.

    ``foreign_driver``: the volume belongs to a driver outside the engine, which may show anything. ``exact``: the
    mount is the socket itself under some name, and not a directory above it.
    """

    exposure: Exposure
    source: MountSource
    reason: str = ""
    foreign_driver: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class GuardedSocket:
    """One socket and every directory above it, by real path and by inode where they exist.

    ``file_system`` is st_dev of the socket's file system: mounted once more from its device, it shows the socket.
    """

    path: str
    exposure: Exposure
    directories: frozenset[str]
    identity: tuple[int, int] | None
    above: frozenset[tuple[int, int]]
    file_system: int | None

    @classmethod
    def at(cls, path: str, exposure: Exposure, paths: Paths) -> GuardedSocket:
        """Look up the socket at ``path`` as it is now. Anew after each takeover: its inode changes.

        Raises:
            Unresolvable: the path crosses a magic link or has too many links.
        """
        real = _nearest(path, paths)
        directories = frozenset(_above(real))
        identities = {directory: paths.identity(directory) for directory in directories}
        identity = paths.identity(real)
        parent = identities.get(posixpath.dirname(real))
        return cls(
            path=real,
            exposure=exposure,
            directories=directories,
            identity=identity,
            above=frozenset(found for found in identities.values() if found),
            file_system=(identity or parent or (None,))[0],
        )


@dataclass(frozen=True, slots=True)
class GuardedSockets:
    """All sockets that a mount must not show by chance."""

    sockets: tuple[GuardedSocket, ...]

    @classmethod
    def at(cls, public: Iterable[str], engine: Iterable[str], paths: Paths) -> GuardedSockets:
        """Look up the gateway's sockets (``public``) and those that give the engine's power (``engine``)."""
        return cls(
            (
                *(GuardedSocket.at(path, Exposure.PUBLIC, paths) for path in public),
                *(GuardedSocket.at(path, Exposure.ENGINE, paths) for path in engine),
            )
        )


def judge_mount(source: MountSource, guarded: GuardedSockets, paths: Paths) -> Finding:
    """Return the worst that ``source`` would show.

    A volume is judged by its own driver's options; one that exists already must be looked up by the caller
    (``bodies_mounts.volume_source``), as must the containers of VolumesFrom.
    """
    worst = max(_exposures(source, guarded, paths), key=lambda found: found[:2], default=_NOTHING)
    exposure, exact, reason = worst
    foreign = source.kind is MountKind.CLUSTER or source.driver not in ("", LOCAL_DRIVER)
    return Finding(exposure, source, reason, foreign, exact)


def judge_mounts(sources: Iterable[MountSource], guarded: GuardedSockets, paths: Paths) -> Finding | None:
    """Return the worst finding, the first of equals, or None when nothing is exposed and no driver is foreign."""
    findings = [judge_mount(source, guarded, paths) for source in sources]
    worst = max(findings, key=lambda found: (found.exposure, found.exact, found.foreign_driver), default=None)
    return worst if worst and (worst.exposure or worst.foreign_driver) else None


_Exposed = tuple[Exposure, bool, str]  # what is shown, whether it is the socket itself, and why

_NOTHING: Final[_Exposed] = (Exposure.NONE, False, "")


def _exposures(source: MountSource, guarded: GuardedSockets, paths: Paths) -> Iterator[_Exposed]:
    if source.kind is MountKind.BIND:
        yield from _of_path(source.source, guarded, paths)
    elif source.kind is MountKind.VOLUME and source.driver in ("", LOCAL_DRIVER) and source.options:
        yield from _of_local_volume(dict(source.options), guarded, paths)


def _of_path(path: str, guarded: GuardedSockets, paths: Paths) -> Iterator[_Exposed]:
    """Judge a host path both as the kernel walks it and cleaned as text, which the engine does to binds."""
    cleaned = posixpath.normpath(path)
    try:
        found = [_nearest(cleaned, paths)]
        if cleaned != path and (walked := paths.resolve(path)) is not None:
            found.append(walked)
    except Unresolvable as error:
        yield Exposure.UNJUDGEABLE, False, f"{path} cannot be judged: {error}"
        return
    for real in found:
        identity = paths.identity(real)
        for socket in guarded.sockets:
            if real == socket.path or (identity is not None and identity == socket.identity):
                yield socket.exposure, True, f"{path} is the socket {socket.path}"
            elif real in socket.directories or identity in socket.above:
                yield socket.exposure, False, f"{path} shows the socket {socket.path}"


def _of_local_volume(options: dict[str, str], guarded: GuardedSockets, paths: Paths) -> Iterator[_Exposed]:
    """Judge what mount(2) gets from the local driver (moby: daemon/volume/local/local_unix.go)."""
    kind, device, flags = options.get("type", ""), options.get("device", ""), options.get("o", "").split(",")
    bound = not _BIND_FLAGS.isdisjoint(flags)
    if len(options.get("o", "")) > MAX_MOUNT_DATA:
        yield Exposure.UNJUDGEABLE, False, "its mount options are longer than the kernel takes"
        return
    if bound and kind == "cifs":
        yield Exposure.UNJUDGEABLE, False, f"the engine rewrites the device {device} of type cifs before it binds it"
        return
    if bound:
        yield from _of_path(device, guarded, paths)
    elif kind == "devtmpfs":
        yield from _of_path(_DEVICE_TREE, guarded, paths)
    elif kind not in _ELSEWHERE:
        yield from _of_device(device, guarded, paths)
        for flag in flags:
            yield from _of_option(flag, guarded, paths)


def _of_device(device: str, guarded: GuardedSockets, paths: Paths) -> Iterator[_Exposed]:
    """Judge a block device, or a path of a type that takes a directory (ecryptfs). The engine's directory is /."""
    number = paths.device(posixpath.join("/", device))
    if number is None and device.startswith("/"):
        yield from _of_path(device, guarded, paths)
    for socket in guarded.sockets:
        if number is not None and number == socket.file_system:
            yield socket.exposure, False, f"{device} holds the file system of the socket {socket.path}"


def _of_option(flag: str, guarded: GuardedSockets, paths: Paths) -> Iterator[_Exposed]:
    """Judge every path in one mount option: the layers of an overlay are separated by colons."""
    key, _, value = flag.partition("=")
    layers = key in _LAYER_KEYS
    if "\\" in value and (layers or "/" in value):
        yield Exposure.UNJUDGEABLE, False, f"the mount option {flag} has escapes"
        return
    for path in filter(None, value.split(":")):
        if layers or path.startswith("/"):
            yield from _of_path(path, guarded, paths)


def _nearest(path: str, paths: Paths) -> str:
    """Return the real path, or where it would be: the engine creates a missing source as a directory.

    What exists of a missing path is found by halving, since its thousand parts are the client's choice.
    """
    real = paths.resolve(path)
    if real is not None:
        return real
    parts = path.rstrip("/").split("/")
    nearest, exists, missing = "/", 1, len(parts)  # so many parts lead to something, and so many do not
    while missing - exists > 1:
        middle = (exists + missing) // 2
        real = paths.resolve("/".join(parts[:middle]))
        if real is None:
            missing = middle
        else:
            nearest, exists = real, middle
    return posixpath.normpath(posixpath.join(nearest, *parts[exists:]))


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path
