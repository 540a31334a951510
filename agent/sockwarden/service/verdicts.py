"""The kernel answers a container that was told often enough that its image may not use the socket.

Owns the way from the gateway's refusals to verdicts by cgroup in the kernel, and back: they end with the container,
with the policy generation, and after a while. Must never keep a host process away, nor anybody for a command: only an
image that may not use the socket at all counts. How often is ``policy.patience``'s.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Protocol

from sockwarden.identity.cgroup import hierarchies, home
from sockwarden.model import Client, ContainerClient, Rule, Verdict
from sockwarden.observe.audit import AuditRecord
from sockwarden.observe.metrics import Decision
from sockwarden.policy.patience import KEPT_SECONDS, Patience

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sockwarden.observe.audit import AuditLog
    from sockwarden.policy.decide import Generation

_V2: Final = ""
"""The key of the v2 tree in ``hierarchies``."""


class Wall(Protocol):
    """Keeps cgroups from the gateway's socket; see ``kernel.guard.Guard``."""

    def deny_cgroup(self, cgroup_id: int) -> bool:
        """Begin; False where the rung in force cannot."""

    def forget_cgroup(self, cgroup_id: int) -> None:
        """End it."""

    def forget_cgroups(self) -> None:
        """End it for all, those of an earlier agent too."""


class KernelVerdicts:
    """One per agent, for its one event loop."""

    def __init__(
        self,
        wall: Wall,
        init_lines: Callable[[str], str | None],
        audit: AuditLog,
        socket: str,
        top: Callable[[], Path | None],
    ) -> None:
        """Prepare.

        Args:
            wall: the guard.
            init_lines: the cgroup text of a running container's init process by the container's id.
            audit: told once when it begins.
            socket: the gateway's own, for the record.
            top: where the v2 tree is mounted.
        """
        self._wall: Final = wall
        self._init_lines: Final = init_lines
        self._audit: Final = audit
        self._socket: Final = socket
        self._top: Final = top
        self._patience = Patience()
        self._cgroups: Final[dict[str, tuple[int, str]]] = {}

    def __len__(self) -> int:
        return len(self._cgroups)

    def turned_away(self, generation: Generation, client: Client, verdict: Verdict) -> None:
        """Take note that a client was refused the socket as such."""
        if not isinstance(client, ContainerClient) or verdict.rule is not Rule.IMAGE_LIST or not generation.enforcing:
            return
        container_id, now = client.container.id, time.monotonic()
        if not self._patience.refused(container_id, now):
            return
        found = self._cgroup_of(container_id)
        if found is None or not self._wall.deny_cgroup(found[0]):
            self._patience.forget(container_id)  # asked again after as many refusals
            return
        self._patience.keep(container_id, now)
        self._cgroups[container_id] = found
        self._record(generation, client, verdict)

    def beat(self) -> None:
        """End what has lasted long enough, and what is about a container that is gone."""
        over = set(self._patience.lapsed(time.monotonic()))
        over |= {container_id for container_id, (number, path) in self._cgroups.items() if _id_of(path) != number}
        for container_id in over:
            self._patience.forget(container_id)
            number, _ = self._cgroups.pop(container_id)
            self._wall.forget_cgroup(number)

    def clear(self) -> None:
        """Let the gateway answer everybody: another policy is in force, or the agent begins."""
        self._patience = Patience()
        self._cgroups.clear()
        self._wall.forget_cgroups()

    def _cgroup_of(self, container_id: str) -> tuple[int, str] | None:
        """Return id and path of the cgroup that the engine made for a container; all that it runs is below."""
        top, lines = self._top(), self._init_lines(container_id)
        path = home(container_id, hierarchies(lines).get(_V2, "")) if lines is not None else None
        if top is None or path is None:
            return None  # an engine that uses cgroup v1: nothing in the v2 tree is this container's own
        where = f"{top}{path}"
        number = _id_of(where)
        return None if number is None else (number, where)

    def _record(self, generation: Generation, client: ContainerClient, verdict: Verdict) -> None:
        self._audit.write(
            AuditRecord(
                time=time.time(),
                decision=Decision.DENY,
                rule=verdict.rule,
                command="connect",
                method="CONNECT",
                target=self._socket,
                client=client,
                generation=generation.number,
                mode=generation.mode,
                message=f"{verdict.message}; it goes on asking, so for {KEPT_SECONDS:.0f} s further connections are "
                f"refused by the kernel; to allow it, {verdict.remedy}",
            )
        )


def _id_of(path: str) -> int | None:
    """Return the id of a cgroup, None if it is gone."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None
