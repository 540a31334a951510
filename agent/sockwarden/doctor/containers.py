"""Which running containers have power over the host, by what the engine says of them.

Owns what counts as power. It names, and does not judge: they may be meant so.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any, Final, Protocol

from sockwarden.dockerapi.bodies_mounts import MountKind, mounts_of_inspect
from sockwarden.doctor.facts import ContainerFact, Told, Untold
from sockwarden.errors import SockwardenError
from sockwarden.policy.mounts import Exposure, GuardedSockets, judge_mount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sockwarden.dockerapi.bodies_mounts import MountSource
    from sockwarden.policy.paths import Paths

MAX_INSPECTED: Final = 2000
"""Containers looked at; more than one host runs."""

CAPABILITIES: Final = frozenset(
    {"ALL", "BPF", "DAC_READ_SEARCH", "PERFMON", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"}
)
"""Added ones that reach out of a container, alone or with a namespace of the host (capabilities(7))."""


def powers_of(inspect: Mapping[str, Any], guarded: GuardedSockets, pin_dir: str, paths: Paths) -> tuple[str, ...]:
    """Return what gives a container power over the host, as clauses; from ``GET /containers/{id}/json``."""
    config = inspect.get("HostConfig")
    return (*_of_config(config if isinstance(config, dict) else {}), *_of_mounts(inspect, guarded, pin_dir, paths))


def _of_config(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("Privileged") is True:
        yield "privileged"
    if config.get("PidMode") == "host":
        yield "pid=host"
    added = config.get("CapAdd")
    names = {str(name).upper().removeprefix("CAP_") for name in added} if isinstance(added, list) else set()
    if names & CAPABILITIES:
        yield f"capabilities {', '.join(sorted(names & CAPABILITIES))}"


def _of_mounts(inspect: Mapping[str, Any], guarded: GuardedSockets, pin_dir: str, paths: Paths) -> Iterator[str]:
    try:
        sources = mounts_of_inspect(inspect)
    except SockwardenError as error:
        yield f"mounts that cannot be judged: {error}"
        return
    for source in sources:
        found = judge_mount(source, guarded, paths)
        if found.exposure in (Exposure.ENGINE, Exposure.UNJUDGEABLE):
            yield f"a mount: {found.reason}"
        elif pin_dir and _is_above(source, pin_dir):
            yield f"a mount: {source.source} shows the guard's pins in {pin_dir}"


def _is_above(source: MountSource, path: str) -> bool:
    if source.kind is not MountKind.BIND:
        return False
    above = posixpath.normpath(source.source).rstrip("/")
    return path == above or path.startswith(f"{above}/")


class Engine(Protocol):
    """What is asked of an engine; see ``engine.client.EngineClient``."""

    async def running_containers(self) -> tuple[str, ...]:
        """Return the ids of all containers that run; raises EngineError."""

    async def inspect_container(self, id_or_name: str, /) -> dict[str, Any] | None:
        """Return what the engine knows of one, None if it is gone; raises EngineError."""


async def find(engine: Engine, guarded: GuardedSockets, pin_dir: str, paths: Paths) -> Told[ContainerFact] | Untold:
    """Return the running containers with power over the host."""
    facts = []
    try:
        ids = await engine.running_containers()
        if len(ids) > MAX_INSPECTED:
            return Untold(f"{len(ids)} containers run, more than {MAX_INSPECTED}, which would take minutes")
        for container_id in ids:
            inspect = await engine.inspect_container(container_id)
            powers = () if inspect is None else powers_of(inspect, guarded, pin_dir, paths)
            if inspect is not None and powers:
                facts.append(ContainerFact(container_id, *_named(inspect), tuple(dict.fromkeys(powers))))
    except SockwardenError as error:
        return Untold(str(error), error.remedy)
    return Told(tuple(facts))


def _named(inspect: Mapping[str, Any]) -> tuple[str, str]:
    config = inspect.get("Config")
    image = config.get("Image") if isinstance(config, dict) else ""
    return str(inspect.get("Name") or "").removeprefix("/"), str(image or "an image without a name")
