"""From one agent to the next without an instant in which a guarded socket is open.

Owns what a start does about pinned sets: adopt the one that fits, else bring the policy of the old into the new,
pin the new, and only then remove the old. Must not load programs itself, and must never remove a set before another
is in force with at least its policy.
"""

from __future__ import annotations

import contextlib
import errno
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import rungs
from sockwarden.kernel.bpf import bpffs, loader, maps
from sockwarden.kernel.bpf.pins import PinFolder, PinnedHolding, PinnedSet, name_of
from sockwarden.kernel.force import Force

if TYPE_CHECKING:
    from sockwarden.kernel.connections.sockets import SocketIdentity
    from sockwarden.kernel.ladder import Rung

WAITING_RECORDS: Final = 4096
"""Taken over from the ring of a set that goes: more than a ring of the usual size can hold."""


_NOT_OURS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
"""The folder is not for us to make or open. A start goes on without pins, and says so if it finds a blocking rung."""


@dataclass(frozen=True, slots=True)
class _Former:
    """A set of an agent before us; ``force`` is None where this version cannot read it."""

    pinned: PinnedSet
    force: Force | None

    @property
    def in_the_dark(self) -> bool:
        """Whether its programs guard what we cannot know."""
        return self.force is None and bool(self.pinned.links)


class Succession:
    """One agent's pin_dir: ``attempt`` a rung, ``settle`` on it, ``published`` once its own policy is in force."""

    def __init__(self, pin_dir: str) -> None:
        """Take the pin_dir, and become the agent of whatever is in force there; "" pins nothing.

        Raises:
            KernelError: another agent has it, or it cannot hold pins at all.
        """
        self._path: Final = Path(pin_dir) if pin_dir else None
        self._folder: PinFolder | None = None
        self._formers: list[_Former] = []
        self._adopted: PinnedSet | None = None
        self._words: list[str] = []
        self._since = 0  # nanoseconds since boot: from then on the new programs tell everything
        self.waiting: list[abi.ConnectRecord] = []
        """What sets that are gone told and nobody has read."""
        self.pinned = False
        self._settled = False
        if self._path is not None and (bpffs.holds(self._path) or not self._path.is_relative_to(bpffs.MOUNT_POINT)):
            try:
                self._folder = PinFolder(self._path)
            except KernelError as error:
                if error.errno not in _NOT_OURS:
                    raise
        if self._folder is not None:
            try:
                self._formers = [_opened(one) for one in self._folder.sets()]
            except BaseException:
                self.close()
                raise

    def attempt(self, rung: Rung, setup: rungs.Setup) -> Force:
        """Put a rung in force: by what is pinned if it is of this build and proves itself, else anew.

        Raises:
            KernelError: it cannot be had.
        """
        if self._adopted is not None:  # and given up again, for want of something else
            self._formers.append(_opened(self._adopted))
            self._adopted = None
        for former in [one for one in self._formers if one.force is not None]:
            programs = _fitting(former, rung, setup)
            if programs is None or former.force is None:
                continue
            former.force.programs = programs
            try:
                rungs.prove(rung, former.force)
            except KernelError as error:
                self._words.append(f"{former.pinned.name} was pinned and is not adopted: {error}")
                continue
            self._formers.remove(former)
            self._adopted = former.pinned
            return former.force
        return rungs.attempt(rung, setup)

    def settle(self, rung: Rung, force: Force | None) -> str:
        """Pin what is in force if its rung blocks, and remove what it replaces; return what was done, in words.

        Raises:
            KernelError: the old policy does not fit into the new maps.
        """
        if force is None:
            left = [one.pinned.name for one in self._formers] + ([self._adopted.name] if self._adopted else [])
            return f"pins of an agent before stay in force: {', '.join(left)}" if left else ""
        self._settled = True
        if self._adopted is not None:
            self.pinned = True
            self._words.append(f"adopted from {self._adopted.name}")
        else:
            self._inherit(force)
            self._words.append(self._pin(rung, force) if rung.blocking else "ends with the agent")
        later = [one for one in self._formers if one.in_the_dark]
        for former in [one for one in self._formers if not one.in_the_dark]:
            self._formers.remove(former)
            self._remove(former)
        self._words += [f"removes {one.pinned.name} once its own policy is in force" for one in later]
        return "; ".join(self._words)

    def published(self) -> None:
        """Remove the sets whose policy could not be read, if ours is in force now."""
        while self._settled and self._formers:
            self._remove(self._formers.pop())

    def close(self) -> None:
        """Let go: pins stay, and the pin_dir is free for the next agent. A second call does nothing."""
        for former in self._formers:
            if former.force is not None:
                former.force.close()
        self._formers = []
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _inherit(self, force: Force) -> None:
        """Publish what the old sets guard into the new one, with their verdicts and the strictest of their actions."""
        sockets: dict[SocketIdentity, abi.SocketClass] = {}
        action = abi.Action.AUDIT
        for former in self._formers:
            if former.force is not None and former.pinned.links:
                before = former.force.publication
                sockets |= before.sockets
                force.publication.verdicts.update(before.verdicts)
                action = max(action, before.action)
        if sockets:
            force.publication.publish(sockets, action)
            self._since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _pin(self, rung: Rung, force: Force) -> str:
        """Pin what was just loaded; return what came of it."""
        if self._path is None:
            return "not pinned: it ends with the agent"
        try:
            if self._folder is None:
                if self._path.is_relative_to(bpffs.MOUNT_POINT):
                    bpffs.mount()
                self._folder = PinFolder(self._path)
        except KernelError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise  # another agent was faster
            return f"not pinned, so it ends with the agent: {error} (remedy: {error.remedy})"
        if not isinstance(force.holding, loader.BpfObject):
            return "not pinned, so it ends with the agent: libbpf did not load it"
        name = name_of(rung.name, loader.object_path(loader.GUARD))
        try:
            for index, former in enumerate(self._formers):
                if former.pinned.name == name:
                    self._formers[index] = _Former(self._folder.put_aside(former.pinned), former.force)
            pinned = self._folder.pin(name, force.holding.maps(), force.holding.links())
        except KernelError as error:
            return f"not pinned, so it ends with the agent: {error} (remedy: {error.remedy})"
        self.pinned = True
        return f"pinned as {pinned.name}"

    def _remove(self, former: _Former) -> None:
        if self._folder is None:
            raise AssertionError("there is no set without a pin_dir")
        if former.force is not None:
            self.waiting += _unread(former.force, self._since)
            former.force.close()
        try:
            self._folder.remove(former.pinned)
            self._words.append(f"removed {former.pinned.name}")
        except KernelError as error:  # a survey shows it
            self._words.append(str(error))


