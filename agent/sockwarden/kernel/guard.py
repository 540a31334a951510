"""The kernel guard, driven by the agent's event loop.

Owns the rung in force and what flows between its parts: records from the ring to the dealer, sockets and action into
the kernel. Must not know the policy: who may connect is the judge's answer. Needs no task of its own: the loop watches
two descriptors.

A record names the object (Linux 6.3 and later, and every rung above ``tracepoint``) or only the text that the
caller wrote. A text is looked up as the caller sees it; since the caller may re-point it afterwards, every
text of a process outside the host's mount namespace that does not lead to a guarded socket also asks for a
sweep by socket diag. So does every lost record.
"""

from __future__ import annotations

import collections
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import ladder, probes, rungs
from sockwarden.kernel.bpf.ringbuf import RECORDS_PER_TURN
from sockwarden.kernel.canary import Expected
from sockwarden.kernel.connections import connectors
from sockwarden.kernel.connections.dealing import Dealer, GuardedSocket
from sockwarden.kernel.connections.shears import ShearsThread
from sockwarden.kernel.connections.sockets import SocketIdentity, identify
from sockwarden.kernel.connections.sweeper import Sweeper
from sockwarden.kernel.events import GuardEvent, LossEvent
from sockwarden.kernel.health import Gauge, Health
from sockwarden.kernel.life import cgrouptree
from sockwarden.kernel.life.lifefeed import Life
from sockwarden.kernel.life.tracker import Tracker
from sockwarden.kernel.succession import Succession
from sockwarden.kernel.vigil import Findings, Vigil

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from sockwarden.kernel.connections.holders import Scan
    from sockwarden.kernel.events import ConnectEvent
    from sockwarden.kernel.force import Force

RING_BYTES: Final = 512 * 1024
"""About 2,000 connects; what does not fit is counted and followed by a sweep."""

