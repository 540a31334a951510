"""Puts one rung in force and proves it by the canary.

Owns which programs make up a rung, the kernel's policy maps, and the proof. Must not read events for anybody
but the canary. A rung that is not proved is taken down again at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import canary, cgrouptree, process
from sockwarden.kernel.loader import GUARD, BpfObject
from sockwarden.kernel.maps import HashMap, per_cpu_sum, put_single
from sockwarden.kernel.ringbuf import Ring
from sockwarden.kernel.sockets import SocketIdentity, identify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sockwarden.kernel.ladder import Rung

_IDENTITY: Final = ("identity_graft", "identity_free")

PROGRAMS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "fmod_ret": (("guard_fmod_ret", *_IDENTITY),),
    "lsm": (("guard_lsm", *_IDENTITY),),
    "kprobe": (("guard_kprobe",),),
    "tracepoint": (("guard_listener",), ("guard_syscall",)),
}
"""Rung to program sets, best first. A rung without a row has no program in this build."""

WATCHERS: Final = {"guard_listener": "by the listener's object", "guard_syscall": "by the caller's path text"}
"""What each watcher of the tracepoint rung sees, for the report."""

CANARY_RECORDS: Final = 4096
"""Read per look for the canary's own record; others may connect meanwhile."""

_ALLOW, _DENY = abi.KernelVerdict.ALLOW, abi.KernelVerdict.DENY

_HOST: Final = {abi.SocketClass.ENGINE: _ALLOW, abi.SocketClass.HOST_ONLY: _ALLOW, abi.SocketClass.PUBLIC: _ALLOW}
"""Verdict for processes in the host's own mount namespace: they have the host's files already."""

_OTHERS: Final = {abi.SocketClass.PUBLIC: _ALLOW}
"""Verdict for everybody else. The gateway judges its own clients; the rest is denied."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a rung needs to know. ``ring_bytes`` is a power of 2 and a multiple of the page size."""

    ring_bytes: int
    watcher: str = ""  # only this watcher of the tracepoint rung; "" takes the best


class Force:
    """A rung in force: its object, maps and ring."""

    def __init__(self, rung: Rung, programs: tuple[str, ...], setup: Setup) -> None:
        """Load, attach and prove.

        Raises:
            KernelError: the kernel refused, or the canary got through.
        """
        self.programs = programs
        self._generation = 0
        self._object = BpfObject(GUARD, programs, {"sw_connects": setup.ring_bytes})
        try:
            self.ring = Ring(self._object.map_fd("sw_connects"))
            self._guarded = HashMap(self._object.map_fd("sw_guarded"), abi.RawSocketKey)
            for program in programs:
                self._object.attach(program)
            self._prove(rung)
        except KernelError:
            self.close()
            raise

    @property
    def knows_objects(self) -> bool:
        """Whether records name the object; else only the caller's text."""
        return "guard_syscall" not in self.programs

    def publish(self, sockets: Mapping[SocketIdentity, abi.SocketClass], action: abi.Action) -> None:
        """Put exactly ``sockets`` under guard, without an instant in which one of them is not.

        Raises:
            KernelError: the map is full.
        """
        following = self._generation + 1
        for identity, socket_class in sockets.items():
            self._guarded.put(abi.RawSocketKey(identity.inode, identity.device, following), socket_class)
        put_single(self._object.map_fd("sw_config"), _config(following, action))
        # The generation before stays for programs that are running now and goes with the next publication.
        for key in [key for key in self._guarded.keys() if key.generation < self._generation]:  # noqa: SIM118 - no dict
            self._guarded.remove(key)
        self._generation = following

    def stat(self, which: abi.GuardStat) -> int:
        """Return one counter of the kernel."""
        return per_cpu_sum(self._object.map_fd("sw_guard_stats"), which)

    def close(self) -> None:
        """Take the rung down; a second call does nothing."""
        ring: Ring | None = getattr(self, "ring", None)
        if ring is not None:
            ring.close()
        self._object.close()

    def _prove(self, rung: Rung) -> None:
        action = abi.Action.BLOCK if rung.blocking else abi.Action.KILL
        with canary.dummy_socket() as path:
            self.publish({identify(path): abi.SocketClass.CANARY}, action)
            flight = canary.fly(path)
            held = flight.blocked if rung.blocking else flight.killed
            if self.programs[0] in WATCHERS:
                held = flight.status == 0 and self._saw(flight.pid, path)
        if not held:
            raise KernelError(
                f"{rung.name} loads and attaches, but a connect() that must not pass ended with status {flight.status}",
                remedy="choose a lower rung in [guard] mode; for lsm, add bpf to the lsm= boot parameter",
            )
        self.publish({}, abi.Action.AUDIT)

    def _saw(self, pid: int, path: Path) -> bool:
        records = [abi.decode(data) for data in self.ring.consume(CANARY_RECORDS)]
        return any(
            isinstance(record, abi.ConnectRecord)
            and record.actor.tgid == pid
            and (record.socket_class is abi.SocketClass.CANARY or record.path == os.fsencode(path))
            for record in records
        )


def attempt(rung: Rung, setup: Setup) -> Force:
    """Put ``rung`` in force by the best of its program sets.

    Raises:
        KernelError: none of them can be had; the first one's reason is told.
    """
    sets = PROGRAMS.get(rung.name, ())
    if setup.watcher and rung.name == "tracepoint":
        sets = tuple(programs for programs in sets if programs[0] == setup.watcher)
    refusals: list[KernelError] = []
    for programs in sets:
        try:
            return Force(rung, programs, setup)
        except KernelError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    raise KernelError(
        f"this build carries no program for the rung {rung.name}", remedy="choose another rung in [guard] mode"
    )


def _config(generation: int, action: abi.Action) -> abi.RawConfig:
    config = abi.RawConfig(
        agent_start_ticks=process.start_ticks(os.getpid()) or 0,
        agent_cgroup_id=cgrouptree.own_id(cgrouptree.mount_point()),
        agent_tgid=os.getpid(),
        agent_mnt_ns=process.namespace("self", "mnt"),
        host_mnt_ns=process.host_mount_namespace(),
        generation=generation,
        action=action,
        tick_ns=process.TICK_NS,
    )
    for socket_class in abi.SocketClass:
        config.host_verdict[socket_class] = _HOST.get(socket_class, _DENY)
        config.default_verdict[socket_class] = _OTHERS.get(socket_class, _DENY)
    return config
