"""The facts that a diagnosis is made of, each as a value. What they mean is ``diagnosis``'s business.

Never: a guess. What could not be found out is an ``Untold`` with its reason.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from sockwarden.kernel.ladder import Row
    from sockwarden.kernel.probes import Answer

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Untold:
    """A question without an answer."""

    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Told(Generic[_Value]):
    """What was found, in the order of finding."""

    values: tuple[_Value, ...]


@dataclass(frozen=True, slots=True)
class SocketFact:
    """One socket of the host that gives the power of an engine, or leads to the gateway.

    ``device`` is in the kernel's encoding. ``guarded``: the agent says that it has exactly this object under guard.
    """

    path: str
    kind: str
    device: int
    inode: int
    guarded: bool


@dataclass(frozen=True, slots=True)
class AgentFact:
    """What the running agent says of itself."""

    pid: int
    version: str
    mode: str
    rung: str
    blocking: bool
    identity: str
    pinned: str
    engine_socket: str
    public_socket: str
    problems: tuple[str, ...]
    rows: tuple[Row, ...]
    sockets: tuple[SocketFact, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keeper:
    """The agent that published what a pinned set goes by. ``generation`` counts its publications."""

    pid: int
    runs: bool
    generation: int

    def __str__(self) -> str:
        """Return it as a clause."""
        return f"generation {self.generation} of the agent pid {self.pid}, which {'runs' if self.runs else 'is gone'}"


@dataclass(frozen=True, slots=True)
class PinFact:
    """One pinned set of programs. ``current``: it is of this version; ``whole``: it has programs and maps."""

    name: str
    rung: str
    build: str
    links: tuple[str, ...]
    maps: tuple[str, ...]
    current: bool
    aside: bool
    keeper: Keeper | None = None

    @property
    def whole(self) -> bool:
        """Whether it can be in force at all."""
        return bool(self.links and self.maps)


class Speaks(enum.Enum):
    """What answered at a TCP port."""

    ENGINE_API = "the Engine API, to whoever connects"
    TLS = "TLS: who has a certificate that the engine takes passes by the gateway"
    OTHER = "something else than the Engine API"
    SILENT = "nothing that could be read"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP port on which an engine's process listens."""

    address: str
    port: int
    speaks: Speaks

    def __str__(self) -> str:
        """Return it as in a URL."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class EngineFact:
    """A process that listens on one of the sockets. ``hosts``: the ways in that its options and its file ask for."""

    pid: int
    name: str
    sockets: tuple[str, ...]
    listeners: tuple[Listener, ...]
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContainerFact:
    """A running container that has power over the host, with what gives it."""

    container_id: str
    name: str
    image: str
    powers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HolderFact:
    """A process in a container that holds a connection to a guarded socket."""

    pid: int
    name: str
    container: str
    socket: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was found out about this host."""

    agent: AgentFact | Untold
    features: tuple[Answer, ...]
    rows: tuple[Row, ...]
    sockets: tuple[SocketFact, ...]
    pins: Told[PinFact] | Untold
    engines: Told[EngineFact] | Untold
    containers: Told[ContainerFact] | Untold
    holders: Told[HolderFact] | Untold
