"""The kernel guard, driven by the agent's event loop.

Owns the rung in force, the events of its rings, and what is done about a denied connection. Must not know the
policy: who may connect is the judge's answer. Needs no task of its own: the loop watches two descriptors.

A record names the object (Linux 6.3 and later, and every rung above ``tracepoint``) or only the text that the
caller wrote. A text is looked up as the caller sees it; since the caller may re-point it afterwards, every
text of a process outside the host's mount namespace that does not lead to a guarded socket also asks for a
sweep by socket diag. So does every lost record.
"""

from __future__ import annotations

import collections
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import cgrouptree, ladder, probes, process, rungs
from sockwarden.kernel.events import ConnectEvent, GuardEvent, LossEvent, Sighting, Taken
from sockwarden.kernel.holders import Holder
from sockwarden.kernel.loader import TRACK, BpfObject
from sockwarden.kernel.maps import per_cpu_sum
from sockwarden.kernel.ringbuf import Ring
from sockwarden.kernel.sockets import SocketIdentity, Unresolved, identify, resolve
from sockwarden.kernel.sweeper import Sweeper
from sockwarden.kernel.tracker import Tracker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


RECORDS_PER_TURN: Final = 64
"""Read per readiness of a ring: at 10 to 70 microseconds each, and the judge on top, clients wait some milliseconds."""

RING_BYTES: Final = 512 * 1024
"""About 2,000 connects; what does not fit is counted and followed by a sweep."""

MAX_JUDGED: Final = 4096
"""Holders remembered as already reported, so that one old connection is not reported by every sweep."""

TRACK_PROGRAMS: Final = (
    "track_cgroup_mkdir",
    "track_cgroup_rmdir",
    "track_fork",
    "track_exec",
    "track_exit",
)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """``mode`` is one of ``ladder.MODES``; ``watcher`` pins the tracepoint rung to one of ``rungs.WATCHERS``."""

    mode: str = ladder.AUTO
    action: abi.Action = abi.Action.BLOCK
    ring_bytes: int = RING_BYTES
    watcher: str = ""


@dataclass(frozen=True, slots=True)
class GuardedSocket:
    """A socket under guard."""

    path: Path
    socket_class: abi.SocketClass
    identity: SocketIdentity


