"""Who holds a connection to a socket: asked of the kernel by socket diag, not of any event.

Owns the diag query in every network namespace and the way from a socket's inode to processes. It finds what
events miss: connections from before the agent, from io_uring, after lost events, or after a lost race.

A connection shows itself twice: the accepted socket carries the listener's device and inode and names its
peer's inode; one that waits for accept() stands in the listener's own list. Both the client's socket and the
accepted one live in the *client's* network namespace (net/unix/af_unix.c: unix_stream_connect), and diag shows
one namespace only, so each is visited.
"""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockwarden.kernel import process

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockwarden.kernel.sockets import SocketIdentity

MAX_NAMESPACES: Final = 2048
"""Network namespaces visited per sweep; more containers than one host runs."""

MAX_HOLDERS: Final = 4096
"""Processes named per sweep; the rest is found by the next one, after these are dealt with."""

_INODE_MASK: Final = 0xFFFFFFFF
"""unix_diag_vfs has 32 bits for the inode (linux/unix_diag.h)."""

_SOCKET_LINK: Final = "socket:["


@dataclass(frozen=True, slots=True)
class Holder:
    """A process with a descriptor of a connection to ``identity``. ``start_ticks`` as in /proc/PID/stat."""

    pid: int
    start_ticks: int
    identity: SocketIdentity


def holders(identities: Iterable[SocketIdentity]) -> tuple[Holder, ...]:
    """Return every process that holds the client's end of a connection to one of the sockets.

    Takes some ten milliseconds per hundred processes: run it off the event loop.
    """
    wanted = {(identity.device, identity.inode & _INODE_MASK): identity for identity in identities}
    pids = _pids()
    clients: dict[int, SocketIdentity] = {}
    for sample in list(_namespaces(pids).values())[:MAX_NAMESPACES]:
        clients.update(_ask(sample, wanted))
    if not clients:
        return ()
    return tuple(holder for pid in pids for holder in _held_by(pid, clients))[:MAX_HOLDERS]


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(process.PROC) if entry.isdigit()]


def _namespaces(pids: list[int]) -> dict[int, int]:
    """Return one process for each network namespace."""
    found = {process.namespace(pid, "net"): pid for pid in pids}
    found.pop(0, None)
    return found


def _ask(pid: int, wanted: dict[tuple[int, int], SocketIdentity]) -> dict[int, SocketIdentity]:
    """Return the inodes of client sockets in the network namespace of ``pid``."""
    from pyroute2 import DiagSocket, netns  # noqa: PLC0415  # 11 MiB that an agent without a guard does not need

    answer: dict[int, SocketIdentity] = {}

    def visit() -> None:
        # Only this thread moves, and it ends here: nothing has to be moved back.
        try:
            descriptor = os.open(process.PROC / str(pid) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # the namespace went with its process
        try:
            netns.setns(descriptor)
            with DiagSocket() as diag:
                diag.bind()
                for message in diag.get_sock_stats():
                    answer.update(_clients(message, wanted))
        except OSError:
            return  # the namespace is gone, ignoring: its sockets are gone too
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=visit, name="sockwarden-diag", daemon=True)
    thread.start()
    thread.join()
    return answer


def _clients(message: Any, wanted: dict[tuple[int, int], SocketIdentity]) -> dict[int, SocketIdentity]:
    """Return the client inodes that one diag message names."""
    vfs = message.get_attr("UNIX_DIAG_VFS")
    identity = wanted.get((vfs["udiag_vfs_dev"], vfs["udiag_vfs_ino"])) if vfs else None
    if identity is None:
        return {}
    peer = message.get_attr("UNIX_DIAG_PEER")
    inodes = [peer] if peer else []
    waiting = message.get_attr("UNIX_DIAG_ICONS")
    if waiting:
        packed = bytes.fromhex(waiting.replace(":", ""))
        inodes += [inode for (inode,) in struct.iter_unpack("=I", packed)]
    return dict.fromkeys(inodes, identity)


def _held_by(pid: int, clients: dict[int, SocketIdentity]) -> list[Holder]:
    """Return one holder per guarded socket that a process has a connection to."""
    start = process.start_ticks(pid)
    found: set[SocketIdentity] = set()
    try:
        with os.scandir(process.PROC / str(pid) / "fd") as descriptors:
            for descriptor in descriptors:
                try:
                    link = os.readlink(descriptor.path)
                except OSError:
                    continue  # closed meanwhile
                inode = link[len(_SOCKET_LINK) : -1] if link.startswith(_SOCKET_LINK) else ""
                if inode.isdigit() and int(inode) in clients:
                    found.add(clients[int(inode)])
    except OSError:
        return []  # the process is gone
    if start is None or process.start_ticks(pid) != start:
        return []
    return [Holder(pid, start, identity) for identity in found]
