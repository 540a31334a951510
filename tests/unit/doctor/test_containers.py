"""Which containers have power over the host, by the engine's own description."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.policy.fake_paths import FakePaths

from sockwarden.doctor.containers import MAX_INSPECTED, find, powers_of
from sockwarden.doctor.facts import ContainerFact, Told, Untold
from sockwarden.errors import EngineError
from sockwarden.policy.mounts import GuardedSockets

PINS = "/sys/fs/bpf/sockwarden"
PATHS = FakePaths(["/run/docker.sock", "/run/sockwarden/engine.sock", "/srv/data", "/sys/fs/bpf"])
GUARDED = GuardedSockets.at(["/run/docker.sock"], ["/run/sockwarden/engine.sock"], PATHS)
IS = "a mount: /run/sockwarden/engine.sock is the socket /run/sockwarden/engine.sock"
UNREADABLE = "mounts that cannot be judged: the engine's answer about a container has unreadable Binds"
SHOWS = "a mount: {} shows the socket /run/sockwarden/engine.sock"


def bound(*sources: str) -> dict[str, Any]:
    return {"HostConfig": {"Binds": [f"{source}:/mnt{number}" for number, source in enumerate(sources)]}}


@pytest.mark.parametrize(
    ("inspect", "powers"),
    [
        ({}, ()),
        ({"HostConfig": None}, ()),
        ({"HostConfig": {"Privileged": False, "PidMode": "", "CapAdd": None, "NetworkMode": "host"}}, ()),
        ({"HostConfig": {"Privileged": True}}, ("privileged",)),
        ({"HostConfig": {"PidMode": "host"}}, ("pid=host",)),
        ({"HostConfig": {"CapAdd": ["ALL"]}}, ("capabilities ALL",)),
        ({"HostConfig": {"CapAdd": ["CAP_SYS_ADMIN", "net_raw", "bpf"]}}, ("capabilities BPF, SYS_ADMIN",)),
        ({"HostConfig": {"CapAdd": ["NET_RAW"]}}, ()),
        (bound("/srv/data"), ()),
        (bound("/run/docker.sock"), ()),
        (bound("/run/sockwarden/engine.sock"), (IS,)),
        (bound("/run"), (SHOWS.format("/run"),)),
        (bound("/sys"), ("a mount: /sys shows the guard's pins in /sys/fs/bpf/sockwarden",)),
        (bound("/sys/fs/bpf/"), ("a mount: /sys/fs/bpf/ shows the guard's pins in /sys/fs/bpf/sockwarden",)),
        (bound("/sys/fs/bp"), ()),
        ({"HostConfig": {"Binds": [1]}}, (UNREADABLE,)),
    ],
)
def test_power_over_the_host_is_named(inspect: dict[str, Any], powers: tuple[str, ...]) -> None:
    assert powers_of(inspect, GUARDED, PINS, PATHS) == powers


def test_without_pins_no_mount_shows_them() -> None:
    assert powers_of(bound("/sys"), GUARDED, "", PATHS) == ()


class Engine:
    """An engine that runs these containers; None for one that is gone when it is asked about."""

    def __init__(self, containers: dict[str, dict[str, Any] | None] | None) -> None:
        self._containers = containers

    async def running_containers(self) -> tuple[str, ...]:
        if self._containers is None:
            raise EngineError("the engine is gone", remedy="start it")
        return tuple(self._containers)

    async def inspect_container(self, id_or_name: str, /) -> dict[str, Any] | None:
        assert self._containers is not None
        return self._containers[id_or_name]


def found_in(containers: dict[str, dict[str, Any] | None] | None) -> Told[ContainerFact] | Untold:
    return asyncio.run(find(Engine(containers), GUARDED, PINS, PATHS))


def test_only_containers_with_power_are_named() -> None:
    privileged = {"Name": "/ci", "Config": {"Image": "busybox"}, "HostConfig": {"Privileged": True}}
    assert found_in({"a": privileged, "b": {"HostConfig": {}}, "c": None}) == Told(
        (ContainerFact("a", "ci", "busybox", ("privileged",)),)
    )


def test_a_container_of_an_image_that_lost_its_name_is_named_all_the_same() -> None:
    assert found_in({"a": {"HostConfig": {"Privileged": True}}}) == Told(
        (ContainerFact("a", "", "an image without a name", ("privileged",)),)
    )


def test_more_containers_than_are_looked_at_leave_the_question_open() -> None:
    assert isinstance(found_in({str(number): None for number in range(MAX_INSPECTED + 1)}), Untold)


def test_an_engine_that_does_not_answer_leaves_the_question_open() -> None:
    assert found_in(None) == Untold("the engine is gone", "start it")
