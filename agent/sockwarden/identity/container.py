"""Which container of the engine is a peer in?

Owns the cache of containers that are known to run, and the bounded wait for those that are not. It asks the engine
about ids found in cgroup paths and believes it only where the kernel agrees (see ``cgroup.choose``). It never goes by
an address, a name or a label, and it never lets an unresolved peer pass as host.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from sockwarden.errors import EngineError
from sockwarden.identity.cgroup import Place, Placement, choose, placement
from sockwarden.identity.peer import PROCFS, PeerSnapshot
from sockwarden.model import (
    CONTAINER_ID,
    DIGEST,
    Client,
    Container,
    ContainerClient,
    HostClient,
    Peer,
    Rule,
    UnknownClient,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_KNOWN: Final = 4096
"""Containers remembered; about 1 KiB each, and more than a host runs at once."""

RESOLVE_SECONDS: Final = 5.0
"""The longest that a client's first request waits for the engine's word."""

START_DELAYS: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds between questions about a container that does not run *yet*: its first process may connect before the engine
has noted that it runs, and must not be refused because of that race."""

_REMEMBERED_CHOICES: Final = 256
_REMEMBERED_LENGTH: Final = 4096  # characters: a container can make its cgroup's path longer, but not fill the memory


class Engine(Protocol):
    """The one question that this module has for the engine; see ``engine.client.EngineClient``."""

    async def inspect_container(self, id_or_name: str, /) -> Mapping[str, Any] | None:
        """Return the engine's answer, or None for an unknown container."""


class ProcessFacts(Protocol):
    """What /proc says of a process; see ``procfs.Procfs``."""

    def start_ticks(self, pid: int, /) -> int | None:
        """Return when ``pid`` started, or None if it is gone."""

    def cgroup(self, pid: int, /) -> str | None:
        """Return the text of /proc/PID/cgroup, or None if it is gone."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A container with its init process; it is the same run of it as long as that process has its start time."""

    container: Container
    init_pid: int
    init_ticks: int
    init_lines: str


class _NotRunning:
    """A container that the engine knows, but without a live init process."""


