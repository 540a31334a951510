"""Container life by the process connector, on this machine's own kernel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Final

import pytest
import uvloop

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf.loader import BpfObject
from sockwarden.kernel.guard import Guard, GuardSettings
from sockwarden.kernel.life import cgrouptree
from sockwarden.kernel.life.lifefeed import Life, LifeFeed
from sockwarden.kernel.life.procevents import EVENTS_PER_TURN, ProcEvents
from sockwarden.kernel.life.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.bpf

DEADLINE: Final = 30.0

Record = abi.CgroupRecord | abi.ProcessRecord


class Follower:
    """A loop with the events on it, and a cgroup to run programs in."""

    def __init__(self, cgroup: Path) -> None:
        self.cgroup = cgroup
        self.loop = uvloop.new_event_loop()
        self.tracker = Tracker()
        self.told: list[Record] = []
        self.started: list[subprocess.Popen[bytes]] = []
        self._stirred = asyncio.Event()
        self.events = ProcEvents(self.loop, self.tracker, self._tell)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Run a program in the cgroup; it should stay until its input ends."""
        enter = f'echo $$ >{self.cgroup}/cgroup.procs && exec "$@"'
        self.started.append(subprocess.Popen(["sh", "-c", enter, "sh", *command], stdin=subprocess.PIPE))
        return self.started[-1]

    def run(self, program: str) -> None:
        """Run a program of Python's to its end; the loop does not run meanwhile."""
        subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)

    @staticmethod
    def end(started: subprocess.Popen[bytes]) -> None:
        started.communicate()

    def close(self) -> None:
        for started in self.started:
            self.end(started)
        self.events.close()
        self.loop.close()

    def until(self, found: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not found():
                self._stirred.clear()
                await self._stirred.wait()

        self.loop.run_until_complete(asyncio.wait_for(wait(), DEADLINE))

    def cgroups(self, *, made: bool) -> list[abi.CgroupRecord]:
        return [one for one in self.told if isinstance(one, abi.CgroupRecord) and one.made is made]

    def inits(self) -> list[abi.ProcessRecord]:
        return [one for one in self.told if isinstance(one, abi.ProcessRecord)]

    def turn(self) -> None:
        """Let the loop look at its descriptors once."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def read_all(self) -> None:
        """Let the loop read all that waits."""
        read = -1
        while self.events.stats()["events"] > read:
            read = self.events.stats()["events"]
            self.turn()

    def _tell(self, record: Record) -> None:
        self.told.append(record)
        self._stirred.set()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    top = cgrouptree.mount_point()
    assert top is not None, "no cgroup v2 tree is mounted"
    made = top / f"sockwarden-test-{uuid.uuid4().hex[:12]}"
    yield made
    if made.exists():
        made.rmdir()


@pytest.fixture
def follower(cgroup: Path) -> Iterator[Follower]:
    made = Follower(cgroup)
    cgroup.mkdir()
    yield made
    made.close()


def test_a_cgroup_is_known_from_the_first_program_in_it(follower: Follower) -> None:
    follower.start("cat")
    number = follower.cgroup.stat().st_ino
    follower.until(lambda: follower.tracker.find(number) is not None)
    told = [one.path for one in follower.cgroups(made=True) if one.cgroup_id == number]
    assert (told, follower.tracker.path(number)) == ([f"/{follower.cgroup.name}"], f"/{follower.cgroup.name}")


def test_a_cgroup_that_went_is_noticed(follower: Follower) -> None:
    started = follower.start("cat")
    number = follower.cgroup.stat().st_ino
    follower.until(lambda: follower.tracker.find(number) is not None)
    follower.end(started)
    follower.cgroup.rmdir()
    while follower.tracker.find(number) is not None:  # looked at in turn, while anything happens
        subprocess.run(["true"], check=True)
        follower.turn()
    assert number in [one.cgroup_id for one in follower.cgroups(made=False)]


def test_the_first_process_of_a_pid_namespace_is_told_until_its_end(follower: Follower) -> None:
    started = follower.start("unshare", "--pid", "--fork", "cat")
    follower.until(lambda: bool(follower.inits()))
    follower.end(started)
    follower.until(lambda: follower.inits()[-1].kind is abi.Kind.INIT_EXIT)
    told = follower.inits()
    assert [one.kind for one in told] == [abi.Kind.INIT_EXEC, abi.Kind.INIT_EXIT]
    assert (told[0].actor, told[0].actor.cgroup_id) == (told[1].actor, follower.cgroup.stat().st_ino)


def test_another_process_of_the_host_is_no_init(follower: Follower) -> None:
    follower.start("cat")
    follower.until(lambda: bool(follower.cgroups(made=True)))
    assert follower.inits() == []


def test_what_was_there_before_is_known(cgroup: Path) -> None:
    cgroup.mkdir()
    follower = Follower(cgroup)
    path = follower.tracker.path(cgroup.stat().st_ino)
    follower.events.close()
    follower.loop.close()
    assert path == f"/{cgroup.name}"


FORKS: Final = "import os\nfor _ in range({}):\n os.fork() or os._exit(0)\n os.wait()\n"
THREADS: Final = (
    "import threading\nfor _ in range({}):\n one = threading.Thread(target=int)\n one.start()\n one.join()\n"
)

FLOOD: Final = 3000
"""Processes; some hundred ends fit into the socket's buffer."""


def test_threads_and_forks_do_not_reach_the_agent(follower: Follower) -> None:
    follower.run(FORKS.format(200))
    follower.run(THREADS.format(200))
    follower.read_all()
    # The ends of 200 children and what else runs on this host meanwhile: not 200 forks and 200 threads' ends as well.
    assert 200 <= follower.events.stats()["events"] < 500


def test_a_flood_is_read_in_bounded_turns_and_what_is_lost_is_counted(follower: Follower) -> None:
    follower.run(FORKS.format(FLOOD))
    lost = follower.events.stats()["lost"]
    follower.events._read()
    assert (lost > 0, follower.events.stats()["events"]) == (True, EVENTS_PER_TURN)


def test_after_a_loss_events_go_on(follower: Follower) -> None:
    follower.run(FORKS.format(FLOOD))
    follower.read_all()
    follower.start("unshare", "--pid", "--fork", "cat")
    follower.until(lambda: bool(follower.inits()))


def test_a_kernel_without_a_process_connector_is_named(cgroup: Path, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(KernelError, match="no process connector here"):
        ProcEvents(loop, Tracker(), print, tmp_path)
    loop.close()


def test_an_old_pyroute2_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroute2.netlink.connector", None)
    loop = asyncio.new_event_loop()
    with pytest.raises(KernelError, match="this pyroute2 has no process connector") as refusal:
        ProcEvents(loop, Tracker(), print)
    loop.close()
    assert "0.7.7" in refusal.value.remedy


def test_without_the_programs_life_falls_back_and_says_why() -> None:
    class Refused(BpfObject):
        def __init__(self, name: str, *_: object) -> None:
            raise KernelError(f"{name} was refused", remedy="none")

    loop = asyncio.new_event_loop()
    life = Life(Tracker(), lambda _record: None)
    life.follow(loop, 1 << 16, Refused)
    told = (life.source, life.why, life.feed)
    life.close()
    loop.close()
    assert told == (
        "process connector",
        "the programs of container life cannot be had: track was refused (remedy: none)",
        None,
    )


def test_with_the_programs_life_needs_no_fallback() -> None:
    loop = asyncio.new_event_loop()
    life = Life(Tracker(), lambda _record: None)
    life.follow(loop, 1 << 16)
    told = (life.source, life.why, isinstance(life.feed, LifeFeed))
    life.close()
    loop.close()
    assert told == ("bpf", "", True)


def test_without_either_life_says_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("no events", remedy="get some")

    monkeypatch.setattr("sockwarden.kernel.life.lifefeed.ProcEvents", refuse)
    life = Life(Tracker(), lambda _record: None)
    loop = asyncio.new_event_loop()
    life.fall_back(loop, "the guard's rung is none")
    loop.close()
    assert (life.source, life.why) == ("none", "the guard's rung is none; no events (remedy: get some)")
    assert life.counters() == {"reported": 0, "dropped": 0, "undecodable": 0}


def test_listening_ends_with_the_events(cgroup: Path) -> None:
    loop = asyncio.new_event_loop()
    opened = len(os.listdir("/proc/self/fd"))
    ProcEvents(loop, Tracker(), print).close()
    assert len(os.listdir("/proc/self/fd")) == opened
    loop.close()


def test_a_guard_whose_tracking_is_refused_keeps_its_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockwarden.kernel.life.lifefeed.TRACK", "no-such-object")
    loop = asyncio.new_event_loop()
    guard = Guard(GuardSettings("tracepoint"), lambda _event: True, lambda _event: None)
    guard.start(loop)
    told = (guard.report.rung.name, guard.life.source, guard.counters()["track_dropped"])
    guard.close()
    loop.close()
    assert told == ("tracepoint", "process connector", 0)


def test_a_guard_without_a_rung_follows_life_too() -> None:
    loop = asyncio.new_event_loop()
    guard = Guard(GuardSettings("none"), lambda _event: True, lambda _event: None)
    guard.start(loop)
    told = (guard.life.source, guard.life.why, guard.connectors)
    guard.close()
    loop.close()
    assert told == ("process connector", "the guard's rung is none", None)
