"""No cgroup that an engine makes for a container is ever a host service's, whatever parent it was told to use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.identity.cgroup import Place, placement
from sockwarden.service.hostservices import is_host_service

pytestmark = pytest.mark.property

IDS = st.text("0123456789abcdef", min_size=64, max_size=64)
UNITS = st.text("abcxyz0123456789:_.\\@-", min_size=1, max_size=12)
SERVICES = st.builds(
    lambda name, slices: f"/system.slice{slices}/{name}.service", UNITS, st.sampled_from(["", "/system-a.slice"])
)
PARENTS = st.one_of(
    SERVICES,
    st.sampled_from(
        ["", "/docker", "/system.slice", "/system.slice/system-x.slice", "/machine.slice", "/kubepods/burstable"]
    ),
    st.builds(lambda uid: f"/user.slice/user-{uid}.slice/user@{uid}.service/user.slice", st.integers(0, 60000)),
    st.builds(lambda parts: "/" + "/".join(parts), st.lists(UNITS, min_size=1, max_size=4)),
)
LEAVES = (
    "/{id}",  # cgroupfs: Docker, nerdctl
    "/docker-{id}.scope",
    "/libpod-{id}.scope",
    "/libpod-{id}.scope/container",
    "/libpod-payload-{id}",
    "/cri-containerd-{id}.scope",
    "/crio-{id}.scope",
    "/nerdctl-{id}.scope",
    "/kubepods-burstable-pod{id}.slice/cri-containerd-{id}.scope",
    "/system.slice:docker:{id}",  # runc's SLICE:PREFIX:NAME where it is read as a path
    "/buildkit/{id}",
    "/lxc.payload.{id}",
    "/{id}/system.slice/x.service",  # systemd in a container
    "/docker-{id}.scope/init.scope",
    "/{id}/docker/{id}",  # Docker in Docker
    "/payload",  # systemd-nspawn --keep-unit
    "/supervisor",
)


@given(parent=PARENTS, leaf=st.sampled_from(LEAVES), container=IDS)
def test_no_container_of_any_engine_is_a_host_service(parent: str, leaf: str, container: str) -> None:
    assert not is_host_service(parent + leaf.format(id=container))


@given(service=SERVICES, below=UNITS)
def test_nothing_below_a_service_is_one(service: str, below: str) -> None:
    assert not is_host_service(f"{service}/{below}.service")
    assert not is_host_service(f"{service}/{below}")


@given(path=st.one_of(SERVICES, st.text()))
def test_whoever_is_a_host_service_is_judged_as_host_too(path: str) -> None:
    if is_host_service(path):
        assert placement(f"0::{path}\n").place is Place.HOST
