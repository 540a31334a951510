"""A live proof: a helper in a mount namespace of its own connects to a dummy guarded socket.

Owns the dummy socket and the helper. That a program loads and attaches proves nothing: an LSM program without
``bpf`` in the active LSM list does both and never fires.
"""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELPER_SECONDS: Final = 30.0
"""Starting Python takes a tenth of a second on iron, and seconds under software emulation."""

_HELPER: Final = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except OSError as error:
    sys.exit(error.errno)
"""


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


@contextmanager
def dummy_socket() -> Iterator[Path]:
    """Yield the path of a listening socket that nobody else knows."""
    with (
        tempfile.TemporaryDirectory(prefix="sockwarden-canary-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = Path(folder) / "canary.sock"
        listener.bind(str(path))
        listener.listen()
        yield path


def fly(path: Path) -> Flight:
    """Let the helper connect to ``path`` and wait for its end.

    Raises:
        KernelError: the helper could not be run.
    """
    command = ["unshare", "--mount", sys.executable, "-I", "-S", "-c", _HELPER, str(path)]
    try:
        helper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    except OSError as error:
        raise KernelError(f"the canary cannot be run: {error}", remedy="install util-linux") from error
    with helper:
        try:
            return Flight(helper.pid, helper.wait(HELPER_SECONDS))
        except subprocess.TimeoutExpired as error:
            helper.kill()
            raise KernelError("the canary did not end", remedy="look for what stops new processes") from error