_OF_THE_HOST: Final = (abi.SocketClass.ENGINE, abi.SocketClass.HOST_ONLY)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """``mode`` is one of ``ladder.MODES``; ``watcher`` pins the tracepoint rung to one of ``rungs.WATCHERS``.

    ``required`` names a rung; nothing that is weaker is put in force. A blocking rung is pinned in ``pin_dir`` and
    outlives the agent; with "" it ends with it.
    """

    mode: str = ladder.AUTO
    action: abi.Action = abi.Action.BLOCK
    ring_bytes: int = RING_BYTES
    watcher: str = ""
    required: str = ladder.NONE
    pin_dir: str = ""


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
        self._sink = sink
        self._force: Force | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: Sweeper | None = None
        self._shears: ShearsThread | None = None
        self._succession: Succession | None = None
        self._reads = False
        self._lost = self._muted = 0
        self._undecodable = 0
        self._gauge = Gauge()
        self._vigil: Vigil | None = None
        self._report: ladder.GuardReport | None = None
        self._dealer = Dealer(judge, sink, self.cgroup_path, self.sweep)
        self._dealer.action = settings.action
        self.tracker: Final = Tracker(look_up=cgrouptree.Handles(cgrouptree.mount_point()).path_of)
        self.life: Final = Life(self.tracker, self._lived)
        self.on_life: Callable[[abi.CgroupRecord | abi.ProcessRecord], None] = _ignore
        """Called with every record of container life, after the tracker learned it."""
        self.on_swept: Callable[[Scan], None] = _ignore
        """Called with what a sweep found, after the guard has dealt with it."""
        self.accepted: Callable[[], Collection[int]] = tuple
        """Inodes of accepted connections of which a sweep shall tell who holds the other end."""

    @property
    def report(self) -> ladder.GuardReport:
        """Which rung is in force, and why no better one is; known after ``start``."""
        if self._report is None:
            raise AssertionError("the guard has not been started")
        return self._report

    @property
    def guarded(self) -> tuple[GuardedSocket, ...]:
        """The objects under guard, in the order in which they were named."""
        return tuple(self._dealer.sockets.values())

    @property
    def knows_connectors(self) -> bool:
        """Whether the rung in force writes down who connects to the gateway."""
        return self._force is not None and connectors.GRAFT in self._force.programs

    @property
    def connectors(self) -> connectors.Connectors | None:
        """Who connected the gateway's clients, None where the rung in force does not write that down."""
        if self._force is None or not self.knows_connectors:
            return None
        return connectors.Connectors(self._force.map_fd(connectors.MAP), self.cgroup_path)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Choose and prove a rung, and go on with the policy of a pinned one; events are read once sockets are known.

        Blocks for some tenths of a second: the canary is a process.

        Raises:
            KernelError: the mode names a rung that cannot be had, or none as strong as required can; or another
                agent has the pins.
        """
        self._loop = loop
        answers = probes.survey()
        succession = self._succession = Succession(self._settings.pin_dir)

        def attempt(rung: ladder.Rung) -> str:
            self._force = succession.attempt(rung, rungs.Setup(self._settings.ring_bytes, self._settings.watcher))
            self.life.follow(loop, self._settings.ring_bytes, rungs.loading(rung))
            seen = "".join(f" {text}" for program, text in rungs.WATCHERS.items() if program in self._force.programs)
            return f"{rung.effect}{seen}; proved by the canary"

        try:
            report = ladder.choose(self._settings.mode, answers, attempt, self._settings.required)
            self._report = ladder.with_words(report, succession.settle(report.rung, self._force))
        except KernelError:
            self.close()
            raise
        if self._force is None:
            self.life.fall_back(loop, f"the guard's rung is {report.rung.name}")
        if self._force is not None and self._force.publication.sockets:
            self._dealer.action = self._force.publication.action  # of the agent before us, until ours is told
        self._shears = self._dealer.shears = ShearsThread(loop)
        self._sweeper = Sweeper(loop, self._sweep_targets, self._accepted_now, self._swept)

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
        self.guard_objects(found.values())
        return tuple(found.values())

    def guard_objects(self, objects: Iterable[GuardedSocket]) -> None:
        """Put exactly these objects under guard, whatever their paths lead to by now, and judge who holds a connection.

        Raises:
            KernelError: the map is full.
        """
        found = {guarded.identity: guarded for guarded in objects}
        classes = {identity: guarded.socket_class for identity, guarded in found.items()}
        before = {identity: one.socket_class for identity, one in self._dealer.sockets.items()}
        if self._force is not None and before and before.items() <= classes.items():
            # Nothing leaves, as when a socket appears: it must not wait for a whole generation.
            more = {identity: which for identity, which in classes.items() if identity not in before}
            self._force.publication.add(more)
        else:
            self._publish(classes, self._dealer.action)
        self._dealer.sockets = found
        if self._succession is not None:
            self._succession.published()
        self._read_from_now_on()
        self.sweep()

    def allow_cgroups(self, cgroup_ids: Collection[int]) -> None:
        """Let the processes of exactly these cgroups connect to what only the host may touch.

        The kernel cannot know by itself that a process with a mount namespace of its own is the host's.

        Raises:
            KernelError: the map is full.
        """
        if self._force is None:
            return
        publication = self._force.publication
        wanted = {(cgroup_id, socket_class) for cgroup_id in cgroup_ids for socket_class in _OF_THE_HOST}
        allowed = {
            key
            for key, verdict in publication.verdicts.items()
            if key[1] in _OF_THE_HOST and verdict is abi.KernelVerdict.ALLOW
        }
        for key in allowed - wanted:
            publication.drop_verdict(*key)
        for key in wanted - allowed:
            publication.put_verdict(*key, abi.KernelVerdict.ALLOW)

    def set_action(self, action: abi.Action) -> None:
        """Change what is done about a denied connection from now on, as a new policy says.

        Raises:
            KernelError: the map is full.
        """
        # Those in force, not those that we know by a path: before the first guard_sockets they are another agent's.
        self._publish(self._force.publication.sockets if self._force is not None else {}, action)
        self.sweep()

    def publish_again(self) -> None:
        """Put what is guarded in force once more: somebody else may have written to the maps.

        Raises:
            KernelError: a map is full or gone.
        """
        self._publish({key: one.socket_class for key, one in self._dealer.sockets.items()}, self._dealer.action)
        self.sweep()

    def sweep(self) -> None:
        """Ask the kernel who holds a connection; the answer comes as events of the kind HELD."""
        if self._sweeper is not None and self._force is not None:
            self._sweeper.request()

    def catch_up(self) -> None:
        """Sweep for what the kernel had no room to tell, or did not tell of one cgroup any more; for a pulse."""
        if self._force is None:
            return
        lost, muted = (self._force.stat(which) for which in (abi.GuardStat.DROPPED, abi.GuardStat.MUTED))
        if lost > self._lost:
            self._sink(LossEvent(lost - self._lost))
        if lost > self._lost or (muted > self._muted and not self.report.rung.blocking):
            self.sweep()
        self._lost, self._muted = lost, muted

    def cgroup_path(self, cgroup_id: int) -> str:
        """Return the path of a cgroup of the v2 tree, "" if it is not known."""
        return self.tracker.path(cgroup_id)

    def counters(self) -> dict[str, int]:
        """Return every counter by its name; they only grow."""
        values = {f"user_{name}": count for name, count in self._dealer.counts.items()}
        values |= {"cgroups_evicted": self.tracker.evicted, "lost": 0, "undecodable": self._undecodable}
        if self._sweeper is not None:
            values |= {"sweeps": self._sweeper.done, "sweeps_failed": self._sweeper.failed}
        if self._force is not None:
            values |= {f"guard_{which.name.lower()}": self._force.stat(which) for which in abi.GuardStat}
            values["lost"] += values["guard_dropped"]
        life = self.life.counters()
        values["undecodable"] += life.pop("undecodable")
        values |= {f"track_{name}": count for name, count in life.items()}
        values["lost"] += values["track_dropped"]
        return values

    def health(self) -> Health:
        """Return every number that the guard has of itself."""
        sweeper, life = self._sweeper, self.life.feed
        return Health(
            guard=self._gauge.guard_stats(self._force),
            track=self._gauge.track_stats(life),
            programs=self._gauge.programs((self._force, life)),
            maps=self._gauge.maps(self._force, life),
            sockets=collections.Counter(guarded.socket_class for guarded in self._dealer.sockets.values()),
            undecodable=self._undecodable + (life.undecodable if life is not None else 0),
            sweeps=sweeper.done if sweeper is not None else 0,
            sweeps_failed=sweeper.failed if sweeper is not None else 0,
            cgroups=len(self.tracker),
            cgroups_evicted=self.tracker.evicted,
        )

    def keep_vigil(self, folder: Path, tell: Callable[[Findings], None]) -> Vigil | None:
        """Put the canary's socket into ``folder`` for as long as the guard runs; None where no rung is in force.

        Raises:
            KernelError: the socket cannot be made, or the map is full.
        """
        force, loop = self._force, self._loop
        if force is None or loop is None:
            return None
        expected = Expected.BLOCKED if self.report.rung.blocking else Expected.KILLED
        if force.programs[0] in rungs.WATCHERS:
            expected = Expected.SEEN
        self._vigil = Vigil(loop, folder, expected, self._stat, tell)
        self._publish(force.publication.sockets, self._dealer.action)
        self._read_from_now_on()
        return self._vigil

    @property
    def pinned(self) -> bool:
        """Whether the rung in force outlives this process."""
        return self._succession is not None and self._succession.pinned

    def deny_cgroup(self, cgroup_id: int) -> bool:
        """Keep a cgroup and all below it from the gateway's own socket; False where no rung can, or no room is left."""
        if self._force is None or not self.report.rung.blocking or self._dealer.action is not abi.Action.BLOCK:
            return False
        try:
            self._force.publication.put_verdict(cgroup_id, abi.SocketClass.PUBLIC, abi.KernelVerdict.DENY)
        except KernelError:
            return False
        return True

    def forget_cgroup(self, cgroup_id: int) -> None:
        """Take back what ``deny_cgroup`` did."""
        if self._force is not None:
            self._force.publication.drop_verdict(cgroup_id, abi.SocketClass.PUBLIC)

    def forget_cgroups(self) -> None:
        """Take back all that ``deny_cgroup`` did, here or in an earlier agent."""
        if self._force is not None:
            for cgroup_id, socket_class in list(self._force.publication.verdicts):
                if socket_class is abi.SocketClass.PUBLIC:
                    self._force.publication.drop_verdict(cgroup_id, socket_class)

    def close(self) -> None:
        """Let go of everything: what is pinned stays in force, the rest ends. A second call does nothing."""
        self._end_vigil()
        if self._sweeper is not None:
            self._sweeper.close()
            self._sweeper = None
        if self._shears is not None:
            self._shears.close()
            self._shears = self._dealer.shears = None
        self._take_down()
        if self._succession is not None:
            self._succession.close()
            self._succession = None

    def _take_down(self) -> None:
        self.life.close()
        if self._force is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._force.ring.fileno())
            self._force.close()
            self._force = None

    def _publish(self, classes: Mapping[SocketIdentity, abi.SocketClass], action: abi.Action) -> None:
        if self._force is not None:
            canary = {} if self._vigil is None else {self._vigil.identity: abi.SocketClass.CANARY}
            self._force.publication.publish({**classes, **canary}, action)
        self._dealer.action = action
        self._dealer.judge_anew()

    def _read_from_now_on(self) -> None:
        """Begin with what waited while nobody read, on the first call: the policy and the sockets are known now."""
        if self._reads or self._force is None or self._loop is None or self._succession is None:
            return
        self._reads = True
        for record in self._succession.waiting:
            self._dealer.connected(record)
        self._succession.waiting = []
        self._loop.add_reader(self._force.ring.fileno(), self._read_connects)

    def _accepted_now(self) -> Collection[int]:
        return self.accepted()

    def _swept(self, found: Scan) -> None:
        self._dealer.held(found.holders)
        self.on_swept(found)

    def _lived(self, record: abi.CgroupRecord | abi.ProcessRecord) -> None:
        self.on_life(record)

    def _read_connects(self) -> None:
        if self._force is None:
            return
        for data in self._force.ring.consume(RECORDS_PER_TURN):
            try:
                record = abi.decode(data)
            except KernelError:
                self._undecodable += 1
                continue
            if not isinstance(record, abi.ConnectRecord) or (self._vigil is not None and self._vigil.claims(record)):
                continue
            self._dealer.connected(record)
        self.catch_up()

    def _end_vigil(self) -> None:
        vigil, self._vigil = self._vigil, None
        if vigil is None:
            return
        vigil.close()
        if self._force is not None:
            # The file is gone: a pinned guard must not go by its number, which may become another file's.
            left = {key: value for key, value in self._force.publication.sockets.items() if key != vigil.identity}
            with contextlib.suppress(KernelError):
                self._publish(left, self._dealer.action)

    def _stat(self, which: abi.GuardStat) -> int:
        return self._force.stat(which) if self._force is not None else 0

    def _sweep_targets(self) -> tuple[SocketIdentity, ...]:
        """Return the sockets whose holders matter: the gateway judges its own."""
        return tuple(
            identity
            for identity, guarded in self._dealer.sockets.items()
            if guarded.socket_class is not abi.SocketClass.PUBLIC
        )


def _ignore(_told: object) -> None:
    """Do nothing where nobody wants to know."""
