"""Judges who may touch a guarded socket, by the policy of now, and records what the kernel guard saw and did.

Never: a decision on the gateway's clients; those are the gateway's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeVar

from sockwarden.abi import KernelVerdict, SocketClass
from sockwarden.identity.cgroup import Place, placement
from sockwarden.identity.peer import PROCFS, PeerSnapshot
from sockwarden.kernel.events import GuardEvent, LossEvent, Sighting, Taken
from sockwarden.model import Client, ContainerClient, IdentitySource, Mode, Peer, Rule, UnknownClient
from sockwarden.observe.audit import AuditRecord
from sockwarden.observe.metrics import Decision

if TYPE_CHECKING:
    from sockwarden.identity.container import ContainerResolver
    from sockwarden.kernel.events import ConnectEvent
    from sockwarden.kernel.guard import Guard
    from sockwarden.observe.audit import AuditLog
    from sockwarden.observe.metrics import Metrics
    from sockwarden.observe.process import ProcessCache
    from sockwarden.policy.decide import Generation

GUARD_KINDS: Final = tuple(taken.value for taken in Taken)
"""The label values of ``sockwarden_guard_events_total``."""

MAX_NAMING: Final = 64
"""Events that wait for the engine to say which container it was; more are recorded without."""

MAX_REMEMBERED: Final = 256
"""Judged processes whose cgroups are kept until the event comes, and cgroups of which a dispute was told."""

_VERBS: Final = {
    Sighting.CONNECT: "connected to",
    Sighting.HELD: "holds a connection to",
    Sighting.HANDED: "was handed a connection to",
}

_OBJECTS: Final = {
    SocketClass.ENGINE: "the engine's own socket",
    SocketClass.HOST_ONLY: "a socket of the host alone",
    SocketClass.PUBLIC: "the docker socket",
}

_ENDS: Final = {
    Taken.BLOCKED: "blocked",
    Taken.CUT: "the connection was cut",
    Taken.KILLED: "killed",
    Taken.GONE: "it had ended before anything could be done",
    Taken.REFUSED: "the kernel refused to end it, and it goes on",
}

_REMEDIES: Final = {
    SocketClass.ENGINE: "mount the docker socket where the container is to use it, and start it anew",
    SocketClass.HOST_ONLY: "if containers are to use it, leave it out of guard.host_only",
    SocketClass.PUBLIC: "let each container open its own connection",
}

_log = logging.getLogger(__name__)


def told(event: GuardEvent) -> str:
    """Return what an audit record says of a denied connection: how, to which kind of socket, and what came of it.

    In audit mode nothing came of it. Then it says what to change where it should be allowed, and the name that the
    process gave itself: all that is left of one that was gone before it could be looked at.
    """
    connect = event.connect
    kind = connect.socket_class
    text = f"{_VERBS[connect.sighting]} {_OBJECTS.get(kind, 'a guarded socket')}"
    if kind is SocketClass.PUBLIC and connect.sighting is Sighting.HANDED:
        text = "the connection was handed over: it is another container's"
    if event.taken in _ENDS:
        text += f": {_ENDS[event.taken]}"
    if kind in _REMEDIES:
        text += f"; {_REMEDIES[kind]}"
    return f"{text}; the process calls itself {connect.comm!r}" if connect.comm else text


class Sentry:
    """The judge and the sink of the guard's events, for one event loop."""

    def __init__(self, resolver: ContainerResolver, processes: ProcessCache, metrics: Metrics, audit: AuditLog) -> None:
        """Prepare; :meth:`watch` begins."""
        self._resolver = resolver
        self._processes = processes
        self._metrics = metrics
        self._audit = audit
        self._guard: Guard | None = None
        self._lines: OrderedDict[tuple[int, int], str] = OrderedDict()
        self._disputed: OrderedDict[str, None] = OrderedDict()
        self._naming: set[asyncio.Task[None]] = set()
        self.generation: Generation | None = None

    def watch(self, guard: Guard, loop: asyncio.AbstractEventLoop) -> None:
        """Start the guard.

        Raises:
            KernelError: the configuration names a rung that cannot be had.
        """
        guard.start(loop)
        self._guard = guard

    def refresh_counters(self) -> None:
        """Copy the kernel's counters into the metrics, and look for what it had no room to tell."""
        if self._guard is not None:
            self._guard.catch_up()
            self._metrics.guard_lost_events = self._guard.counters().get("lost", 0)

    @property
    def enforcing(self) -> bool:
        """Whether the policy of now is carried out, and not only recorded."""
        return self.generation is not None and self.generation.enabled and self.generation.enforcing

    def may_touch(self, event: ConnectEvent) -> bool:
        """Whether this process may connect: host processes may; those of containers have the public socket."""
        if event.socket_class is SocketClass.PUBLIC:
            # The kernel denies it only to those that the gateway has told often enough (see service.verdicts), and to
            # those who got the connection from somebody else.
            return event.kernel_verdict is not KernelVerdict.DENY
        if self.generation is None or not self.generation.enabled:
            return True
        lines = PROCFS.cgroup(event.pid) or ""
        if not lines or PROCFS.start_ticks(event.pid) != event.start_ticks:
            lines = f"0::{event.cgroup_path}\n"
        if placement(lines).place is Place.HOST:
            return True
        self._processes.describe(event.pid, event.start_ticks)  # while it lives: the record comes after a kill
        _keep(self._lines, (event.pid, event.start_ticks), lines)
        return False

    def saw(self, event: GuardEvent | LossEvent) -> None:
        """Count and record what the guard saw."""
        if isinstance(event, LossEvent):
            return  # counted in the kernel; refresh_counters reads it
        self._metrics.count_guard_event(event.taken.value)
        if event.taken is Taken.ALLOWED:
            return
        if event.taken is Taken.DISPUTED:
            self._dispute(event.connect)
            return
        if event.taken is Taken.KILLED:
            self._metrics.kills += 1
        if event.connect.socket_class is SocketClass.PUBLIC and event.connect.sighting is Sighting.CONNECT:
            self._metrics.count_denial(Rule.IMAGE_LIST)  # told by the gateway, and recorded when it began
            return
        if event.taken is not Taken.REPORTED:
            self._metrics.count_denial(Rule.GUARD)
        self._name_and_record(event)

    # -- parts ------------------------------------------------------------

    def _dispute(self, connect: ConnectEvent) -> None:
        """Say once for each cgroup that the kernel stopped what the policy allows."""
        if connect.cgroup_path in self._disputed:
            return
        _keep(self._disputed, connect.cgroup_path, None)
        _log.warning(
            "the kernel kept pid %d (%s) from %s, though its cgroup %s is no container's: it has a mount namespace of"
            " its own and is no service of systemd; let it use the docker socket, or run it as a service",
            connect.pid,
            connect.comm,
            connect.socket,
            connect.cgroup_path or "(unknown)",
        )

    def _name_and_record(self, event: GuardEvent) -> None:
        """Record at once where the container is known, else when the engine has said which one it is."""
        connect, now = event.connect, time.time()
        peer = Peer(connect.pid, connect.uid, connect.gid, connect.start_ticks, IdentitySource.EVENT)
        lines = self._lines.get((connect.pid, connect.start_ticks)) or f"0::{connect.cgroup_path}\n"
        snapshot = PeerSnapshot(peer, lines)
        known = self._resolver.resolve_now(snapshot)
        if known is not None or len(self._naming) >= MAX_NAMING:
            self._record(event, known or _unknown(peer, connect), now)
            return

        async def ask() -> None:
            self._record(event, await self._resolver.resolve(snapshot), now)

        task = asyncio.get_running_loop().create_task(ask())
        self._naming.add(task)
        task.add_done_callback(self._naming.discard)

    def _record(self, event: GuardEvent, client: Client, now: float) -> None:
        generation, connect, message = self.generation, event.connect, told(event)
        written = self._audit.write(
            AuditRecord(
                time=now,
                decision=Decision.WOULD_DENY if event.taken is Taken.REPORTED else Decision.DENY,
                rule=Rule.GUARD,
                command="connect",
                method="CONNECT",
                target=str(connect.socket),
                client=client if not isinstance(client, UnknownClient) else _unknown(client.peer, connect),
                generation=generation.number if generation else 0,
                mode=generation.mode if generation else Mode.ENFORCE,
                message=message,
            )
        )
        if not written:
            return  # a flood: the trail has its count, and the log needs no more of the same
        container = f"container {client.container.id[:12]}" if isinstance(client, ContainerClient) else "a container"
        _log.warning("pid %d (%s) in %s, %s: %s", connect.pid, connect.comm, container, connect.socket, message)


def _unknown(peer: Peer | None, connect: ConnectEvent) -> UnknownClient:
    return UnknownClient(peer, Rule.GUARD, f"it is in the cgroup {connect.cgroup_path!r}")


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _keep(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    kept[key] = value
    while len(kept) > MAX_REMEMBERED:
        kept.popitem(last=False)