def _opened(pinned: PinnedSet) -> _Former:
    """Open a set and become its agent.

    Its programs took us for anybody: an agent in a mount namespace of its own could not have reached the engine.
    """
    if not pinned.readable:
        return _Former(pinned, None)
    with contextlib.ExitStack() as stack:
        try:
            holding = PinnedHolding(pinned)
            stack.callback(holding.close)
            force = Force(pinned.links, holding)
            stack.callback(force.ring.close)
            if force.publication.generation:
                force.publication.publish(force.publication.sockets, force.publication.action)
        except (KernelError, ValueError):  # half-written, or not what its name says
            return _Former(pinned, None)
        stack.pop_all()
    return _Former(pinned, force)


def _fitting(former: _Former, rung: Rung, setup: rungs.Setup) -> tuple[str, ...] | None:
    """Return the set's programs in the rung's order if they are what a start of today would load."""
    pinned = former.pinned
    if former.force is None or pinned.name != name_of(rung.name, loader.object_path(loader.GUARD)):
        return None
    if maps.fullness(former.force.map_fd("sw_connects")).capacity != setup.ring_bytes:
        return None
    programs = (one for one in rungs.PROGRAMS.get(rung.name, ()) if set(one) == set(pinned.links))
    return next(programs, None)


def _unread(force: Force, before_ns: int) -> list[abi.ConnectRecord]:
    """Return what waits in a ring from before a time."""
    records = []
    for data in force.ring.consume(WAITING_RECORDS):
        with contextlib.suppress(KernelError):  # of another build: nothing that we could tell
            record = abi.decode(data)
            if isinstance(record, abi.ConnectRecord) and record.time_ns < before_ns:
                records.append(record)
    return records
