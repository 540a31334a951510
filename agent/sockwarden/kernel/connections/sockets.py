"""From a path text to the socket object behind it, as another process would find it.

Owns the walk through a foreign root and mount namespace. Must never follow a link by its text in *our* own
tree, never open anything but ``O_PATH`` (which has no effect on the object), and never say "not guarded"
when it does not know: an ``Unresolved`` has a reason.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.abi import Actor, kernel_device
from sockwarden.errors import KernelError
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINKS: Final = 40
"""As the kernel's own path walk (namei.h: MAXSYMLINKS)."""

MAX_STEPS: Final = 512
"""sun_path has room for 54 components; links may add more, a loop must not."""

_PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SocketIdentity:
    """The object behind a path: device in the kernel's encoding, and inode."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> SocketIdentity:
        """Return the identity that ``stat`` showed."""
        return cls(kernel_device(os.major(status.st_dev), os.minor(status.st_dev)), status.st_ino)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """The object cannot be told; ``gone`` if the process no longer exists."""

    reason: str
    gone: bool = False


def identify(path: Path) -> SocketIdentity:
    """Return the identity of a socket of this host.

    Raises:
        KernelError: there is no socket at ``path``.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise KernelError(
            f"{path} cannot be guarded: {error.strerror}",
            errno=error.errno or 0,
            remedy="start the engine first, or correct [engine] socket",
        ) from error
    if not stat.S_ISSOCK(status.st_mode):
        raise KernelError(f"{path} cannot be guarded: it is not a socket", remedy="correct [engine] socket")
    return SocketIdentity.of(status)


def resolve(actor: Actor, path: bytes) -> SocketIdentity | Unresolved:
    """Return what ``path`` is for the process ``actor``, in its root, working directory and mount namespace.

    The process may be gone, or have re-pointed the path since: the answer is about now.
    """
    try:
        with ExitStack() as held:
            walk = _Walk(held, actor)
            found = walk.to(path)
            if process.start_ticks(actor.tgid) != process.to_ticks(actor.start_ns):
                return Unresolved("the process is gone", gone=True)
            return SocketIdentity.of(os.fstat(found))
    except (FileNotFoundError, ProcessLookupError):
        gone = process.start_ticks(actor.tgid) != process.to_ticks(actor.start_ns)
        return Unresolved("the process is gone" if gone else "the path leads nowhere", gone=gone)
    except OSError as error:
        return Unresolved(f"the path cannot be walked: {error.strerror}")


class _Walk:
    """The kernel's path walk, done by hand because openat2() in a foreign root is not in Python."""

    def __init__(self, held: ExitStack, actor: Actor) -> None:
        self._held = held
        self._actor = actor
        base = process.PROC / str(actor.tgid)
        self._root = self._keep(os.open(base / "root", os.O_PATH | os.O_CLOEXEC))
        self._cwd_path = base / "task" / str(actor.pid) / "cwd"
        self._root_status = os.fstat(self._root)

    def to(self, path: bytes) -> int:
        """Return an O_PATH descriptor of the object; raises OSError."""
        here = self._root if path.startswith(b"/") else self._keep(os.open(self._cwd_path, os.O_PATH | os.O_CLOEXEC))
        waiting = _parts(path)
        links = 0
        for _ in range(MAX_STEPS):
            if not waiting:
                return here
            part = waiting.pop()
            if part == b".." and os.path.samestat(os.fstat(here), self._root_status):
                continue
            following = self._keep(os.open(part, _PATH_FLAGS, dir_fd=here))
            status = os.fstat(following)
            if not stat.S_ISLNK(status.st_mode):
                here = following
                continue
            links += 1
            if links > MAX_LINKS:
                break
            target = self._target(part, here, following)
            if status.st_size != len(target) and part not in _SELF:
                # A magic link of procfs (fd/N, root, cwd) names an object, not a text: the kernel goes there.
                here = self._keep(os.open(part, os.O_PATH | os.O_CLOEXEC, dir_fd=here))
                continue
            if target.startswith(b"/"):
                here = self._root
            waiting += _parts(target)
        raise OSError(40, "too many levels of links")

    def _target(self, part: bytes, here: int, link: int) -> bytes:
        """Return a link's text; /proc/self means the reader, and the reader must be the actor, not us."""
        if part in _SELF and os.fstat(here).st_ino == _PROC_ROOT_INODE:
            return _SELF[part] % {b"pid": self._actor.ns_pid}
        return os.readlink(b"", dir_fd=link)

    def _keep(self, descriptor: int) -> int:
        self._held.callback(os.close, descriptor)
        return descriptor


_SELF: Final = {b"self": b"%(pid)d", b"thread-self": b"%(pid)d/task/%(pid)d"}

_PROC_ROOT_INODE: Final = 1
"""PROC_ROOT_INO (linux/proc_fs.h): the top of every procfs."""


def _parts(path: bytes) -> list[bytes]:
    """Return the components, last first, so that ``pop`` gives the next one."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
