"""What is done about a connection to a guarded socket: found by an event or by a sweep, judged once, dealt with.

Owns the way from a record or a holder to a ``GuardEvent``. Must not know the policy: who may connect is the judge's
answer; nor where records come from.
"""

from __future__ import annotations

import collections
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from sockwarden import abi
from sockwarden.kernel.connections.holders import Holder
from sockwarden.kernel.connections.sockets import SocketIdentity, Unresolved, resolve
from sockwarden.kernel.events import ConnectEvent, GuardEvent, Sighting, Taken
from sockwarden.kernel.life import process
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_JUDGED: Final = 4096
"""Holders remembered as already reported, so that one old connection is not reported by every sweep."""

_ANY: Final = 0
"""No socket has this inode: stands for whichever connection a process has."""

GONE: Final = Path("a socket that is gone")
"""In place of the path of a socket that only records of an earlier time tell of."""

_REPORTED: Final = (abi.SocketClass.ENGINE, abi.SocketClass.HOST_ONLY, abi.SocketClass.PUBLIC)

_KILLED: Final = {Outcome.DONE: Taken.KILLED, Outcome.GONE: Taken.GONE, Outcome.REFUSED: Taken.REFUSED}
_CUT: Final = {Outcome.DONE: Taken.CUT, Outcome.GONE: Taken.GONE, Outcome.REFUSED: Taken.REFUSED}


@dataclass(frozen=True, slots=True)
class GuardedSocket:
    """A socket under guard."""

    path: Path
    socket_class: abi.SocketClass
    identity: SocketIdentity


class Shears(Protocol):
    """Cuts off the loop's thread; see ``shears.ShearsThread``."""

    def cut(self, holder: Holder, done: Callable[[tuple[Holder, ...], Outcome], None]) -> None:
        """Cut the connection of ``holder``, or each that its process has where the inode is 0, then tell which."""


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
        self.shears: Shears | None = None
        self.sockets: Mapping[SocketIdentity, GuardedSocket] = {}
        self.action = abi.Action.AUDIT
        self.counts: Final[collections.Counter[str]] = collections.Counter()

    def judge_anew(self) -> None:
        """Let everybody who holds a connection be judged again, by the policy of now."""
        self._judged.clear()

    def connected(self, record: abi.ConnectRecord) -> None:
        """Deal with one record of the kernel, which may be older than this agent."""
        self.counts["connects"] += 1
        guarded = self._guarded(record)
        if guarded is None:
            return
        actor = record.actor
        event = ConnectEvent(
            sighting=Sighting.HANDED if record.source is abi.Source.RECEIVE else Sighting.CONNECT,
            pid=actor.tgid,
            start_ticks=process.to_ticks(actor.start_ns),
            uid=actor.uid,
            gid=actor.gid,
            pid_ns=actor.pid_ns,
            mnt_ns=actor.mnt_ns,
            comm=actor.comm,
            cgroup_id=actor.cgroup_id,
            cgroup_path=self._path_of(actor.cgroup_id) or _cgroup_path(actor),
            socket=guarded.path,
            socket_class=guarded.socket_class,
            kernel_verdict=record.verdict,
        )
        holder = Holder(event.pid, event.start_ticks, guarded.identity, _ANY)
        if record.refused or record.killed:
            self._stopped(event, killed=record.killed)
        else:
            self._deal(event, holder)

    def held(self, found: tuple[Holder, ...]) -> None:
        """Deal with who was found to hold a connection."""
        for holder in found:
            guarded = self.sockets.get(holder.identity)
            if guarded is None or self._known(holder) or holder.pid == os.getpid():
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
            if holder.hidden or process.start_ticks(holder.pid) == holder.start_ticks:  # else it may be another's
                self._deal(event, holder)

    def _guarded(self, record: abi.ConnectRecord) -> GuardedSocket | None:
        if record.source is not abi.Source.SYSCALL:
            identity = SocketIdentity(record.device, record.inode)
            return self.sockets.get(identity) or self._former(record.socket_class, identity)
        found = resolve(record.actor, record.path)
        guarded = None if isinstance(found, Unresolved) else self.sockets.get(found)
        if guarded is None:
            self.counts["ordinary" if isinstance(found, SocketIdentity) else "unresolved"] += 1
            if record.actor.mnt_ns != process.host_mount_namespace():
                self._sweep()
        return guarded

    def _former(self, socket_class: abi.SocketClass, identity: SocketIdentity) -> GuardedSocket | None:
        """Return a socket of a generation that is over, perhaps another agent's, by the path of its class now."""
        if socket_class not in _REPORTED:
            return None
        paths = (guarded.path for guarded in self.sockets.values() if guarded.socket_class is socket_class)
        return GuardedSocket(next(paths, GONE), socket_class, identity)

    def _known(self, holder: Holder) -> bool:
        return holder in self._judged or replace(holder, inode=_ANY, server=None, hidden=False) in self._judged

    def _remember(self, holder: Holder) -> None:
        self._judged[holder] = None
        while len(self._judged) > MAX_JUDGED:
            self._judged.popitem(last=False)

    def _stopped(self, event: ConnectEvent, *, killed: bool) -> None:
        """Tell of what the kernel has dealt with already."""
        if self._judge(event):
            self._told(event, Taken.DISPUTED)
            return
        if self.action is abi.Action.KILL:
            killed = process.kill(event.pid, event.start_ticks) is Outcome.DONE or killed
        if killed:
            self._sweep()  # it may have passed something on before it died
        self._told(event, Taken.KILLED if killed else Taken.BLOCKED)

    def _deal(self, event: ConnectEvent, holder: Holder) -> None:
        """Ask the judge and do what the action says."""
        if self._judge(event):
            self._remember(holder)
            self._told(event, Taken.ALLOWED)
        elif self.action is abi.Action.KILL and not holder.hidden:
            self._remember(holder)
            self._told(event, _KILLED[process.kill(event.pid, event.start_ticks)])
            self._sweep()  # it may have handed the connection on before it died
        elif self.action is abi.Action.AUDIT or self.shears is None:
            self._remember(holder)
            self._told(event, Taken.REPORTED)
        else:
            self.shears.cut(holder, lambda cut, outcome: self._was_cut(event, cut, outcome))

    def _was_cut(self, event: ConnectEvent, cut: tuple[Holder, ...], outcome: Outcome) -> None:
        for holder in cut:
            # Its server may take its time to close, and must not be reported by a sweep until then.
            self._remember(holder)
        if not cut or outcome is not Outcome.DONE:
            self._sweep()  # it may have handed the connection on, or hide it
        self._told(event, _CUT[outcome])

    def _told(self, event: ConnectEvent, taken: Taken) -> None:
        self.counts[taken.value] += 1
        self._tell(GuardEvent(event, taken))


def _cgroup_path(actor: abi.Actor) -> str:
    """Return where a process is by its number, "" if the number is somebody else's by now."""
    path = process.cgroup_path(actor.tgid)
    return path if process.start_ticks(actor.tgid) == process.to_ticks(actor.start_ns) else ""
