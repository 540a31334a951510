"""Law of identity: whatever became of the one who connected, nobody else is taken for it.

A world has one engine and two of its containers. The truth is where the connector was in connect(); since then it
may have ended, moved, or given its number to another process. ``identify`` gets what such a world shows.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sockwarden.abi import Actor
from sockwarden.identity.cgroup import Place, choose, placement
from sockwarden.identity.peer import SO_PEERPIDFD, TICKS_PER_SECOND, PeerSnapshot, identify
from sockwarden.model import IdentitySource

pytestmark = pytest.mark.property

GOOD, EVIL = "a" * 64, "b" * 64
PID, TICKS = 4242, 700
HOST = "host"
PLACES = (HOST, GOOD, EVIL)


@dataclass(frozen=True)
class Trees:
    """How a host uses its cgroup trees: which are mounted, and which the engine puts containers into."""

    v1: bool
    v2: bool
    engine_uses_v2: bool

    def text(self, where: str) -> str:
        """Return what /proc/PID/cgroup shows of a process in ``where``."""
        lines = [f"1:memory:{'/docker/' + where if where != HOST else '/'}"] if self.v1 else []
        if self.v2:
            lines.append(f"0::{self.path(where)}")
        return "\n".join(lines) + "\n"

    def path(self, where: str) -> str:
        """Return the v2 path; an engine that does not use v2 leaves its containers in its own service's cgroup."""
        if where == HOST:
            return "/user.slice"
        return f"/docker/{where}" if self.engine_uses_v2 else "/system.slice/containerd.service"


TREES = st.sampled_from(
    [
        Trees(v1=False, v2=True, engine_uses_v2=True),
        Trees(v1=True, v2=True, engine_uses_v2=True),
        Trees(v1=True, v2=True, engine_uses_v2=False),
        Trees(v1=True, v2=False, engine_uses_v2=False),
    ]
)


@dataclass(frozen=True)
class Now:
    """Who has the connector's number now: nobody (None), the connector itself, or another, and where it is."""

    where: str | None
    same: bool = True


@dataclass
class World:
    trees: Trees
    now: Now
    has_pidfd: bool

    def start_ticks(self, pid: int) -> int | None:
        return None if self.now.where is None else TICKS if self.now.same else TICKS + 3

    def cgroup(self, pid: int) -> str | None:
        where = HOST if pid == os.getpid() else self.now.where
        return None if where is None else self.trees.text(where)

    def pidfd_pid(self, fd: int) -> int:
        return PID if self.now.where is not None and self.now.same else -1

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        if optname != SO_PEERPIDFD:
            return struct.pack("iII", PID, 0, 0)
        if not self.has_pidfd:
            raise OSError(92, "ENOPROTOOPT")
        return os.open("/dev/null", os.O_RDONLY)

    def fileno(self) -> int:
        return 0


@dataclass
class Entry:
    """What was written down: the truth, or that of another connection; its cgroup may not be found any more."""

    trees: Trees
    where: str
    tgid: int
    found: bool

    def take(self, _descriptor: int, /) -> Actor | None:
        return Actor(1, TICKS * 1_000_000_000 // TICKS_PER_SECOND, 0, self.tgid, self.tgid, 0, 0, 0, 0, 0, 0, "x")

    def cgroup_path(self, _cgroup_id: int, /) -> str:
        return self.trees.path(self.where) if self.found and self.trees.v2 else ""


def client(snapshot: PeerSnapshot, trees: Trees) -> str | None:
    """Return where the agent would place it, None where it refuses."""
    if snapshot.peer is None:
        return None
    where = placement(snapshot.cgroup_lines)
    if where.place is Place.HOST:
        return HOST
    return choose(snapshot.cgroup_lines, {name: trees.text(name) for name in (GOOD, EVIL)})


@given(
    TREES,
    st.sampled_from(PLACES),
    st.builds(Now, st.sampled_from([None, *PLACES]), st.booleans()),
    st.booleans(),
    st.booleans(),
)
def test_who_was_written_down_is_itself_or_nobody(trees, truth, now, has_pidfd, found):
    known = identify(World(trees, now, has_pidfd), World(trees, now, has_pidfd), Entry(trees, truth, PID, found=found))
    # Where no v2 tree tells the cgroup of then, one that moved since is placed where it is: as without this step.
    assume((found and trees.v2 and trees.engine_uses_v2) or not (now.same and now.where not in (None, truth)))
    assert client(known, trees) in (truth, None)


@given(TREES, st.sampled_from(PLACES), st.sampled_from(PLACES), st.booleans())
def test_an_entry_of_another_process_says_nothing(trees, truth, other, has_pidfd):
    world = World(trees, Now(truth), has_pidfd)
    known = identify(world, world, Entry(trees, other, PID + 1, found=True))
    assert client(known, trees) == truth
    assert known.peer is not None
    assert known.peer.source is not IdentitySource.KERNEL


@given(TREES, st.sampled_from(PLACES), st.booleans(), st.booleans())
def test_who_lives_where_it_connected_is_known_by_every_step(trees, truth, has_pidfd, found):
    world = World(trees, Now(truth), has_pidfd)
    known = identify(world, world, Entry(trees, truth, PID, found=found))
    assert client(known, trees) == truth == client(identify(world, world), trees)
