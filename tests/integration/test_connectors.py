"""Connectors and cgroups by number, on this machine's own kernel: a real map, a real tree."""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import uuid
from typing import TYPE_CHECKING, Final

import pytest

from sockwarden import abi
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.connections.connectors import Connectors
from sockwarden.kernel.life import cgrouptree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.bpf

_LRU_HASH: Final = 9  # enum bpf_map_type


@pytest.fixture
def map_fd() -> Iterator[int]:
    """A map as the guard's programs fill it."""
    create = libbpf.library().bpf_map_create
    create.argtypes = [ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint32] * 3, ctypes.c_void_p]
    descriptor: int = create(_LRU_HASH, b"test_identity", 8, ctypes.sizeof(abi.RawActor), 64, None)
    assert descriptor >= 0, "the kernel gives no BPF map"
    yield descriptor
    os.close(descriptor)


def write_down(map_fd: int, one: socket.socket, raw: abi.RawActor) -> None:
    key = ctypes.c_uint64(os.fstat(one.fileno()).st_ino)
    written = libbpf.library().bpf_map_update_elem(map_fd, ctypes.byref(key), ctypes.byref(raw), 0)
    assert written == 0


def actor(number: int) -> abi.RawActor:
    raw = abi.RawActor(cgroup_id=number, start_ns=2, mnt_id=3, tgid=number + 4, pid=5, uid=6, gid=7, pid_ns=8)
    ctypes.memmove(raw.comm, b"curl", 4)
    return raw


@pytest.fixture
def pairs() -> Iterator[list[socket.socket]]:
    made = list(itertools.chain(*(socket.socketpair() for _ in range(2))))
    yield made
    for one in made:
        one.close()


def test_a_connector_is_every_number_that_was_written_down(map_fd: int, pairs: list[socket.socket]) -> None:
    write_down(map_fd, pairs[0], actor(1))
    found = Connectors(map_fd, str).take(pairs[0].fileno())
    assert found == abi.Actor(1, 2, 3, 5, 5, 6, 7, 8, 0, 0, 0, "curl")


def test_a_connector_is_read_once(map_fd: int, pairs: list[socket.socket]) -> None:
    write_down(map_fd, pairs[0], actor(1))
    connectors = Connectors(map_fd, str)
    connectors.take(pairs[0].fileno())
    assert connectors.take(pairs[0].fileno()) is None


def test_two_descriptors_have_their_own_connectors(map_fd: int, pairs: list[socket.socket]) -> None:
    for number, one in enumerate(pairs):
        write_down(map_fd, one, actor(number))
    connectors = Connectors(map_fd, str)
    found = [connectors.take(one.fileno()) for one in reversed(pairs)]
    assert [one.tgid for one in found if one] == [7, 6, 5, 4]


def test_a_descriptor_of_nobody_has_no_connector(map_fd: int, pairs: list[socket.socket]) -> None:
    assert Connectors(map_fd, str).take(pairs[0].fileno()) is None


def test_a_map_that_is_gone_has_no_connectors(pairs: list[socket.socket]) -> None:
    assert Connectors(-1, str).take(pairs[0].fileno()) is None


def test_a_cgroups_path_is_asked_of_who_knows_it() -> None:
    assert Connectors(-1, lambda number: f"/{number}").cgroup_path(7) == "/7"


@pytest.fixture
def top() -> Path:
    found = cgrouptree.mount_point()
    assert found is not None, "no cgroup v2 tree is mounted"
    return found


@pytest.fixture
def nested(top: Path) -> Iterator[Path]:
    outer = top / f"sockwarden-test-{uuid.uuid4().hex[:12]}"
    inner = outer / "in ner (deleted)x"
    inner.mkdir(parents=True)
    yield inner
    inner.rmdir()
    outer.rmdir()


def test_a_cgroup_is_found_by_its_number(top: Path, nested: Path) -> None:
    assert cgrouptree.Handles(top).path_of(nested.stat().st_ino) == f"/{nested.relative_to(top)}"


def test_the_root_of_the_tree_is_found_by_its_number(top: Path) -> None:
    assert cgrouptree.Handles(top).path_of(top.stat().st_ino) == "/"


def test_a_cgroup_that_is_gone_is_not_found(top: Path) -> None:
    gone = top / f"sockwarden-test-{uuid.uuid4().hex[:12]}"
    gone.mkdir()
    number = gone.stat().st_ino
    gone.rmdir()
    assert cgrouptree.Handles(top).path_of(number) == ""


@pytest.mark.parametrize("number", [-1, 0, 1 << 60])
def test_a_number_of_no_cgroup_finds_nothing(top: Path, number: int) -> None:
    assert cgrouptree.Handles(top).path_of(number) == ""


def test_another_file_of_the_tree_is_no_cgroup(top: Path, nested: Path) -> None:
    assert cgrouptree.Handles(top).path_of((nested / "cgroup.procs").stat().st_ino) == ""


def test_a_cgroup_outside_of_what_is_mounted_is_not_found(top: Path, nested: Path) -> None:
    other = nested.parent / "other"
    other.mkdir()
    try:
        assert cgrouptree.Handles(nested).path_of(other.stat().st_ino) == ""
    finally:
        other.rmdir()


def test_finding_leaves_no_descriptor_open(top: Path, nested: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    cgrouptree.Handles(top).path_of(nested.stat().st_ino)
    assert len(os.listdir("/proc/self/fd")) == before
