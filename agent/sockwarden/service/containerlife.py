"""Tells the resolver of containers that are over, from what the kernel says of cgroups and first processes.

Owns the way from a record of container life to a container's id. Must never make a container known: a name in a path
is a candidate until the engine confirms it, and asking for every container that begins would load the engine without
making its first request faster (see docs/architecture.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sockwarden.abi import CgroupRecord, Kind, ProcessRecord
from sockwarden.identity.cgroup import candidates, home

if TYPE_CHECKING:
    from collections.abc import Callable


class Forgetful(Protocol):
    """Who remembers containers; see ``identity.container.ContainerResolver``."""

    def forget(self, container_id: str) -> None:
        """Drop a container that is over."""

    def init_ended(self, container_id: str, pid: int) -> None:
        """Drop a container if this was its init process."""


class ContainerLife:
    """``lived`` takes every record of container life, after the tracker learned it."""

    def __init__(self, containers: Forgetful, path_of: Callable[[int], str]) -> None:
        """``path_of`` gives a cgroup's path by its id, also of one that is gone."""
        self._containers: Final = containers
        self._path_of: Final = path_of

    def lived(self, record: object) -> None:
        """Learn from a record of the kernel that a container ended."""
        if isinstance(record, CgroupRecord):
            if not record.made:
                self._gone(record.path if not record.truncated else self._path_of(record.cgroup_id))
        elif isinstance(record, ProcessRecord) and record.kind is Kind.INIT_EXIT:
            for found in candidates(f"0::{self._path_of(record.actor.cgroup_id)}\n"):
                self._containers.init_ended(found.container_id, record.actor.tgid)

    def _gone(self, path: str) -> None:
        for found in candidates(f"0::{path}\n"):
            # Its own cgroup, not one that it made below.
            if home(found.container_id, path) == path:
                self._containers.forget(found.container_id)
