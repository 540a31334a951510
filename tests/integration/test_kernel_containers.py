"""The kernel guard and a real engine: containers that got at the engine's own socket by a road of their own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
import uvloop

from sockwarden import abi
from sockwarden.kernel import rungs
from sockwarden.kernel.events import GuardEvent, LossEvent, Taken
from sockwarden.kernel.guard import Guard, GuardSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Docker, Images

    from sockwarden.demo.engine import ThrowAwayEngine
    from sockwarden.kernel.events import ConnectEvent

pytestmark = [pytest.mark.docker, pytest.mark.bpf]

DEADLINE = 30.0
KILLED_IN_CONTAINER = 128 + signal.SIGKILL


class Watch:
    """A guard on the engine's socket that lets the host's processes through, and containers not."""

    def __init__(self, engine: ThrowAwayEngine, watcher: str) -> None:
        self.seen: list[GuardEvent] = []
        self.loop = uvloop.new_event_loop()
        self._stirred = asyncio.Event()
        settings = GuardSettings("tracepoint", abi.Action.KILL, watcher=watcher)
        self.guard = Guard(settings, self._may, self._sink)
        self.guard.start(self.loop)
        self._engine = engine

    def begin(self) -> None:
        self.guard.guard_sockets(engine=[self._engine.socket])

    def until(self, found: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not found():
                self._stirred.clear()
                await self._stirred.wait()

        self.loop.run_until_complete(asyncio.wait_for(wait(), DEADLINE))

    def of_containers(self) -> list[GuardEvent]:
        return [event for event in self.seen if event.taken is not Taken.ALLOWED]

    def close(self) -> None:
        self.guard.close()
        self.loop.close()

    def _may(self, event: ConnectEvent) -> bool:
        return not event.cgroup_path.startswith(self._engine.cgroup_parent)

    def _sink(self, event: GuardEvent | LossEvent) -> None:
        if isinstance(event, GuardEvent):
            self.seen.append(event)
        self._stirred.set()


@pytest.fixture(params=rungs.WATCHERS)
def watch(engine: ThrowAwayEngine, request: pytest.FixtureRequest) -> Iterator[Watch]:
    made = Watch(engine, request.param)
    yield made
    made.close()


@contextlib.contextmanager
def container(direct: Docker, engine: ThrowAwayEngine, image: str, script: str) -> Iterator[subprocess.Popen[bytes]]:
    run = ("run", "--rm", "-i", "--network", "none", "-v", f"{engine.socket}:/d/other.sock", image, "sh", "-c", script)
    with direct.start(*run, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        try:
            yield started
        finally:
            started.kill()


def test_a_container_that_asks_the_engine_over_a_bind_mount_is_killed(
    watch: Watch, direct: Docker, engine: ThrowAwayEngine, images: Images
) -> None:
    watch.begin()
    with container(direct, engine, images.cli, "exec docker -H unix:///d/other.sock events") as started:
        watch.until(lambda: bool(watch.of_containers()))
        assert started.wait(DEADLINE) == KILLED_IN_CONTAINER
    event = watch.of_containers()[0]
    assert (event.connect.comm, event.taken, event.connect.cgroup_path.startswith(engine.cgroup_parent)) == (
        "docker",
        Taken.KILLED,
        True,
    )


# The path watcher leaves out what shares the agent's own cgroup and mount namespace, as this test's client does.
@pytest.mark.parametrize("watch", ["guard_listener"], indirect=True)
def test_the_docker_cli_of_the_host_is_reported_and_lives(
    watch: Watch, direct: Docker, engine: ThrowAwayEngine
) -> None:
    watch.begin()
    assert direct("-H", f"unix://{engine.socket}", "version").returncode == 0
    watch.until(lambda: bool(watch.seen))
    assert {event.taken for event in watch.seen} == {Taken.ALLOWED}


def test_a_container_that_connects_while_the_guard_begins_is_found_and_killed(
    watch: Watch, direct: Docker, engine: ThrowAwayEngine, images: Images
) -> None:
    with container(direct, engine, images.cli, "exec docker -H unix:///d/other.sock events") as started:
        with direct.start("events", "--since", "0", "--filter", "type=container", stdout=subprocess.PIPE) as events:
            assert events.stdout is not None
            while b"container start" not in events.stdout.readline():
                pass
            events.kill()
        # The start was told; the client's connect comes about now: held already, or seen as an event.
        watch.begin()
        watch.until(lambda: bool(watch.of_containers()))
        assert started.wait(DEADLINE) == KILLED_IN_CONTAINER


def test_the_tracker_knows_the_cgroup_of_a_container_before_its_first_instruction(
    watch: Watch, direct: Docker, engine: ThrowAwayEngine, images: Images
) -> None:
    told: list[tuple[str, str]] = []

    def listen(record: abi.CgroupRecord | abi.ProcessRecord) -> None:
        if isinstance(record, abi.ProcessRecord) and record.filename.endswith("/true"):
            told.append((record.filename, watch.guard.cgroup_path(record.actor.cgroup_id)))
        watch._stirred.set()

    watch.guard.on_life = listen
    direct.right("run", "--rm", "--network", "none", images.busybox, "/bin/true")
    watch.until(lambda: bool(told))
    assert told[0][1].startswith(engine.cgroup_parent)
