"""Owning the public socket path: taking it over from a live engine, and giving it back.

*swap*: the gateway binds a socket of its own beside the engine's and exchanges the two names in one step
(renameat2 with RENAME_EXCHANGE, Linux 3.15), so that no client ever meets a missing path. The engine's socket
lives on as ``RUN_DIR/engine.sock``. Giving back is one rename(2) of it over the public path.

*none* and *handover*: the engine listens elsewhere already; the gateway binds its path, or is given the socket by
systemd (sd_listen_fds(3)).

What a crash leaves behind is told apart by connecting: a socket file nobody listens on refuses. A lock file
says whether another agent is alive.

Never: a window in which the public path has no listener, unless it had none before.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Final

from sockwarden.config import Takeover
from sockwarden.errors import TakeoverError

BACKLOG: Final = 4096
"""As dockerd's own listener (Go takes it from net.core.somaxconn): connections queue while the loop is busy."""

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_LISTEN_FDS_START: Final = 3
_PROBE_SECONDS: Final = 2.0


class _Found(enum.Enum):
    """What lies at a socket path."""

    MISSING = enum.auto()
    DEAD = enum.auto()  # a socket file that nobody listens on
    ALIVE = enum.auto()


class SocketTakeover:
    """Holds the listening socket of the gateway and knows where the engine's socket is."""

    def __init__(self, public: str, engine: str, run_dir: str, how: Takeover, second: str | None = None) -> None:
        """Prepare; nothing is touched before :meth:`take`. ``second`` is another name for the gateway's socket."""
        self.public: Final = os.path.realpath(public)  # names are exchanged, so a symlink must not be one of them
        self._engine = engine
        self._run_dir = Path(run_dir)
        self._how = how
        self._second = second
        self._parked = str(self._run_dir / "engine.sock")
        self._lock = -1
        self._lent = False  # systemd's: it goes on listening, so that clients queue while we are away
        self._ours: tuple[int, int] | None = None

    @property
    def swaps(self) -> bool:
        """Whether the engine's own socket is moved aside."""
        return self._how is Takeover.SWAP

    @property
    def engine_path(self) -> str:
        """Where the engine listens while the gateway is in front of it."""
        return self._parked if self.swaps else self._engine

    def take(self) -> socket.socket:
        """Return the gateway's listening socket, bound to the public path.

        Raises:
            TakeoverError: the path cannot be taken; nothing was changed that is not undone.
        """
        self._prepare_run_dir()
        self._take_lock()
        try:
            given = _given_by_systemd(self.public)
            if given is None:
                return self._swap() if self.swaps else self._bind_public()
            self._lent = True
            self._remember(given)
        except TakeoverError:
            self.give_back()
            raise
        return given

    def restore(self) -> socket.socket | None:
        """Take the public path again if it is not ours any more: an engine that restarts removes or replaces it.

        Returns:
            A new listening socket, or None when the path is still ours.

        Raises:
            TakeoverError: as :meth:`take`.
        """
        if self.holds():
            return None
        self._lent = False
        try:
            return self._swap() if self.swaps else self._bind_public()
        except TakeoverError:
            if self.holds():
                self._ours = None  # its listener is closed, so it must be taken again
            raise

    def holds(self) -> bool:
        """Whether the public path leads to the gateway's own socket."""
        return self._ours is not None and _identity(self.public) == self._ours

    def give_back(self) -> None:
        """Return the public path to the engine, and remove what is the gateway's.

        Raises:
            TakeoverError: the engine's socket could not be put back.
        """
        try:
            if self.swaps:
                if self.holds() and _probe(self._parked) is not _Found.MISSING:
                    os.rename(self._parked, self.public)
                elif self.holds():
                    os.unlink(self.public)
            elif self.holds() and not self._lent:
                os.unlink(self.public)
        except OSError as error:
            raise TakeoverError(
                f"the engine's socket could not be put back at {self.public}: {error.strerror}",
                remedy=f"mv {self._parked} {self.public}",
            ) from error
        finally:
            if self._second is not None and self._ours is not None and _identity(self._second) == self._ours:
                os.unlink(self._second)
            self._ours = None
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    # -- steps ------------------------------------------------------------

    def _prepare_run_dir(self) -> None:
        try:
            self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._run_dir.lstat()
        except OSError as error:
            raise TakeoverError(f"{self._run_dir}: {error.strerror}", remedy="run as root") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise TakeoverError(
                f"{self._run_dir} is not a directory of our own", remedy="remove it, or set daemon.run_dir"
            )
        self._run_dir.chmod(0o700)

    def _take_lock(self) -> None:
        path = self._run_dir / "lock"
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise TakeoverError(f"{path}: {error.strerror}", remedy="remove it") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            self._lock = -1
            raise TakeoverError(
                f"another sockwarden (pid {holder}) is in front of {self.public}",
                remedy="stop it first, or give this one another gateway.listen and daemon.run_dir",
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _swap(self) -> socket.socket:
        public, parked = _probe(self.public), _probe(self._parked)
        if public is _Found.ALIVE and parked is _Found.ALIVE:
            raise TakeoverError(
                f"both {self.public} and {self._parked} are answered: which of them is the engine's is not clear",
                remedy=f"stop the one that is not, or remove {self._parked} if both are the same engine's",
            )
        if public is _Found.ALIVE:
            return self._exchange()
        if parked is _Found.ALIVE:
            # A gateway before us died, or the engine's path was removed: the engine is parked already.
            return self._bind_over(self._parked)
        raise TakeoverError(
            f"no engine listens on {self.public}" + (" (nobody answers there)" if public is _Found.DEAD else ""),
            remedy="start the engine first, or correct engine.socket",
        )

    def _exchange(self) -> socket.socket:
        """Put a socket of ours where the engine's is, and the engine's where ours was, in one step."""
        listener = self._bind(self._parked, like=self.public)
        try:
            _rename_exchange(self._parked, self.public)
        except OSError as error:
            listener.close()
            os.unlink(self._parked)
            remedy = "set daemon.run_dir to a directory on the same file system" if error.errno == errno.EXDEV else ""
            raise TakeoverError(f"{self.public} cannot be taken over: {error.strerror}", remedy=remedy) from error
        self._remember(listener)
        return listener

    def _bind_public(self) -> socket.socket:
        found = _probe(self.public)
        if found is _Found.ALIVE:
            raise TakeoverError(
                f"somebody listens on {self.public} already",
                remedy='choose another gateway.listen, or gateway.takeover = "swap" if it is the engine',
            )
        return self._bind_over(self._engine if _probe(self._engine) is not _Found.MISSING else None)

    def _bind_over(self, like: str | None) -> socket.socket:
        """Bind beside the public path and rename over it, so that a dead socket there is replaced in one step."""
        fresh = f"{self.public}.sockwarden-{os.getpid()}"
        listener = self._bind(fresh, like=like)
        try:
            os.rename(fresh, self.public)
        except OSError as error:
            listener.close()
            os.unlink(fresh)
            raise TakeoverError(f"{self.public}: {error.strerror}") from error
        self._remember(listener)
        return listener

    def _bind(self, path: str, *, like: str | None) -> socket.socket:
        """Bind a listening socket at ``path`` with the mode and owner of ``like``."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if _probe(path) is _Found.DEAD:
                os.unlink(path)
            before = os.umask(0o177)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            if like is not None:
                model = os.stat(like)
                os.chown(path, model.st_uid, model.st_gid)
                os.chmod(path, stat.S_IMODE(model.st_mode))
        except OSError as error:
            listener.close()
            raise TakeoverError(f"{path} cannot be bound: {error.strerror}", remedy="see gateway.listen") from error
        return listener

    def _remember(self, listener: socket.socket) -> None:
        before, self._ours = self._ours, _identity(self.public)
        if self._second is None:
            return
        try:
            if _probe(self._second) is _Found.DEAD or (before and _identity(self._second) == before):
                os.unlink(self._second)
            os.link(self.public, self._second)
        except OSError as error:
            listener.close()
            raise TakeoverError(
                f"{self._second} cannot be made: {error.strerror}",
                remedy="leave out gateway.listen, or choose a path on the file system of engine.socket",
            ) from error


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _probe(path: str) -> _Found:
    """Find out whether somebody listens at ``path``.

    Raises:
        TakeoverError: what is there is no socket.
    """
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            found = os.stat(path)
    except FileNotFoundError:
        return _Found.MISSING
    except OSError as error:
        raise TakeoverError(f"{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise TakeoverError(f"{path} is not a socket", remedy="move it away, or correct the path in the configuration")
    return _Found.DEAD if _peer_pid(path) is None else _Found.ALIVE


def _peer_pid(path: str) -> int | None:
    """Return the pid that listens at ``path`` (SO_PEERCRED of a connection to it), None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError as error:
            raise TakeoverError(f"{path}: {error.strerror or error}") from error
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


def _rename_exchange(one: str, other: str) -> None:
    """renameat2(2) with RENAME_EXCHANGE; Python's os module does not have it."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _given_by_systemd(public: str) -> socket.socket | None:
    """Return the listening socket that systemd passed for ``public`` (sd_listen_fds(3)), if it did."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    for number in range(int(os.environ.get("LISTEN_FDS", "0"))):
        given = socket.socket(fileno=_LISTEN_FDS_START + number)
        if given.family == socket.AF_UNIX and _same_path(given.getsockname(), public):
            given.setblocking(False)
            return given
        given.detach()
    return None


def _same_path(one: object, other: str) -> bool:
    return isinstance(one, str) and os.path.realpath(one) == os.path.realpath(other)
