"""Puts one rung in force and proves it by the canary.

Owns which programs make up a rung, and the proof. Must not read events for anybody
but the canary. A rung that is not proved is taken down again at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import canary
from sockwarden.kernel.bpf.loader import GUARD, BpfObject
from sockwarden.kernel.compiled.bccrung import Compiled
from sockwarden.kernel.connections.sockets import identify
from sockwarden.kernel.force import Force

if TYPE_CHECKING:
    from pathlib import Path

    from sockwarden.kernel.ladder import Rung

_IDENTITY: Final = ("identity_graft", "identity_free")

PROGRAMS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "fmod_ret": (("guard_fmod_ret", "receive_fmod_ret", *_IDENTITY),),
    "lsm": (("guard_lsm", "receive_lsm", *_IDENTITY),),
    "kprobe": (("guard_kprobe", *_IDENTITY), ("guard_kprobe",)),  # the second where no trampoline can be had
    "bcc": (("guard_kprobe", *_IDENTITY),),
    "tracepoint": (("guard_listener",), ("guard_syscall",)),
}
"""Rung to program sets, best first. A rung without a row has no program in this build."""

WATCHERS: Final = {"guard_listener": "by the listener's object", "guard_syscall": "by the caller's path text"}
"""What each watcher of the tracepoint rung sees, for the report."""

CANARY_RECORDS: Final = 4096
"""Read per look for the canary's own record; others may connect meanwhile."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a rung needs to know. ``ring_bytes`` is a power of 2 and a multiple of the page size."""

    ring_bytes: int
    watcher: str = ""  # only this watcher of the tracepoint rung; "" takes the best


def loading(rung: Rung) -> type[BpfObject | Compiled]:
    """Return how the programs of a rung are loaded, and with them those that track container life."""
    return Compiled if rung.name == "bcc" else BpfObject


def load(rung: Rung, programs: tuple[str, ...], setup: Setup) -> Force:
    """Load, attach and prove one set of programs.

    Raises:
        KernelError: the kernel refused, or the canary got through.
    """
    loaded = loading(rung)(GUARD, programs, {"sw_connects": setup.ring_bytes})
    try:
        for program in programs:
            loaded.attach(program)
        force = Force(programs, loaded)
    except KernelError:
        loaded.close()
        raise
    try:
        prove(rung, force)
    except KernelError:
        force.close()
        raise
    return force


def prove(rung: Rung, force: Force) -> None:
    """Let the canary fly; afterwards guarded is again what was before.

    Raises:
        KernelError: it got through, or a watcher did not see it.
    """
    publication = force.publication
    before = publication.sockets
    with canary.dummy_socket() as path:
        # The class of the canary is enforced whatever the action says.
        publication.publish({**before, identify(path): abi.SocketClass.CANARY}, publication.action)
        met = force.stat(abi.GuardStat.CANARY)
        try:
            flight = canary.fly(path)
        finally:
            publication.publish(before, publication.action)
        # What another set in force did proves nothing of this one.
        held = (flight.blocked if rung.blocking else flight.killed) and force.stat(abi.GuardStat.CANARY) > met
        if force.programs[0] in WATCHERS:
            held = flight.status == 0 and _saw(force, flight.pid, path)
    if not held:
        raise KernelError(
            f"{rung.name} loads and attaches, but a connect() that must not pass ended with status {flight.status}",
            remedy="choose a lower rung in [guard] mode; for lsm, add bpf to the lsm= boot parameter",
        )


def _saw(force: Force, pid: int, path: Path) -> bool:
    records = [abi.decode(data) for data in force.ring.consume(CANARY_RECORDS)]
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
            return load(rung, programs, setup)
        except KernelError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    raise KernelError(
        f"this build carries no program for the rung {rung.name}", remedy="choose another rung in [guard] mode"
    )
