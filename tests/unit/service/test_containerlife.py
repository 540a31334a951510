from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sockwarden import abi
from sockwarden.service.containerlife import ContainerLife

ID = "a" * 64
INNER = "b" * 64
ACTOR = abi.Actor(9, 2, 11, 4242, 4242, 5, 6, 7, 8, 1, 1, "sh")


@dataclass
class Memory:
    told: list[tuple[str, int]] = field(default_factory=list)

    def forget(self, container_id: str) -> None:
        self.told.append((container_id, 0))

    def init_ended(self, container_id: str, pid: int) -> None:
        self.told.append((container_id, pid))


@pytest.fixture
def memory() -> Memory:
    return Memory()


def life(memory: Memory, path: str = f"/docker/{ID}") -> ContainerLife:
    return ContainerLife(memory, lambda _number: path)


def cgroup(path: str, *, made: bool = False, truncated: bool = False) -> abi.CgroupRecord:
    return abi.CgroupRecord(9, ACTOR, made, 9, 1, path, truncated)


@pytest.mark.parametrize("path", [f"/docker/{ID}", f"/system.slice/docker-{ID}.scope"])
def test_a_container_whose_cgroup_went_is_forgotten(memory: Memory, path: str) -> None:
    life(memory).lived(cgroup(path))
    assert memory.told == [(ID, 0)]


@pytest.mark.parametrize("path", [f"/docker/{ID}/inner", "/user.slice"])
def test_a_cgroup_that_is_no_containers_own_forgets_none(memory: Memory, path: str) -> None:
    life(memory).lived(cgroup(path))
    assert memory.told == []


def test_of_nested_containers_only_the_inner_one_is_forgotten(memory: Memory) -> None:
    life(memory).lived(cgroup(f"/docker/{ID}/docker/{INNER}"))
    assert memory.told == [(INNER, 0)]


def test_a_cgroup_that_begins_forgets_none(memory: Memory) -> None:
    life(memory).lived(cgroup(f"/docker/{ID}", made=True))
    assert memory.told == []


def test_a_cut_path_is_looked_up(memory: Memory) -> None:
    life(memory).lived(cgroup("/docker", truncated=True))
    assert memory.told == [(ID, 0)]


def test_the_end_of_an_init_is_told_with_its_number_to_every_container_around_it(memory: Memory) -> None:
    ended = abi.ProcessRecord(9, abi.Kind.INIT_EXIT, ACTOR, 0, "", truncated=False)
    life(memory, f"/docker/{ID}/docker/{INNER}").lived(ended)
    assert memory.told == [(ID, 4242), (INNER, 4242)]


@pytest.mark.parametrize("kind", [abi.Kind.INIT_BORN, abi.Kind.INIT_EXEC])
def test_the_begin_of_an_init_forgets_none(memory: Memory, kind: abi.Kind) -> None:
    life(memory).lived(abi.ProcessRecord(9, kind, ACTOR, 0, "", truncated=False))
    assert memory.told == []


def test_the_end_of_an_init_in_an_unknown_cgroup_forgets_none(memory: Memory) -> None:
    life(memory, "").lived(abi.ProcessRecord(9, abi.Kind.INIT_EXIT, ACTOR, 0, "", truncated=False))
    assert memory.told == []
