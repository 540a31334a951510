"""What of the guard outlives the agent: sets of pinned programs and maps, one folder for each set.

Owns the layout ``<pin_dir>/<abi>-<rung>-<build>/{maps,links}/NAME``, ``build`` being the first 12 hex digits of the
object file's SHA-256, and the lock that makes one agent the owner of a pin_dir. Must not decide which set is kept. It
touches nothing whose name is not one of a set: others may have put it there.

A link that is pinned keeps its program attached, and loses it the moment that its last name and descriptor are gone.
So maps are pinned before links and links removed before maps: what is in force always has its maps beside it, and a
set with all its links is whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import itertools
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import bpffs, libbpf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BUILD_DIGITS: Final = 12
"""48 bits of SHA-256: builds of one package are told apart, nobody is kept out by it."""

_LOCKS: Final = Path("/proc/locks")

_NAME: Final = re.compile(
    r"(?P<abi>[0-9]{1,9})-(?P<rung>[a-z][a-z_]{0,15})-(?P<build>[0-9a-f]{12})(?P<aside>-old[0-9]{1,9})?"
)
"""bpffs takes no name with a dot in it (kernel/bpf/inode.c: bpf_lookup)."""


@dataclass(frozen=True, slots=True)
class PinnedSet:
    """One set as its folder shows it. ``aside``: a later agent has replaced it and was to remove it."""

    folder: Path
    abi: int
    rung: str
    build: str
    aside: bool
    links: tuple[str, ...]
    maps: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @property
    def readable(self) -> bool:
        """Whether this version understands its maps."""
        return self.abi == abi.ABI_VERSION


class PinnedHolding:
    """A pinned set, opened: the ``force.Holding`` of programs that another process attached."""

    def __init__(self, pinned: PinnedSet) -> None:
        """Open every link and map of the set.

        Raises:
            KernelError: one of them cannot be opened.
        """
        self._open = contextlib.ExitStack()
        self._maps: dict[str, int] = {}
        self._programs: dict[str, int] = {}
        try:
            for name in pinned.maps:
                self._maps[name] = self._own(bpffs.get(pinned.folder / "maps" / name))
            for name in pinned.links:
                # The link's descriptor stays open: who removes the pins of a living agent does not end its guard.
                link = self._own(bpffs.get(pinned.folder / "links" / name))
                self._programs[name] = self._own(_program_of(link, name))
        except KernelError:
            self.close()
            raise

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map, which stays the holding's own.

        Raises:
            KernelError: the set has no such map.
        """
        return _entry(self._maps, name, "map")

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a program, which stays the holding's own.

        Raises:
            KernelError: the set has no such program.
        """
        return _entry(self._programs, name, "program")

    def close(self) -> None:
        """Close the descriptors; the pins stay in force. A second call does nothing."""
        self._open.close()

    def _own(self, fd: int) -> int:
        self._open.callback(os.close, fd)
        return fd


class PinFolder:
    """A pin_dir, locked for as long as this object is open: ``with`` or ``close``."""

    def __init__(self, path: Path, *, locked: bool = True) -> None:
        """Make the folder if it is not there, and lock it unless ``locked`` is false.

        Raises:
            KernelError: it is not on bpffs, somebody else may write to it, or another agent has locked it.
        """
        self.path: Final = path
        if not bpffs.holds(path):
            raise KernelError(
                f"{path} is not on bpffs, and BPF programs can be pinned nowhere else",
                remedy=f'set guard.pin_dir to a folder below {bpffs.MOUNT_POINT}, or to "" to pin nothing',
            )
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd: int | None = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(
                f"{path} cannot be used for pins: {error.strerror}",
                errno=error.errno or 0,
                remedy="run as root; if a service manager makes /sys read-only, open this path to the service; bpffs"
                " takes no dot in a name",
            ) from error
        try:
            self._check_owner(os.fstat(self._fd))
            if locked:
                self._lock()
        except KernelError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sets(self) -> tuple[PinnedSet, ...]:
        """Return every set, half-written ones too, sorted by name."""
        return survey(str(self.path))

    def pin(self, name: str, maps: Mapping[str, int], links: Mapping[str, int]) -> PinnedSet:
        """Pin a set by its descriptors. ``name`` is from ``name_of`` and not taken.

        Raises:
            KernelError: it cannot be pinned; nothing of it stays.
        """
        folder = self.path / name
        try:
            folder.mkdir(mode=0o700)
            for kind in ("maps", "links"):
                (folder / kind).mkdir(mode=0o700)
            for kind, objects in (("maps", maps), ("links", links)):
                for one, fd in objects.items():
                    bpffs.pin(fd, folder / kind / one)
        except OSError as error:
            reason = f"{folder} cannot be made: {error.strerror}"
            raise KernelError(reason, errno=error.errno or 0, remedy=f"rm -r {folder}") from error
        except KernelError:
            _clear(folder)
            raise
        return _set_of(folder)

    def put_aside(self, pinned: PinnedSet) -> PinnedSet:
        """Give a set's name free; what is in force of it stays so.

        Raises:
            KernelError: it cannot be renamed.
        """
        aside = next(path for path in self._aside(pinned.name) if not path.exists())
        try:
            pinned.folder.rename(aside)
        except OSError as error:
            raise KernelError(
                f"{pinned.folder} cannot be renamed: {error.strerror}",
                errno=error.errno or 0,
                remedy=f"rm -r {pinned.folder}",
            ) from error
        return _set_of(aside)

    def remove(self, pinned: PinnedSet) -> None:
        """Remove a set: its programs are detached unless an agent that lives holds them.

        Raises:
            KernelError: something of it cannot be removed.
        """
        try:
            _clear(pinned.folder)
        except OSError as error:
            raise KernelError(
                f"{pinned.folder} cannot be removed: {error.strerror}",
                errno=error.errno or 0,
                remedy=f"rm -r {pinned.folder}",
            ) from error

    def close(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _aside(self, name: str) -> Iterator[Path]:
        return (self.path / f"{name}-old{number}" for number in itertools.count())

    def _check_owner(self, status: os.stat_result) -> None:
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise KernelError(
                f"{self.path} may be written by others than this user",
                remedy=f"rmdir {self.path}, or chown root {self.path} and chmod 700 {self.path}",
            )

    def _lock(self) -> None:
        if self._fd is None:
            raise AssertionError("the folder is closed")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _lock_holder(os.fstat(self._fd))
            raise KernelError(
                f"another sockwarden{f' (pid {holder})' if holder else ''} has {self.path}",
                errno=error.errno or 0,
                remedy="stop it first, or give this one another guard.pin_dir",
            ) from error


def name_of(rung: str, path: Path) -> str:
    """Return by what name the sets of a rung are known that this version loads from an object file.

    Raises:
        KernelError: the file cannot be read.
    """
    try:
        build = hashlib.sha256(path.read_bytes()).hexdigest()[:BUILD_DIGITS]
    except OSError as error:
        raise KernelError(
            f"{path} cannot be read: {error.strerror}", errno=error.errno or 0, remedy="install the whole package"
        ) from error
    return f"{abi.ABI_VERSION}-{rung}-{build}"


def survey(pin_dir: str) -> tuple[PinnedSet, ...]:
    """Return every pinned set in a pin_dir, half-written ones too, sorted by name; none if there is no such folder.

    Raises:
        KernelError: it may not be read.
    """
    return tuple(_set_of(Path(pin_dir) / name) for name in _listing(Path(pin_dir)) if _NAME.fullmatch(name))


def unload(pin_dir: str, *, force: bool = False) -> tuple[PinnedSet, ...]:
    """Remove every pinned set and return what was there; the road to the guarded sockets is open then.

    With ``force`` also while an agent runs, whose guard then ends with it.

    Raises:
        KernelError: an agent runs, or a set cannot be removed.
    """
    found = survey(pin_dir)
    if not Path(pin_dir).is_dir() or not bpffs.holds(Path(pin_dir)):
        return ()
    with PinFolder(Path(pin_dir), locked=not force) as folder:
        for one in found:
            folder.remove(one)
        with contextlib.suppress(OSError):  # what others put there stays, and their folder with it
            folder.path.rmdir()
    return found


def _set_of(folder: Path) -> PinnedSet:
    named = _NAME.fullmatch(folder.name)
    if named is None:
        raise AssertionError(f"{folder.name} is no set")
    links, maps = (_listing(folder / kind) for kind in ("links", "maps"))
    return PinnedSet(folder, int(named["abi"]), named["rung"], named["build"], bool(named["aside"]), links, maps)


def _clear(folder: Path) -> None:
    """Remove a set's folder, links first; what is gone already is as good as removed."""
    for kind in ("links", "maps"):
        for name in _listing(folder / kind):
            (folder / kind / name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (folder / kind).rmdir()
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _listing(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise KernelError(
            f"{folder} cannot be read: {error.strerror}", errno=error.errno or 0, remedy="run as root"
        ) from error


def _program_of(link: int, name: str) -> int:
    """Return a descriptor of the program that a link keeps attached."""
    info, size = _LinkInfo(), ctypes.c_uint32(ctypes.sizeof(_LinkInfo))
    libbpf.forget_log()
    told = libbpf.library().bpf_obj_get_info_by_fd(link, ctypes.byref(info), ctypes.byref(size))
    libbpf.check(f"read what the link {name} is", told)
    return libbpf.check(f"open program {name}", libbpf.library().bpf_prog_get_fd_by_id(info.program))


class _LinkInfo(ctypes.Structure):
    """The head of ``struct bpf_link_info`` (linux/bpf.h), which newer kernels only make longer."""

    _fields_ = (("kind", ctypes.c_uint32), ("id", ctypes.c_uint32), ("program", ctypes.c_uint32))


def _entry(table: Mapping[str, int], name: str, what: str) -> int:
    if name not in table:
        raise KernelError(f"the pinned set has no {what} {name}", remedy="remove it with 'sockwarden guard unload'")
    return table[name]


def _lock_holder(status: os.stat_result) -> int:
    """Return the pid of who holds a lock on a file, 0 if it is not to be seen (proc_locks(5))."""
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = _LOCKS.read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(pid) for pid, place in _owners(lines) if place == wanted), 0)


def _owners(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        fields = line.split()
        if "->" not in fields and len(fields) > 5:  # an arrow marks who waits
            yield fields[4], fields[5]
