"""A rung in force: its programs, its maps, its ring, and the policy in them.

Owns nothing of how it was loaded: a freshly loaded object, pins of an earlier agent and a compiled one all become the
same thing. Must not read events for anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sockwarden.kernel.bpf.maps import per_cpu_sum
from sockwarden.kernel.bpf.ringbuf import Ring
from sockwarden.kernel.publication import Publication

if TYPE_CHECKING:
    from sockwarden import abi


class Holding(Protocol):
    """What keeps programs attached and maps open; see ``loader.BpfObject``."""

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map, which stays the holding's own."""

    def program_fd(self, name: str) -> int:
        """Return the descriptor of one of its programs, which stays the holding's own."""

    def close(self) -> None:
        """Let go of everything; what is pinned stays in force."""


class Force:
    """One attached rung. ``programs[0]`` is the one that sees connect()."""

    def __init__(self, programs: tuple[str, ...], holding: Holding) -> None:
        """Take over ``holding``.

        Raises:
            KernelError: a map is missing, or its ring cannot be read.
        """
        self.programs = programs
        self.holding: Final = holding
        self.publication = Publication(holding.map_fd)
        self.ring = Ring(holding.map_fd("sw_connects"))

    @property
    def knows_objects(self) -> bool:
        """Whether records name the object; else only the caller's text."""
        return "guard_syscall" not in self.programs

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map, which stays the force's own.

        Raises:
            KernelError: this rung has no such map.
        """
        return self.holding.map_fd(name)

    def program_fd(self, name: str) -> int:
        """Return the descriptor of one of ``programs``, which stays the force's own.

        Raises:
            KernelError: it cannot be had.
        """
        return self.holding.program_fd(name)

    def stat(self, which: abi.GuardStat) -> int:
        """Return one counter of the kernel."""
        return per_cpu_sum(self.holding.map_fd("sw_guard_stats"), which)

    def close(self) -> None:
        """Stop reading and let go; call it once."""
        self.ring.close()
        self.holding.close()
