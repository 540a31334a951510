"""Which sockets are under guard: the engine's, the gateway's, and those of the host alone, at every moment.

Owns when the guard is told of a socket: when a path leads to another object than before, and soon after a new one
appears. Must not decide what a class of socket means. An object whose path is gone stays under guard for as long as
somebody listens on it: a container that has it by a bind mount does not need the path.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.abi import SocketClass
from sockwarden.errors import KernelError, SockwardenError
from sockwarden.gateway.watch import FolderWatch
from sockwarden.kernel.connections.dealing import GuardedSocket
from sockwarden.kernel.connections.sockets import SocketIdentity
from sockwarden.service import hostonly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockwarden.kernel.connections.holders import Scan

LOOK_SECONDS: Final = 30.0
"""Between two looks at all paths, in case the kernel did not tell of a change."""

MAX_FORMER: Final = 64
"""Objects without a path that stay under guard, the oldest first to go; some per engine that restarts again and again
while a container holds on to an old one."""

MAX_ROUNDS: Final = 4
"""Looks in a row while new folders appear; what comes later is told by the watch on them."""

_STRICTEST_FIRST: Final = (SocketClass.ENGINE, SocketClass.HOST_ONLY, SocketClass.PUBLIC)

_log = logging.getLogger(__name__)


class Wards:
    """One per agent. ``publish`` puts exactly the given objects under guard; it may raise KernelError."""

    def __init__(
        self,
        globs: tuple[str, ...],
        paths: Callable[[], tuple[str, str]],
        publish: Callable[[Iterable[GuardedSocket]], None],
        holds: Callable[[], bool] = lambda: True,
    ) -> None:
        """``paths`` returns where the engine's and the gateway's sockets are now; ``begin`` starts.

        ``holds`` says whether the gateway's path leads to the gateway. Where it does not, an engine that restarts has
        put its new socket there, and no container may use that before the gateway stands in front of it again.
        """
        self._globs: Final = hostonly.expanded(globs)
        self._paths: Final = paths
        self._publish: Final = publish
        self._holds: Final = holds
        self._watch: FolderWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._finding = hostonly.Finding()
        self._told: dict[SocketIdentity, GuardedSocket] = {}
        self._former: dict[SocketIdentity, GuardedSocket] = {}
        self._unwatched: set[str] = set()
        self._missing: list[str] = []
        self._clashes: list[str] = []
        self.fault = ""
        """Why the kernel does not know the sockets of now; "" while it does."""

    def begin(self) -> None:
        """Look now, and go on by watching the folders on the way; needs a running loop."""
        try:
            self._watch = FolderWatch(self._changed)
        except SockwardenError as error:
            _log.warning("sockets that appear are noticed after %.0f s only: %s", LOOK_SECONDS, error)
        self._look_by_and_by()

    def close(self) -> None:
        """Stop watching; what is under guard stays so."""
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    @property
    def waiting(self) -> tuple[str, ...]:
        """Paths and globs at which there is no socket yet."""
        return (*self._missing, *self._finding.waiting)

    def problems(self) -> list[str]:
        """Return what is not guarded as it should be, as clauses without a full stop."""
        found = []
        if self.fault:
            found.append(f"the kernel guard does not know the sockets of now: {self.fault}")
        if self._finding.left_out:
            found.append(f"guard.host_only names {self._finding.left_out} sockets or folders more than can be guarded")
        found += [
            f"guard.host_only names the gateway's own socket {path}: no container can use it" for path in self._clashes
        ]
        return found

    def look(self) -> None:
        """Find every socket, and tell the guard if one is another object than before."""
        for _ in range(MAX_ROUNDS):
            self._finding = hostonly.find(self._globs)
            if not self._watch_folders():
                break
        found = self._objects()
        for identity, guarded in self._told.items():
            if identity not in found and guarded.socket_class is not SocketClass.PUBLIC:
                self._former[identity] = guarded
        self._former = {identity: one for identity, one in self._former.items() if identity not in found}
        for identity in list(self._former)[: max(0, len(self._former) - MAX_FORMER)]:
            del self._former[identity]
        self._tell({**found, **self._former})

    def swept(self, scan: Scan) -> None:
        """Let go of objects without a path on which nobody listens any more: their numbers may become others'."""
        over = self._former.keys() & scan.silent
        if over:
            for identity in over:
                del self._former[identity]
            self._tell({identity: one for identity, one in self._told.items() if identity not in over})

    # -- looking ----------------------------------------------------------

    def _changed(self, folder: str, name: str) -> None:
        if self._soon is None and (not folder or self._finding.matters(folder, name)):
            self._soon = asyncio.get_running_loop().call_soon(self._look_soon)

    def _look_soon(self) -> None:
        self._soon = None
        self.look()

    def _look_by_and_by(self) -> None:
        self.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_by_and_by)

    def _watch_folders(self) -> bool:
        """Watch every folder on the way; return whether one is new, in which something may have appeared meanwhile."""
        for path in self._paths():
            folder, name = os.path.split(os.path.realpath(path))
            self._finding.folders.setdefault(folder, set()).add(name)
        if self._watch is None:
            return False
        begun, failed = self._watch.watch(self._finding.folders)
        if failed - self._unwatched:
            _log.warning("looked at only every %.0f s: %s", LOOK_SECONDS, ", ".join(sorted(failed - self._unwatched)))
        self._unwatched = failed
        return bool(begun)

    def _objects(self) -> dict[SocketIdentity, GuardedSocket]:
        """Return every object once, in its strictest class."""
        engine, public = self._paths()
        own = {
            SocketClass.ENGINE: _object(engine, SocketClass.ENGINE),
            SocketClass.PUBLIC: _object(public, SocketClass.PUBLIC if self._holds() else SocketClass.ENGINE),
        }
        self._missing = [
            path for path, one in ((engine, own[SocketClass.ENGINE]), (public, own[SocketClass.PUBLIC])) if one is None
        ]
        ours = own[SocketClass.PUBLIC]
        # A known glob may well lead to the socket of a rootless engine that the gateway is in front of.
        matches = [
            match
            for identity, match in self._finding.matches.items()
            if not (match.known and ours is not None and identity == ours.identity)
        ]
        self._clashes = [str(match.path) for match in matches if ours is not None and match.identity == ours.identity]
        named = [one for one in own.values() if one is not None]
        named += [GuardedSocket(match.path, SocketClass.HOST_ONLY, match.identity) for match in matches]
        found: dict[SocketIdentity, GuardedSocket] = {}
        for one in sorted(named, key=lambda one: _STRICTEST_FIRST.index(one.socket_class)):
            found.setdefault(one.identity, one)
        return found

    def _tell(self, wanted: dict[SocketIdentity, GuardedSocket]) -> None:
        if wanted == self._told and not self.fault:
            return
        try:
            self._publish(wanted.values())
        except KernelError as error:
            if str(error) != self.fault:
                _log.warning("the kernel guard does not know the sockets: %s", error)
            self.fault = str(error)
            return
        self._told, self.fault = wanted, ""


def _object(path: str, socket_class: SocketClass) -> GuardedSocket | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return GuardedSocket(Path(path), socket_class, SocketIdentity.of(status)) if stat.S_ISSOCK(status.st_mode) else None