class Guard:
    """One guard per agent: ``start``, ``guard_sockets``, ``close``.

    ``judge`` says whether a process may touch the socket; ``sink`` gets every judged connection and every
    loss. Both are called on the loop's thread and must not block.
    """

    def __init__(
        self,
        settings: GuardSettings,
        judge: Callable[[ConnectEvent], bool],
        sink: Callable[[GuardEvent | LossEvent], None],
    ) -> None:
        self._settings = settings
        self._action = settings.action
        self._judge = judge
        self._sink = sink
        self._force: rungs.Force | None = None
        self._track: BpfObject | None = None
        self._life: Ring | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: Sweeper | None = None
        self._sockets: dict[SocketIdentity, GuardedSocket] = {}
        self._judged: collections.OrderedDict[Holder, None] = collections.OrderedDict()
        self._lost = 0
        self._counts: collections.Counter[str] = collections.Counter()
        self._report: ladder.GuardReport | None = None
        self.tracker: Final = Tracker()
        self.on_life: Callable[[abi.CgroupRecord | abi.ProcessRecord], None] = _ignore
        """Called with every record of container life, after the tracker learned it."""

    @property
    def report(self) -> ladder.GuardReport:
        """Which rung is in force, and why no better one is; known after ``start``."""
        if self._report is None:
            raise AssertionError("the guard has not been started")
        return self._report

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Choose and prove a rung, then watch its events on ``loop``.

        Blocks for some tenths of a second: the canary is a process.

        Raises:
            KernelError: the mode names a rung that cannot be had.
        """
        self._loop = loop
        answers = probes.survey()

        def attempt(rung: ladder.Rung) -> str:
            lacking = probes.missing(answers)
            if lacking is not None:
                raise KernelError(lacking.reason, remedy=lacking.remedy)
            self._force = rungs.attempt(rung, self._setup())
            try:
                self._track_life()
            except KernelError:
                self._take_down()
                raise
            seen = "".join(f" {text}" for program, text in rungs.WATCHERS.items() if program in self._force.programs)
            return f"{rung.effect}{seen}; proved by the canary"

        self._report = ladder.choose(self._settings.mode, attempt)
        if self._force is not None:
            loop.add_reader(self._force.ring.fileno(), self._read_connects)
        self._sweeper = Sweeper(loop, self._sweep_targets, self._judge_holders)

    def guard_sockets(
        self, engine: Iterable[Path], public: Iterable[Path] = (), host_only: Iterable[Path] = ()
    ) -> tuple[GuardedSocket, ...]:
        """Put exactly these sockets under guard and judge who holds a connection already.

        Call it again when a socket was created anew: a new file is a new object.

        Raises:
            KernelError: a path is no socket, or the map is full.
        """
        wanted: Mapping[abi.SocketClass, Iterable[Path]] = {
            abi.SocketClass.ENGINE: engine,
            abi.SocketClass.HOST_ONLY: host_only,
            abi.SocketClass.PUBLIC: public,
        }
        found: dict[SocketIdentity, GuardedSocket] = {}
        for socket_class, paths in wanted.items():
            for path in paths:
                identity = identify(path)
                # The first class wins: one object under two names is guarded as the stricter of them.
                found.setdefault(identity, GuardedSocket(path, socket_class, identity))
        if self._force is not None:
            self._force.publish(_classes(found), self._action)
        self._sockets = found
        self._judged.clear()  # whoever holds a connection is judged anew, by the policy of now
        self.sweep()
        return tuple(found.values())

    def set_action(self, action: abi.Action) -> None:
        """Change what is done about a denied connection from now on, as a new policy says.

        Raises:
            KernelError: the map is full.
        """
        if self._force is not None:
            self._force.publish(_classes(self._sockets), action)
        self._action = action
        self._judged.clear()
        self.sweep()

    def sweep(self) -> None:
        """Ask the kernel who holds a connection; the answer comes as events of the kind HELD."""
        if self._sweeper is not None and self._force is not None and self._sweep_targets():
            self._sweeper.request()

    def cgroup_path(self, cgroup_id: int) -> str:
        """Return the path of a cgroup of the v2 tree, "" if it is not known."""
        found = self.tracker.find(cgroup_id)
        return found.path if found is not None else ""

    def counters(self) -> dict[str, int]:
        """Return every counter by its name; they only grow."""
        values = {f"user_{name}": count for name, count in self._counts.items()}
        values |= {"cgroups_evicted": self.tracker.evicted, "lost": 0}
        if self._sweeper is not None:
            values |= {"sweeps": self._sweeper.done, "sweeps_failed": self._sweeper.failed}
        if self._force is not None:
            values |= {f"guard_{which.name.lower()}": self._force.stat(which) for which in abi.GuardStat}
            values["lost"] += values["guard_dropped"]
        if self._track is not None:
            fd = self._track.map_fd("sw_track_stats")
            values |= {f"track_{which.name.lower()}": per_cpu_sum(fd, which) for which in abi.TrackStat}
            values["lost"] += values["track_dropped"]
        return values

    def close(self) -> None:
        """Take everything down; a second call does nothing."""
        if self._sweeper is not None:
            self._sweeper.close()
            self._sweeper = None
        self._take_down()

    def _take_down(self) -> None:
        if self._life is not None:
            self._forget_reader(self._life)
            self._life.close()
            self._life = None
        if self._track is not None:
            self._track.close()
            self._track = None
        if self._force is not None:
            self._forget_reader(self._force.ring)
            self._force.close()
            self._force = None

    def _setup(self) -> rungs.Setup:
        return rungs.Setup(self._settings.ring_bytes, self._settings.watcher)

    def _forget_reader(self, ring: Ring) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(ring.fileno())

    def _track_life(self) -> None:
        if self._loop is None:
            raise AssertionError("life is tracked on a loop")
        self._track = BpfObject(TRACK, TRACK_PROGRAMS, {"sw_life": self._settings.ring_bytes})
        self._life = Ring(self._track.map_fd("sw_life"))
        for program in TRACK_PROGRAMS:
            self._track.attach(program)
        # The walk comes second: a cgroup made in between is told by its event.
        top = cgrouptree.mount_point()
        if top is not None:
            self.tracker.seed(cgrouptree.walk(top))
        self._loop.add_reader(self._life.fileno(), self._read_life)

    def _read_life(self) -> None:
        if self._life is None:
            return
        for data in self._life.consume(RECORDS_PER_TURN):
            record = self._decode(data)
            if isinstance(record, abi.CgroupRecord):
                self.tracker.feed(record)
            if record is not None and not isinstance(record, abi.ConnectRecord):
                self.on_life(record)

    def _read_connects(self) -> None:
        if self._force is None:
            return
        for data in self._force.ring.consume(RECORDS_PER_TURN):
            record = self._decode(data)
            if isinstance(record, abi.ConnectRecord):
                self._connected(record)
        lost = self._force.stat(abi.GuardStat.DROPPED)
        if lost > self._lost:
            self._sink(LossEvent(lost - self._lost))
            self._lost = lost
            self.sweep()

    def _decode(self, data: bytes) -> abi.Record | None:
        try:
            return abi.decode(data)
        except KernelError:
            self._counts["undecodable"] += 1
            return None

    def _connected(self, record: abi.ConnectRecord) -> None:
        self._counts["connects"] += 1
        if record.source is abi.Source.SYSCALL:
            found = resolve(record.actor, record.path)
            guarded = None if isinstance(found, Unresolved) else self._sockets.get(found)
            if guarded is None:
                self._counts["ordinary" if isinstance(found, SocketIdentity) else "unresolved"] += 1
                if record.actor.mnt_ns != process.host_mount_namespace():
                    self.sweep()
                return
        else:
            guarded = self._sockets.get(SocketIdentity(record.device, record.inode))
            if guarded is None:
                return  # of the canary, or of a generation that is over
        actor = record.actor
        self._deal(
            ConnectEvent(
                sighting=Sighting.CONNECT,
                pid=actor.tgid,
                start_ticks=process.to_ticks(actor.start_ns),
                uid=actor.uid,
                gid=actor.gid,
                pid_ns=actor.pid_ns,
                mnt_ns=actor.mnt_ns,
                comm=actor.comm,
                cgroup_id=actor.cgroup_id,
                cgroup_path=self.cgroup_path(actor.cgroup_id) or process.cgroup_path(actor.tgid),
                socket=guarded.path,
                socket_class=guarded.socket_class,
                kernel_verdict=record.verdict,
            ),
            guarded.identity,
        )

    def _sweep_targets(self) -> tuple[SocketIdentity, ...]:
        """Return the sockets whose holders matter: the gateway judges its own."""
        return tuple(
            guarded.identity for guarded in self._sockets.values() if guarded.socket_class is not abi.SocketClass.PUBLIC
        )

    def _judge_holders(self, found: tuple[Holder, ...]) -> None:
        for holder in found:
            guarded = self._sockets.get(holder.identity)
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
                self._deal(event, guarded.identity)

    def _deal(self, event: ConnectEvent, identity: SocketIdentity) -> None:
        """Ask the judge and do what the action says."""
        self._judged[Holder(event.pid, event.start_ticks, identity)] = None
        while len(self._judged) > MAX_JUDGED:
            self._judged.popitem(last=False)
        if self._judge(event):
            taken = Taken.ALLOWED
        elif self._action is abi.Action.KILL:
            taken = Taken(process.kill(event.pid, event.start_ticks).value)
            self.sweep()  # it may have handed the connection on before it died
        elif self._action is abi.Action.BLOCK and self._blocks(event):
            taken = Taken.BLOCKED
        else:
            taken = Taken.REPORTED
        self._counts[taken.value] += 1
        self._sink(GuardEvent(event, taken))

    def _blocks(self, event: ConnectEvent) -> bool:
        return self.report.rung.blocking and event.kernel_verdict is abi.KernelVerdict.DENY


def _classes(sockets: Mapping[SocketIdentity, GuardedSocket]) -> dict[SocketIdentity, abi.SocketClass]:
    return {identity: guarded.socket_class for identity, guarded in sockets.items()}


def _ignore(_record: abi.CgroupRecord | abi.ProcessRecord) -> None:
    """Be the listener where nobody listens."""
