"""The guard's numbers and its canary on this machine's own kernel."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from sockwarden.abi import GuardStat, RawConfig, SocketClass
from sockwarden.errors import KernelError
from sockwarden.kernel import rungs
from sockwarden.kernel.bpf import maps
from sockwarden.kernel.guard import Guard, GuardSettings
from sockwarden.kernel.health import GUARD_MAPS, MAPS, PROGRAMS
from sockwarden.kernel.life.lifefeed import TRACK_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sockwarden.kernel.events import GuardEvent, LossEvent
    from sockwarden.kernel.vigil import Findings

pytestmark = pytest.mark.bpf

DEADLINE = 30.0


class Post:
    """A guard on one socket, with a canary beside it."""

    def __init__(self, folder: Path, watcher: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.seen: list[GuardEvent | LossEvent] = []
        self.flown: list[Findings] = []
        self.guard = Guard(GuardSettings("tracepoint", watcher=watcher), lambda _event: False, self.seen.append)
        self.guard.start(self.loop)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "engine.sock"))
        self.listener.listen()
        self.guard.guard_sockets(engine=[folder / "engine.sock"])
        self.vigil = self.guard.keep_vigil(folder, self._flown)

    def fly(self) -> Findings:
        assert self.vigil is not None
        self._landed = asyncio.Event()
        self.vigil.fly()
        self.loop.run_until_complete(asyncio.wait_for(self._landed.wait(), DEADLINE))
        return self.vigil.findings

    def _flown(self, findings: Findings) -> None:
        self.flown.append(findings)
        self._landed.set()

    def close(self) -> None:
        self.guard.close()
        self.listener.close()
        self.loop.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Post]]:
    made: list[Post] = []

    def make(watcher: str) -> Post:
        try:
            made.append(Post(tmp_path, watcher))
        except KernelError as error:
            pytest.fail(str(error))
        return made[-1]

    yield make
    for post in made:
        post.close()


@pytest.mark.parametrize("watcher", rungs.WATCHERS)
def test_the_canary_is_seen_and_is_nobodys_denial(make: Callable[[str], Post], watcher: str) -> None:
    post = make(watcher)
    first, second = post.fly(), post.fly()
    assert (first.held, second.held, second.flights, second.failures, post.seen) == (True, True, 2, 0, [])


def test_the_canarys_socket_is_under_guard_with_a_class_of_its_own_and_goes_with_the_guard(
    make: Callable[[str], Post], tmp_path: Path
) -> None:
    post = make("guard_listener")
    force = post.guard._force
    assert force is not None
    assert sorted(force.publication.sockets.values()) == [SocketClass.ENGINE, SocketClass.CANARY]
    post.guard.close()
    assert not (tmp_path / "canary.sock").exists()


def test_a_detached_program_is_found_out_by_the_canary(make: Callable[[str], Post]) -> None:
    post = make("guard_listener")
    post.fly()
    force = post.guard._force
    assert force is not None
    holding = force.holding
    link = holding._links.pop("guard_listener")  # type: ignore[attr-defined]
    holding._library.bpf_link__destroy(link)  # type: ignore[attr-defined]
    findings = post.fly()
    assert (findings.held, findings.failures, post.flown[-1]) == (False, 1, findings)


def test_a_foreign_hand_in_the_maps_is_found_out_and_undone(make: Callable[[str], Post]) -> None:
    post = make("guard_listener")
    force = post.guard._force
    assert force is not None
    config = maps.single(force.map_fd("sw_config"), RawConfig)
    config.generation += 1000
    maps.put_single(force.map_fd("sw_config"), config)
    lost = post.fly()
    post.guard.publish_again()
    assert (lost.held, post.fly().held) == (False, True)


def test_entries_and_room_of_every_map_are_told(make: Callable[[str], Post]) -> None:
    full = make("guard_listener").guard.health().maps
    assert set(full) == set(MAPS)
    assert (full["sw_guarded"].capacity, full["sw_guarded"].entries > 0, full["sw_verdicts"].entries) == (1024, True, 0)
    assert all(full[name].entries <= full[name].capacity for name in GUARD_MAPS)


def test_every_program_that_runs_is_asked_and_has_a_declared_name(make: Callable[[str], Post]) -> None:
    programs = make("guard_listener").guard.health().programs
    assert set(programs) == {"guard_listener", *TRACK_PROGRAMS}
    assert set(programs) <= set(PROGRAMS)


def test_every_program_of_every_rung_has_a_declared_name() -> None:
    assert {name for sets in rungs.PROGRAMS.values() for programs in sets for name in programs} <= set(PROGRAMS)


def test_the_kernels_counters_are_those_of_the_health(make: Callable[[str], Post]) -> None:
    post = make("guard_listener")
    before = post.guard.health().guard
    post.fly()
    after = post.guard.health().guard
    assert after[GuardStat.CANARY] == before[GuardStat.CANARY] + 1
    assert after[GuardStat.DENIED] == before[GuardStat.DENIED]


def test_without_a_blocking_rung_no_cgroup_can_be_denied(make: Callable[[str], Post]) -> None:
    post = make("guard_listener")
    assert not post.guard.deny_cgroup(1)
    post.guard.forget_cgroup(1)
    post.guard.forget_cgroups()


def test_without_a_rung_there_is_no_canary_and_every_number_is_nothing(tmp_path: Path) -> None:
    guard = Guard(GuardSettings("none"), lambda _event: True, lambda _event: None)
    loop = asyncio.new_event_loop()
    guard.start(loop)
    assert (guard.keep_vigil(tmp_path, lambda _findings: None), set(guard.health().guard.values())) == (None, {0})
    assert not guard.pinned
    guard.close()
    loop.close()
