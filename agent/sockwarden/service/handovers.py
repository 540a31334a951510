"""Connections to the gateway that came into other hands, where no rung of the kernel refuses that.

Owns how often is looked, and what a hand-over is. The gateway has judged who called connect(); a descriptor can be
given to anybody afterwards (SCM_RIGHTS in unix(7), pidfd_getfd(2)). Must never take fork, exec or ``docker exec`` for
one: whoever is in the connector's own container may use its connections, and so may the host.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.abi import KernelVerdict, SocketClass
from sockwarden.identity.peer import PROCFS, PeerSnapshot
from sockwarden.kernel.events import ConnectEvent, GuardEvent, Sighting, Taken
from sockwarden.kernel.life import process
from sockwarden.model import Client, ContainerClient, HostClient, IdentitySource, Peer, Rule, UnknownClient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sockwarden.identity.container import ContainerResolver
    from sockwarden.kernel.connections.holders import Passed, Scan

LOOK_SECONDS: Final = 2.0
"""Between two looks while a container is connected. One reads the descriptors of all processes; docs/performance.md has
what that costs."""

MAX_TOLD: Final = 1024
"""Hand-overs remembered as told, so that in audit mode each is told once."""


class Handovers:
    """One per agent, for its one event loop."""

    def __init__(
        self,
        resolver: ContainerResolver,
        clients: Callable[[], Mapping[int, Client]],
        drop: Callable[[int], bool],
        tell: Callable[[GuardEvent], None],
    ) -> None:
        """Prepare.

        Args:
            resolver: places a process.
            clients: who connected, by the inode of the accepted socket, for every open connection.
            drop: closes the connection with this inode; False where it is gone.
            tell: gets every hand-over.
        """
        self._resolver: Final = resolver
        self._clients: Final = clients
        self._drop: Final = drop
        self._tell: Final = tell
        self._told: Final[OrderedDict[Passed, None]] = OrderedDict()
        self._asking: Final[set[asyncio.Task[None]]] = set()
        self._next_look = 0.0
        self.socket = Path()
        """The gateway's own, for the record."""
        self.enforcing = False

    def accepted(self) -> Collection[int]:
        """Return the accepted sockets of which a sweep shall tell who holds the other end."""
        return [inode for inode, client in self._clients().items() if not isinstance(client, UnknownClient)]

    def is_due(self, now: float) -> bool:
        """Return whether a sweep is due at ``now``, in seconds: containers are connected, and the last look is old."""
        if now < self._next_look or not any(isinstance(client, ContainerClient) for client in self._clients().values()):
            return False
        self._next_look = now + LOOK_SECONDS
        return True

    def swept(self, scan: Scan) -> None:
        """Judge who holds clients' ends; who cannot be placed without the engine's word is judged when it has come."""
        clients = self._clients()
        for passed in scan.passed:
            client = clients.get(passed.accepted)
            peer = None if client is None else client.peer
            if client is None or peer is None or (peer.pid, peer.start_ticks) == (passed.pid, passed.start_ticks):
                continue
            snapshot = _snapshot(passed)
            if snapshot is None:
                continue
            holder = self._resolver.resolve_now(snapshot)
            if holder is not None:
                self._judge(passed, client, holder)
            elif len(self._asking) < MAX_TOLD:
                task = asyncio.get_running_loop().create_task(self._ask(passed, client, snapshot))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _ask(self, passed: Passed, client: Client, snapshot: PeerSnapshot) -> None:
        holder = await self._resolver.resolve(snapshot)
        if self._clients().get(passed.accepted) is client:  # else the number is another connection's by now
            self._judge(passed, client, holder)

    def _judge(self, passed: Passed, client: Client, holder: Client) -> None:
        if not is_handover(client, holder) or passed in self._told:
            return
        event = self._event(passed, holder)
        if not self.enforcing:
            self._told[passed] = None
            while len(self._told) > MAX_TOLD:
                self._told.popitem(last=False)
            self._tell(GuardEvent(event, Taken.REPORTED))
        else:
            self._tell(GuardEvent(event, Taken.CUT if self._drop(passed.accepted) else Taken.GONE))

    def _event(self, passed: Passed, holder: Client) -> ConnectEvent:
        peer = holder.peer
        return ConnectEvent(
            sighting=Sighting.HANDED,
            pid=passed.pid,
            start_ticks=passed.start_ticks,
            uid=peer.uid if peer is not None else 0,
            gid=peer.gid if peer is not None else 0,
            pid_ns=process.namespace(passed.pid, "pid"),
            mnt_ns=process.namespace(passed.pid, "mnt"),
            comm=process.name(passed.pid),
            cgroup_id=0,
            cgroup_path=process.cgroup_path(passed.pid),
            socket=self.socket,
            socket_class=SocketClass.PUBLIC,
            kernel_verdict=KernelVerdict.NONE,
        )


def is_handover(client: Client, holder: Client) -> bool:
    """Return whether ``holder`` may not use what ``client`` opened.

    The host may: it has the engine's power already. A container may use only what was opened in that container. Who
    cannot be placed because the engine does not answer is asked about again by the next sweep.
    """
    if isinstance(holder, HostClient):
        return False
    if isinstance(holder, ContainerClient):
        return not (isinstance(client, ContainerClient) and client.container.id == holder.container.id)
    return holder.rule is Rule.UNKNOWN_CONTAINER


def _snapshot(passed: Passed) -> PeerSnapshot | None:
    """Return the holder with its cgroups, None if it is gone."""
    lines = PROCFS.cgroup(passed.pid)
    if lines is None or PROCFS.start_ticks(passed.pid) != passed.start_ticks:
        return None
    uid, gid = process.owner(passed.pid)
    return PeerSnapshot(Peer(passed.pid, uid, gid, passed.start_ticks, IdentitySource.EVENT), lines)
