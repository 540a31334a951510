"""The host's own services: told to the guard when they begin, taken back when they end, never a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.service import hostservices
from sockwarden.service.hostservices import HostServices, is_host_service

if TYPE_CHECKING:
    from collections.abc import Collection

ID = "0123456789abcdef" * 4


class Wall:
    def __init__(self) -> None:
        self.told: list[set[int]] = []
        self.refusal: KernelError | None = None

    def allow(self, cgroup_ids: Collection[int]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.told.append(set(cgroup_ids))


def record(cgroup_id: int, path: str, *, made: bool = True, truncated: bool = False) -> abi.CgroupRecord:
    actor = abi.Actor(1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, "systemd")
    return abi.CgroupRecord(1, actor, made, cgroup_id, 2, path, truncated)


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/cron.service",
        "/system.slice/docker.service",
        "/system.slice/snap.docker.dockerd.service",
        r"/system.slice/system-modprobe.slice/modprobe@efi\x2dpstore.service",
        "/system.slice/system-a.slice/system-a-b.slice/x@1.service",
    ],
)
def test_a_system_service_is_one(path: str) -> None:
    assert is_host_service(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/init.scope",
        "/system.slice",
        "/system.slice/.service",
        "/system.slice/x.service/",
        "/system.slice/x.service/child",
        "/system.slice/x.scope",
        "/x/system.slice/y.service",
        "/system.slice/../x.service",
        "/user.slice/user-1000.slice/user@1000.service",
        "/machine.slice/systemd-nspawn@x.service",
        "/system.slice/other.slice/x.service",
        f"/system.slice/{ID}.service",
        f"/system.slice/docker-{ID}.scope",
        "/system.slice/libpod-x.service",
        "/system.slice/x y.service",
        "/system.slice/x.service\n",
    ],
)
def test_anything_else_is_none(path: str) -> None:
    assert not is_host_service(path)


def test_the_services_of_a_walk_are_told_at_once() -> None:
    wall = Wall()
    services = HostServices(wall.allow)
    services.begin([(1, "/"), (2, "/system.slice"), (3, "/system.slice/a.service"), (4, f"/docker/{ID}")])
    assert (wall.told, len(services)) == ([{3}], 1)


def test_a_service_that_begins_is_told_and_one_that_ends_taken_back() -> None:
    wall = Wall()
    services = HostServices(wall.allow)
    services.lived(record(3, "/system.slice/a.service"))
    services.lived(record(4, f"/docker/{ID}"))
    services.lived(record(4, f"/docker/{ID}", made=False))
    services.lived(record(3, "/system.slice/a.service", made=False))
    assert wall.told == [{3}, set()]


def test_a_path_that_was_cut_short_is_nobodys_service() -> None:
    wall = Wall()
    HostServices(wall.allow).lived(record(3, "/system.slice/a.service", truncated=True))
    assert wall.told == []


def test_records_of_processes_are_not_its_business() -> None:
    wall = Wall()
    HostServices(wall.allow).lived(object())
    assert wall.told == []


def test_more_services_than_fit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostservices, "MAX_SERVICES", 1)
    wall = Wall()
    services = HostServices(wall.allow)
    services.lived(record(3, "/system.slice/a.service"))
    services.lived(record(4, "/system.slice/b.service"))
    assert (wall.told, services.problems()) == (
        [{3}],
        ["1 services of the host were more than the kernel guard is told of"],
    )


def test_what_the_kernel_does_not_take_is_a_fault_until_it_does() -> None:
    wall = Wall()
    services = HostServices(wall.allow)
    wall.refusal = KernelError("the map is full")
    services.lived(record(3, "/system.slice/a.service"))
    before = services.problems()
    wall.refusal = None
    services.lived(record(4, "/system.slice/b.service"))
    assert (before, services.problems(), wall.told) == (
        ["the kernel guard does not know the host's services: the map is full"],
        [],
        [{3, 4}],
    )
