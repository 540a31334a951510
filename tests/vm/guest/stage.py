"""A guard in force, its sockets, and clients outside the host's mount namespace.

Owns the processes and files of one act and removes them. The agent is this very process: its loop runs only
while somebody waits for an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.vm.guest import roads

from sockwarden.kernel.events import GuardEvent
from sockwarden.kernel.guard import Guard, GuardSettings
from sockwarden.kernel.life import cgrouptree, process

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sockwarden import abi
    from sockwarden.kernel.events import ConnectEvent, LossEvent

DEADLINE: Final = 30.0
"""Seconds for one answer; software emulation is slow, and a lost answer must not look like a slow one."""

BROKEN: Final = 251
"""How a client ends that could not walk its road; the reason is on the console."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a client ended: the errno of its connect(), or minus a signal; what the server accepted meanwhile."""

    status: int
    accepted: int


class Stage:
    """``with Stage(GuardSettings(...)) as stage``: everything is up; leaving takes it down."""

    def __init__(self, settings: GuardSettings) -> None:
        self.seen: list[GuardEvent] = []
        self.life: list[abi.CgroupRecord | abi.ProcessRecord] = []
        self._stirred = asyncio.Event()
        self._clients = 0
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.new_event_loop()
        self._stack.callback(self._loop.close)
        self.folder = Path(tempfile.mkdtemp(prefix="stage-", dir="/run"))
        self._stack.callback(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self._listeners: dict[Path, socket.socket] = {}
        self.guarded, self.ordinary, self.public, self.host_only = (
            self.listen(f"{name}.sock") for name in ("guarded", "ordinary", "public", "host-only")
        )
        self.guard = Guard(settings, self._judge, self._sink)
        self.guard.on_life = self._on_life
        self._stack.callback(self.guard.close)
        started = time.monotonic()
        try:
            self.guard.start(self._loop)
            self.start_seconds = time.monotonic() - started
            self.cgroup = self.make_cgroup()
            self.publish()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def publish(self) -> None:
        """Put the sockets under guard, again."""
        self.guard.guard_sockets(engine=[self.guarded], public=[self.public], host_only=[self.host_only])

    def listen(self, name: str) -> Path:
        """Make a listening socket that anybody may write to."""
        path = self.folder / name
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(1024)
        listener.setblocking(False)
        self._listeners[path] = listener
        return path

    def accept(self, path: Path) -> socket.socket | None:
        """Return a connection that waits at ``path``, or None."""
        try:
            return self._listeners[path].accept()[0]
        except BlockingIOError:
            return None

    def make_cgroup(self, below: Path | None = None) -> Path:
        """Make one more cgroup for clients, below another one or at the top; it is removed with the stage."""
        top = below or cgrouptree.mount_point()
        if top is None:
            raise AssertionError("the machine has no cgroup v2 tree")
        made = Path(tempfile.mkdtemp(prefix="client-", dir=top))
        self._stack.callback(made.rmdir)
        return made

    def begin(
        self,
        walk: Callable[[roads.Place], int],
        *,
        outside: bool = True,
        stay: bool = False,
        cgroup: Path | None = None,
    ) -> int:
        """Fork a client into a cgroup, and out of the host's mount namespace if ``outside``; return its pid."""
        private = self.folder / f"client-{self._clients}"
        private.mkdir()
        self._clients += 1
        place = roads.Place(self.guarded, private, os.getpid(), stay)
        pid = os.fork()
        if pid == 0:
            os._exit(self._act(walk, place, cgroup or self.cgroup, outside=outside))
        return pid

    def end(self, pid: int) -> int:
        """Run the loop until a client ended; return its status."""
        with contextlib.closing(_Descriptor(os.pidfd_open(pid))) as ended:
            try:
                self._wait(lambda stirred: self._loop.add_reader(ended.number, stirred.set), ended.number)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def send(self, walk: Callable[[roads.Place], int], *, outside: bool = True, stay: bool = False) -> Ending:
        """Let a client walk a road to its end, and look what the server got."""
        status = self.end(self.begin(walk, outside=outside, stay=stay))
        return Ending(status, self.accepted(self.guarded))

    def accepted(self, path: Path) -> int:
        """Accept and close whatever waits at ``path``; return how many."""
        count = 0
        while (one := self.accept(path)) is not None:
            one.close()
            count += 1
        return count

    def until(self, found: Callable[[], bool]) -> None:
        """Run the loop until ``found``; raises TimeoutError after the deadline."""

        async def wait() -> None:
            while not found():
                self._stirred.clear()
                await self._stirred.wait()

        try:
            self._loop.run_until_complete(asyncio.wait_for(wait(), DEADLINE))
        except TimeoutError as error:
            raise TimeoutError(f"not seen; counters {self.guard.counters()}, last events {self.seen[-3:]}") from error

    def events(self, pid: int) -> list[GuardEvent]:
        """Return what was judged about one process."""
        return [event for event in self.seen if event.connect.pid == pid]

    def _wait(self, watch: Callable[[asyncio.Event], None], number: int) -> None:
        async def ended() -> None:
            stirred = asyncio.Event()
            watch(stirred)
            await stirred.wait()

        try:
            self._loop.run_until_complete(asyncio.wait_for(ended(), DEADLINE))
        finally:
            self._loop.remove_reader(number)

    def _act(self, walk: Callable[[roads.Place], int], place: roads.Place, cgroup: Path, *, outside: bool) -> int:
        """Be the client: the child's whole life."""
        try:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()), "ascii")
            if outside:
                roads.leave_host()
            status = walk(place)
        except BaseException:  # the child must never go on as a second agent
            traceback.print_exc()
            return BROKEN
        while status == 0 and place.stay:
            signal.pause()
        return status

    def _judge(self, event: ConnectEvent) -> bool:
        return event.mnt_ns == process.host_mount_namespace()

    def _sink(self, event: GuardEvent | LossEvent) -> None:
        if isinstance(event, GuardEvent):
            self.seen.append(event)
            self._stirred.set()

    def _on_life(self, record: abi.CgroupRecord | abi.ProcessRecord) -> None:
        self.life.append(record)
        self._stirred.set()


@dataclass(frozen=True, slots=True)
class _Descriptor:
    number: int

    def close(self) -> None:
        os.close(self.number)
