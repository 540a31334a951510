"""Puts the kernel guard to work for the policy: who may touch the engine's own socket, and what is recorded.

Never: a decision on the gateway's clients; those are the gateway's.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.abi import KernelVerdict, SocketClass
from sockwarden.errors import KernelError
from sockwarden.identity.cgroup import Place, placement
from sockwarden.identity.peer import PROCFS, PeerSnapshot
from sockwarden.kernel.events import GuardEvent, LossEvent, Sighting, Taken
from sockwarden.model import Client, IdentitySource, Mode, Peer, Rule, UnknownClient
from sockwarden.observe.audit import AuditRecord
from sockwarden.observe.metrics import Decision

if TYPE_CHECKING:
    import asyncio

    from sockwarden.identity.container import ContainerResolver
    from sockwarden.kernel.events import ConnectEvent
    from sockwarden.kernel.guard import Guard
    from sockwarden.observe.audit import AuditLog
    from sockwarden.observe.metrics import Metrics
    from sockwarden.observe.process import ProcessCache
    from sockwarden.policy.decide import Generation

GUARD_KINDS: Final = tuple(taken.value for taken in Taken)
"""The label values of ``sockwarden_guard_events_total``."""

_log = logging.getLogger(__name__)


class Sentry:
    """The judge and the sink of the guard's events."""

    def __init__(self, resolver: ContainerResolver, processes: ProcessCache, metrics: Metrics, audit: AuditLog) -> None:
        """Prepare; :meth:`watch` begins."""
        self._resolver = resolver
        self._processes = processes
        self._metrics = metrics
        self._audit = audit
        self._guard: Guard | None = None
        self.generation: Generation | None = None
        self.fault = ""
        """Why the kernel does not know the sockets of now; "" while it does."""

    def watch(self, guard: Guard, loop: asyncio.AbstractEventLoop) -> None:
        """Start the guard.

        Raises:
            KernelError: the configuration names a rung that cannot be had.
        """
        guard.start(loop)
        self._guard = guard

    def guard_sockets(self, engine: str, public: str) -> None:
        """Put the engine's socket and the gateway's under guard, as they are now."""
        if self._guard is None:
            return
        try:
            self._guard.guard_sockets([Path(engine)] if Path(engine).is_socket() else [], [Path(public)])
            self.fault = ""
        except KernelError as error:
            self.fault = str(error)
            _log.warning("the kernel guard does not know the sockets: %s", error)

    def refresh_counters(self) -> None:
        """Copy the kernel's counters into the metrics."""
        if self._guard is not None:
            self._metrics.guard_lost_events = self._guard.counters().get("lost", 0)

    def may_touch(self, event: ConnectEvent) -> bool:
        """Whether this process may connect: host processes may; those of containers have the public socket."""
        if event.socket_class is SocketClass.PUBLIC:
            # The kernel denies it only to those that the gateway has told often enough; see service.verdicts.
            return event.kernel_verdict is not KernelVerdict.DENY
        if self.generation is None or not self.generation.enabled:
            return True
        lines = PROCFS.cgroup(event.pid) or ""
        if not lines or PROCFS.start_ticks(event.pid) != event.start_ticks:
            lines = f"0::{event.cgroup_path}\n"
        if placement(lines).place is Place.HOST:
            return True
        self._processes.describe(event.pid, event.start_ticks)  # while it lives: the record comes after a kill
        return not self.generation.enforcing and self._note(event, lines)

    def saw(self, event: GuardEvent | LossEvent) -> None:
        """Count and record what the guard saw."""
        if isinstance(event, LossEvent):
            return  # counted in the kernel; refresh_counters reads it
        self._metrics.count_guard_event(event.taken.value)
        if event.taken is Taken.ALLOWED:
            return
        if event.taken is Taken.KILLED:
            self._metrics.kills += 1
        if event.connect.socket_class is SocketClass.PUBLIC and event.connect.sighting is Sighting.CONNECT:
            self._metrics.count_denial(Rule.IMAGE_LIST)  # told by the gateway, and recorded when it began
            return
        self._metrics.count_denial(Rule.GUARD)
        text = f"connected to the engine's own socket: {event.taken.value}"
        if not self._record(event.connect, Decision.DENY, text):
            return  # a flood: the trail has its count, and the log needs no more of the same
        _log.warning(
            "pid %d (%s) in a container connected to %s: %s",
            event.connect.pid,
            event.connect.comm,
            event.connect.socket,
            event.taken.value,
        )

    def _note(self, event: ConnectEvent, lines: str) -> bool:
        """Record what audit mode lets pass."""
        self._record(event, Decision.WOULD_DENY, "connected to the engine's own socket", lines)
        return True

    def _record(self, event: ConnectEvent, decision: Decision, message: str, lines: str = "") -> bool:
        generation = self.generation
        return self._audit.write(
            AuditRecord(
                time=time.time(),
                decision=decision,
                rule=Rule.GUARD,
                command="connect",
                method="CONNECT",
                target=str(event.socket),
                client=self._client(event, lines),
                generation=generation.number if generation else 0,
                mode=generation.mode if generation else Mode.ENFORCE,
                message=message,
            )
        )

    def _client(self, event: ConnectEvent, lines: str) -> Client:
        peer = Peer(event.pid, event.uid, event.gid, event.start_ticks, IdentitySource.EVENT)
        snapshot = PeerSnapshot(peer, lines or f"0::{event.cgroup_path}\n")
        known = self._resolver.resolve_now(snapshot)
        return known or UnknownClient(peer, Rule.GUARD, f"it is in the cgroup {event.cgroup_path!r}")
