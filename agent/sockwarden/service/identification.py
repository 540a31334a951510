"""How clients are identified and container life is followed on this host: two parts of a status, in words.

Must not change anything, nor identify anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sockwarden.config import GuardMode
from sockwarden.identity.peer import knows_v1, socket_step
from sockwarden.model import IdentitySource

if TYPE_CHECKING:
    from sockwarden.config import Config
    from sockwarden.kernel.life.lifefeed import Life


class Guarding(Protocol):
    """What is asked of a guard; see ``kernel.guard.Guard``."""

    @property
    def knows_connectors(self) -> bool:
        """Whether the rung in force writes connectors down."""

    @property
    def life(self) -> Life:
        """The source of container life."""


class Guarded(Protocol):
    """The parts of an agent that this is told from."""

    @property
    def config(self) -> Config:
        """The configuration."""

    @property
    def guard(self) -> Guarding:
        """The guard, which has not begun where the mode is none."""


_NO_GUARD: Final = "guard.mode is none"

_WORTH: Final = {
    IdentitySource.PIDFD: "a client that has exited is refused",
    IdentitySource.CRED: "the kernel has no SO_PEERPIDFD (Linux 6.5); a client that has exited is refused, and one "
    "whose process number is given to another while it waits may be taken for that",
}


def identity_of(agent: Guarded) -> dict[str, str]:
    """Return the strongest step of identification in use, as ``source`` and ``why``."""
    step = socket_step()
    if agent.config.guard.mode is GuardMode.NONE:
        return {"source": step.value, "why": f"{_NO_GUARD}; {_WORTH[step]}"}
    if not agent.guard.knows_connectors:
        return {"source": step.value, "why": f"the guard's rung does not write down who connects; {_WORTH[step]}"}
    why = "the guard writes down who connects"
    if knows_v1():
        why += f"; cgroup v1 is mounted too, so who is in no container of the v2 tree is known by {step.value}"
    return {"source": IdentitySource.KERNEL.value, "why": why}


def life_of(agent: Guarded) -> dict[str, str]:
    """Return where container life is known from, as ``source`` and ``why`` it is no better one."""
    if agent.config.guard.mode is GuardMode.NONE:
        return {"source": "none", "why": _NO_GUARD}
    return {"source": agent.guard.life.source, "why": agent.guard.life.why}
