"""What is done about a connection to a guarded socket: found by an event or by a sweep, judged once, dealt with.

Owns the way from a record or a holder to a ``GuardEvent``. Must not know the policy: who may connect is the judge's
answer; nor where records come from.
"""

from __future__ import annotations

import collections
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.kernel import process
from sockwarden.kernel.events import ConnectEvent, GuardEvent, Sighting, Taken
from sockwarden.kernel.holders import Holder
from sockwarden.kernel.sockets import SocketIdentity, Unresolved, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_JUDGED: Final = 4096
"""Holders remembered as already reported, so that one old connection is not reported by every sweep."""


@dataclass(frozen=True, slots=True)
class GuardedSocket:
    """A socket under guard."""

    path: Path
    socket_class: abi.SocketClass
    identity: SocketIdentity


class Dealer:
    """``connected`` and ``held`` are given what was seen; ``judge`` and ``tell`` are called on the same thread."""

    def __init__(
        self,
        judge: Callable[[ConnectEvent], bool],
        tell: Callable[[GuardEvent], None],
        path_of: Callable[[int], str],
        sweep: Callable[[], None],
    ) -> None:
        """``path_of`` gives a cgroup's path by its id, ``sweep`` asks for another look at who holds a connection."""
        self._judge = judge
        self._tell = tell
        self._path_of = path_of
        self._sweep = sweep
        self._judged: collections.OrderedDict[Holder, None] = collections.OrderedDict()
        self.sockets: Mapping[SocketIdentity, GuardedSocket] = {}
        self.action = abi.Action.AUDIT
        self.counts: Final[collections.Counter[str]] = collections.Counter()

    def judge_anew(self) -> None:
        """Let everybody who holds a connection be judged again, by the policy of now."""
        self._judged.clear()

    def connected(self, record: abi.ConnectRecord) -> None:
        """Deal with one record of the kernel."""
        self.counts["connects"] += 1
        guarded = self._guarded(record)
        if guarded is None:
            return
        actor = record.actor
        event = ConnectEvent(
            sighting=Sighting.CONNECT,
            pid=actor.tgid,
            start_ticks=process.to_ticks(actor.start_ns),
            uid=actor.uid,
            gid=actor.gid,
            pid_ns=actor.pid_ns,
            mnt_ns=actor.mnt_ns,
            comm=actor.comm,
            cgroup_id=actor.cgroup_id,
            cgroup_path=self._path_of(actor.cgroup_id) or process.cgroup_path(actor.tgid),
            socket=guarded.path,
            socket_class=guarded.socket_class,
            kernel_verdict=record.verdict,
        )
        self._deal(event, guarded.identity, refused=record.refused, killed=record.killed)

    def held(self, found: tuple[Holder, ...]) -> None:
        """Deal with who was found to hold a connection."""
        for holder in found:
            guarded = self.sockets.get(holder.identity)
            if guarded is None or holder in self._judged or holder.pid == os.getpid():
                continue
            uid, gid = process.owner(holder.pid)
            event = ConnectEvent(
                sighting=Sighting.HELD,
                pid=holder.pid,
                start_ticks=holder.start_ticks,
                uid=uid,
                gid=gid,
                pid_ns=process.namespace(holder.pid, "pid"),
                mnt_ns=process.namespace(holder.pid, "mnt"),
                comm=process.name(holder.pid),
                cgroup_id=0,
                cgroup_path=process.cgroup_path(holder.pid),
                socket=guarded.path,
                socket_class=guarded.socket_class,
                kernel_verdict=abi.KernelVerdict.NONE,
            )
            if process.start_ticks(holder.pid) == holder.start_ticks:  # else the facts above may be another's
                self._deal(event, guarded.identity, refused=False, killed=False)

    def _guarded(self, record: abi.ConnectRecord) -> GuardedSocket | None:
        if record.source is not abi.Source.SYSCALL:
            # None for the canary's, or those of a generation that is over.
            return self.sockets.get(SocketIdentity(record.device, record.inode))
        found = resolve(record.actor, record.path)
        guarded = None if isinstance(found, Unresolved) else self.sockets.get(found)
        if guarded is None:
            self.counts["ordinary" if isinstance(found, SocketIdentity) else "unresolved"] += 1
            if record.actor.mnt_ns != process.host_mount_namespace():
                self._sweep()
        return guarded

    def _deal(self, event: ConnectEvent, identity: SocketIdentity, *, refused: bool, killed: bool) -> None:
        """Ask the judge and do what the action says."""
        self._judged[Holder(event.pid, event.start_ticks, identity)] = None
        while len(self._judged) > MAX_JUDGED:
            self._judged.popitem(last=False)
        if self._judge(event):
            taken = Taken.ALLOWED
        elif killed:
            taken = Taken.KILLED
        elif self.action is abi.Action.KILL:
            taken = Taken(process.kill(event.pid, event.start_ticks).value)
            self._sweep()  # it may have handed the connection on before it died
        elif refused:
            taken = Taken.BLOCKED
        else:
            taken = Taken.REPORTED
        self.counts[taken.value] += 1
        self._tell(GuardEvent(event, taken))