class ContainerResolver:
    """Turns peers into clients. For one event loop; not thread-safe."""

    def __init__(
        self, engine: Engine, procfs: ProcessFacts = PROCFS, *, start_delays: Sequence[float] = START_DELAYS
    ) -> None:
        self._engine: Final = engine
        self._procfs: Final = procfs
        self._start_delays: Final = tuple(start_delays)
        self._known: Final[OrderedDict[str, _Running]] = OrderedDict()
        self._questions: Final[dict[str, asyncio.Task[_Running | _NotRunning | None]]] = {}

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        """Return the client if that needs no word from the engine: the host, a cached container, or a plain refusal."""
        peer = snapshot.peer
        if peer is None:
            return UnknownClient(None, Rule.IDENTITY, snapshot.reason)
        place = placement(snapshot.cgroup_lines)
        if place.place is Place.HOST:
            return HostClient(peer)
        if place.place is Place.FOREIGN:
            return UnknownClient(peer, Rule.UNKNOWN_CONTAINER, place.reason)
        running = {}
        for container_id, _ in place.candidates:
            entry = self._remembered(container_id)
            if entry is None:
                return None
            running[container_id] = entry
        return _confirmed(peer, snapshot.cgroup_lines, running)

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        """Return the client, asking the engine where needed, within RESOLVE_SECONDS."""
        client = self.resolve_now(snapshot)
        if client is not None:
            return client
        peer = snapshot.peer
        if peer is None:
            raise AssertionError("resolve_now answers for a peer that is not identified")
        place = placement(snapshot.cgroup_lines)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                return await self._ask_until_started(peer, snapshot.cgroup_lines, place)
        except TimeoutError:
            reason = f"the engine did not say within {RESOLVE_SECONDS:g} s which container it is in"
        except EngineError as error:
            reason = f"the engine cannot say which container it is in ({error})"
        except OSError as error:
            reason = f"the init process of its container cannot be read ({error})"
        return UnknownClient(peer, Rule.ENGINE, reason)

    def init_lines(self, container_id: str) -> str | None:
        """Return the text of /proc/PID/cgroup of a known container's init process, None if it does not run."""
        entry = self._remembered(container_id)
        return None if entry is None else entry.init_lines

    def forget(self, container_id: str) -> None:
        """Drop a container that stopped. Safe to miss: a cached container is checked again on each use."""
        self._known.pop(container_id, None)

    def init_ended(self, container_id: str, pid: int) -> None:
        """Drop a container if this was its init process: others end in its cgroup too."""
        entry = self._known.get(container_id)
        if entry is not None and entry.init_pid == pid:
            self.forget(container_id)

    def clear(self) -> None:
        """Drop all containers, as after a restart of the engine."""
        self._known.clear()

    def __len__(self) -> int:
        return len(self._known)

    async def _ask_until_started(self, peer: Peer, lines: str, place: Placement) -> Client:
        ids = tuple(dict.fromkeys(candidate.container_id for candidate in place.candidates))
        for delay in (*self._start_delays, None):
            running = {}
            starting = False
            for container_id in ids:
                entry = self._remembered(container_id) or await self._question(container_id)
                if isinstance(entry, _Running):
                    running[container_id] = entry
                elif entry is not None:
                    starting = True
            client = _confirmed(peer, lines, running)
            if client is not None:
                return client
            if delay is None or not starting:
                break
            await asyncio.sleep(delay)
        named = ", ".join(container_id[:12] for container_id in ids)
        return UnknownClient(
            peer, Rule.UNKNOWN_CONTAINER, f"no running container of the engine holds it (named: {named})"
        )

    def _remembered(self, container_id: str) -> _Running | None:
        """Return a cached container if its init process still is the one that was seen."""
        entry = self._known.get(container_id)
        if entry is None:
            return None
        try:
            ticks = self._procfs.start_ticks(entry.init_pid)
        except (OSError, ValueError):
            ticks = None
        if ticks != entry.init_ticks:
            del self._known[container_id]
            return None
        self._known.move_to_end(container_id)
        return entry

    async def _question(self, container_id: str) -> _Running | _NotRunning | None:
        """Ask the engine once, however many peers wait for the same container."""
        task = self._questions.get(container_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(container_id))
            self._questions[container_id] = task
            task.add_done_callback(lambda done: self._answered(container_id, done))
        return await asyncio.shield(task)

    def _answered(self, container_id: str, task: asyncio.Task[_Running | _NotRunning | None]) -> None:
        self._questions.pop(container_id, None)
        if not task.cancelled():
            task.exception()  # marks it as seen: everybody who asked may have given up

    async def _ask(self, container_id: str) -> _Running | _NotRunning | None:
        answer = await self._engine.inspect_container(container_id)
        if answer is None or answer.get("Id") != container_id:
            return None  # a container may be *called* like the id of another one
        pid = _init_pid(answer)
        ticks = self._procfs.start_ticks(pid) if pid else None
        lines = self._procfs.cgroup(pid) if pid else None
        if not pid or ticks is None or lines is None or self._procfs.start_ticks(pid) != ticks:
            return _NotRunning()
        entry = _Running(_container(answer), pid, ticks, lines)
        self._known[container_id] = entry
        self._known.move_to_end(container_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return entry


def _confirmed(peer: Peer, lines: str, running: Mapping[str, _Running]) -> ContainerClient | None:
    inits = tuple((container_id, entry.init_lines) for container_id, entry in running.items())
    chosen = _remembered_choice(lines, inits) if len(lines) <= _REMEMBERED_LENGTH else choose(lines, dict(inits))
    return None if chosen is None else ContainerClient(peer, running[chosen].container)


@lru_cache(maxsize=_REMEMBERED_CHOICES)
def _remembered_choice(lines: str, inits: tuple[tuple[str, str], ...]) -> str | None:
    return choose(lines, dict(inits))


def _init_pid(answer: Mapping[str, Any]) -> int:
    """Return the pid of the container's init, or 0 if it does not run.

    Raises:
        EngineError: the answer has no state.
    """
    state = answer.get("State")
    if not isinstance(state, dict) or not isinstance(state.get("Pid"), int):
        raise EngineError("the engine's description of a container has no State.Pid")
    return state["Pid"] if state.get("Running") is True and state["Pid"] > 0 else 0


def _container(answer: Mapping[str, Any]) -> Container:
    """Return the container of an inspect answer (moby: api/types/container).

    Raises:
        EngineError: the answer lacks the ids.
    """
    container_id, image_id = answer.get("Id"), answer.get("Image")
    if not isinstance(container_id, str) or not CONTAINER_ID.fullmatch(container_id):
        raise EngineError("the engine's description of a container has no full id")
    if not isinstance(image_id, str) or not DIGEST.fullmatch(image_id):
        raise EngineError("the engine's description of a container has no image id")
    config = answer.get("Config")
    name = config.get("Image") if isinstance(config, dict) else None
    descriptor = answer.get("ImageManifestDescriptor")
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return Container(
        id=container_id,
        image_id=image_id,
        image_name=name if isinstance(name, str) else "",
        manifest_digest=digest if isinstance(digest, str) and DIGEST.fullmatch(digest) else None,
    )
