"""A live proof: a helper in a cgroup and a mount namespace of its own connects to a dummy guarded socket.

Owns the dummy socket, the helper and what its end means. That a program loads and attaches proves nothing: an LSM
program without ``bpf`` in the active LSM list does both and never fires; nor does a proof at the start tell of the
day after, when somebody may have detached it. Must never let a helper that could not fly pass for one that was held.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError
from sockwarden.kernel.life import cgrouptree

if TYPE_CHECKING:
    from collections.abc import Iterator

HELPER_SECONDS: Final = 30.0
"""Starting Python takes a hundredth of a second on iron, and seconds under software emulation."""

KILL_SECONDS: Final = 1.0
"""How long a helper that was killed is waited for; what hangs in the kernel must not hang the agent."""

CGROUP_NAME: Final = "sockwarden-canary"
"""Below the agent's own cgroup, for as long as a flight takes."""

_CONNECTED: Final = 0
_ERRNO_BASE: Final = 64
"""Added to the errno of connect(): ``unshare`` and Python end with 1, which is EPERM, when they fail themselves."""

# _socket and no more of the standard library: 9 ms of CPU time for each flight instead of 20.
_HELPER: Final = f"""
import _socket, sys
path, procs = sys.argv[1:]
try:
    with open(procs, "w") as file:
        file.write("0")
except OSError:
    pass
try:
    _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM).connect(path)
except OSError as error:
    sys.exit({_ERRNO_BASE} + error.errno)
"""


class Expected(enum.Enum):
    """What must become of the helper."""

    BLOCKED = "blocked"  # connect() fails
    KILLED = "killed"
    SEEN = "seen"  # it connects, and a record says so


@dataclass(frozen=True, slots=True)
class Flight:
    """How the helper ended: its pid, and the errno of its connect(); 0 connected, -9 was killed."""

    pid: int
    status: int

    @property
    def blocked(self) -> bool:
        """Whether connect() failed as a blocking rung makes it fail."""
        return self.status == errno.EPERM

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended the helper."""
        return self.status == -signal.SIGKILL

    def held(self, expected: Expected, *, met: bool) -> bool:
        """Whether the rung did what it must; ``met``: it says itself that it met this helper."""
        if expected is Expected.SEEN:
            return met and self.status == _CONNECTED
        return met and (self.blocked if expected is Expected.BLOCKED else self.killed)


def listen(path: Path) -> socket.socket:
    """Return a listening socket at ``path`` that only root can connect to; what an earlier agent left there goes.

    Raises:
        KernelError: there is no such folder, or it may not be written.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except OSError as error:
        listener.close()
        raise KernelError(
            f"the canary's socket {path} cannot be made: {error.strerror}", remedy="look at [daemon] run_dir"
        ) from error
    return listener


def drain(listener: socket.socket) -> None:
    """Close what connected: a full queue would let the next helper wait."""
    with contextlib.suppress(OSError):  # EAGAIN: it is empty
        while True:
            listener.accept()[0].close()


@contextlib.contextmanager
def dummy_socket() -> Iterator[Path]:
    """Yield the path of a listening socket that nobody else knows."""
    with tempfile.TemporaryDirectory(prefix="sockwarden-canary-") as folder:
        path = Path(folder) / "canary.sock"
        with listen(path):
            yield path


class Helper:
    """One flight under way. ``fileno`` becomes readable when it has ended; then ``land``, in any case ``close``."""

    def __init__(self, path: Path) -> None:
        """Start it; takes about a millisecond.

        Raises:
            KernelError: the helper could not be run.
        """
        self._cgroup = _make_cgroup()
        procs = self._cgroup / "cgroup.procs" if self._cgroup is not None else ""
        command = ["unshare", "--mount", sys.executable, "-I", "-S", "-c", _HELPER, str(path), str(procs)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except OSError as error:
            self._remove_cgroup()
            raise KernelError(f"the canary cannot be run: {error}", remedy="install util-linux") from error
        self.pid: Final = self._process.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self._pidfd = -1
            self.close()
            raise KernelError(f"the canary cannot be followed: {error}", remedy="raise LimitNOFILE=") from error

    def fileno(self) -> int:
        """Return a descriptor of the process: readable once it has ended."""
        return self._pidfd

    def land(self, timeout: float = 0.0) -> Flight:
        """Return how it ended, waiting at most ``timeout`` seconds.

        Raises:
            KernelError: it has not ended, or never came to connect().
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise KernelError("the canary did not end", remedy="look for what stops new processes") from error
        if code in (_CONNECTED, -signal.SIGKILL):
            return Flight(self.pid, code)
        if code < _ERRNO_BASE:
            raise KernelError(
                f"the canary ended with status {code} before it could connect",
                remedy="see what unshare --mount says on this host",
            )
        return Flight(self.pid, code - _ERRNO_BASE)

    def close(self) -> None:
        """End it if it still runs, and remove what it needed; a second call does nothing."""
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # then subprocess reaps it some time later
                self._process.wait(KILL_SECONDS)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._remove_cgroup()

    def _remove_cgroup(self) -> None:
        if self._cgroup is not None:
            with contextlib.suppress(OSError):  # another agent's canary may be in it
                self._cgroup.rmdir()
            self._cgroup = None


def fly(path: Path) -> Flight:
    """Let the helper connect to ``path`` and wait for its end.

    Raises:
        KernelError: the helper could not be run, or never came to connect().
    """
    helper = Helper(path)
    try:
        return helper.land(HELPER_SECONDS)
    finally:
        helper.close()


def _make_cgroup() -> Path | None:
    """Return a cgroup for the helper, None where the v2 tree is not there or not ours to write."""
    top = cgrouptree.mount_point()
    own = cgrouptree.own_path()
    if top is None or own is None:
        return None
    path = top / own.lstrip("/") / CGROUP_NAME
    try:
        path.mkdir(exist_ok=True)
    except OSError:
        return None
    return path
