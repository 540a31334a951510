"""Who holds a connection to a socket: asked of the kernel by socket diag, not of any event.

Owns the way from a listener's file to its connections, and from those to processes. It finds what events miss:
connections from before the agent, from io_uring, after lost events, or after a lost race.

A connection shows itself twice: the accepted socket carries the listener's device and inode and names its
peer's inode; one that waits for accept() stands in the listener's own queue. Both the client's socket and the
accepted one live in the *client's* network namespace (net/unix/af_unix.c: unix_stream_connect), and diag shows
one namespace only, so each is visited.

A connection whose client's end no process shows is not free of holders: a thread with descriptors of its own, a fixed
file of io_uring and a message that is not yet received do not stand in /proc/PID/fd. Then the server's end says who
connected.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sockwarden.kernel.connections import unixdiag
from sockwarden.kernel.connections.cutter import End, connector, sockets_of
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sockwarden.kernel.connections.sockets import SocketIdentity

MAX_HOLDERS: Final = 4096
"""Processes named per sweep; the rest is found by the next one, after these are dealt with."""

_INODE_MASK: Final = 0xFFFFFFFF
"""unix_diag_vfs has 32 bits for the inode (linux/unix_diag.h)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with a descriptor of a connection to ``identity``. ``start_ticks`` as in /proc/PID/stat.

    ``inode`` is the client's socket. ``server`` is the other end, None while nobody has accepted. A holder that was
    only named by the server's end is ``hidden``, and its start time is 0 if it is gone.
    """

    pid: int
    start_ticks: int
    identity: SocketIdentity
    inode: int
    server: End | None = None
    hidden: bool = False

    @property
    def ends(self) -> tuple[End, ...]:
        """Both ends, the client's first."""
        client = () if self.hidden else (End(self.pid, self.start_ticks, self.inode),)
        return client if self.server is None else (*client, self.server)


@dataclass(frozen=True, slots=True)
class Passed:
    """A process that holds the client's end of a connection which the agent itself has accepted as ``accepted``."""

    pid: int
    start_ticks: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What one sweep found. ``silent`` are the sockets asked for that nobody listens on any more."""

    holders: tuple[Holder, ...] = ()
    passed: tuple[Passed, ...] = ()
    silent: frozenset[SocketIdentity] = frozenset()


@dataclass(frozen=True, slots=True)
class _Connection:
    identity: SocketIdentity
    accepted: int  # the server's socket, 0 while it waits


class _View:
    """What the visited namespaces show of the wanted sockets."""

    def __init__(self, identities: Iterable[SocketIdentity], accepted: Collection[int] = ()) -> None:
        self._wanted = {(identity.device, identity.inode & _INODE_MASK): identity for identity in identities}
        self._accepted = accepted
        self.clients: dict[int, _Connection] = {}
        self.passed: dict[int, int] = {}
        self.bound: set[SocketIdentity] = set()

    def look(self) -> None:
        for found in unixdiag.dump():
            if found.inode in self._accepted and found.peer:
                self.passed[found.peer] = found.inode
            identity = self._wanted.get((found.device, found.file_inode))
            if identity is None:
                continue
            if found.listens:
                self.bound.add(identity)
                for client in unixdiag.waiting(found.inode):
                    self.clients.setdefault(client, _Connection(identity, 0))
            elif found.peer:
                self.clients[found.peer] = _Connection(identity, found.inode)


def scan(identities: Collection[SocketIdentity], accepted: Collection[int] = ()) -> Scan:
    """Return every process that holds the client's end of a connection to one of the sockets, or of ``accepted``.

    ``accepted`` are inodes of sockets that the agent accepted. Takes some ten milliseconds per hundred processes: run
    it off the event loop.
    """
    found, hidden = _scan(identities, accepted)
    if hidden:
        # A process was born or ended while we looked; only who is not seen twice hides.
        found, hidden = _scan(identities, accepted)
    if hidden:
        # Or the connection ended meanwhile.
        view = _View(identities)
        unixdiag.visit(_pids(), view.look)
        hidden = tuple(holder for holder in hidden if holder.inode in view.clients)
    return replace(found, holders=(*found.holders, *hidden)[:MAX_HOLDERS])


def look_at(pid: int, identities: Collection[SocketIdentity]) -> tuple[Holder, ...]:
    """Return the connections of one process to the sockets; takes a millisecond or two, and is no word on others."""
    start = process.start_ticks(pid)
    view = _View(identities)
    unixdiag.visit((os.getpid(), pid), view.look)
    inodes = _sockets_of(pid)
    if start is None or process.start_ticks(pid) != start:
        return ()
    return tuple(
        Holder(pid, start, connection.identity, inode) for inode, connection in view.clients.items() if inode in inodes
    )


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(process.PROC) if entry.isdigit()]


def _scan(identities: Collection[SocketIdentity], accepted: Collection[int]) -> tuple[Scan, tuple[Holder, ...]]:
    pids = _pids()
    view = _View(identities, accepted)
    unixdiag.visit(pids, view.look)
    silent = frozenset(identities) - view.bound
    if not view.clients and not view.passed:
        return Scan(silent=silent), ()
    servers = {connection.accepted for connection in view.clients.values()} - {0}
    interesting = view.clients.keys() | view.passed.keys() | servers
    held: dict[int, list[End]] = {}
    for pid in pids:
        for end in _ends(pid, interesting):
            held.setdefault(end.inode, []).append(end)
    holders = tuple(
        Holder(end.pid, end.start_ticks, connection.identity, inode, _server(connection, held))
        for inode, connection in view.clients.items()
        for end in held.get(inode, ())
    )
    passed = tuple(
        Passed(end.pid, end.start_ticks, inode) for client, inode in view.passed.items() for end in held.get(client, ())
    )
    hidden = {inode: connection for inode, connection in view.clients.items() if inode not in held}
    return Scan(holders, passed, silent), _hidden(hidden, held)


def _ends(pid: int, interesting: Collection[int]) -> list[End]:
    start = process.start_ticks(pid)
    found = [inode for inode in _sockets_of(pid) if inode in interesting]
    if not found or start is None or process.start_ticks(pid) != start:
        return []
    return [End(pid, start, inode) for inode in found]


def _sockets_of(pid: int) -> Collection[int]:
    """Return the sockets of a process. One that may not be looked into hides its own."""
    try:
        return sockets_of(pid)
    except PermissionError:
        return ()


def _server(connection: _Connection, held: Mapping[int, list[End]]) -> End | None:
    return next(iter(held.get(connection.accepted, ())), None)


def _hidden(connections: Mapping[int, _Connection], held: Mapping[int, list[End]]) -> tuple[Holder, ...]:
    """Name the connector of each connection that no process shows, where somebody serves it."""
    found = []
    for inode, connection in connections.items():
        server = _server(connection, held)
        if server is not None:
            pid = connector(server)
            found.append(Holder(pid, process.start_ticks(pid) or 0, connection.identity, inode, server, hidden=True))
    return tuple(found)
