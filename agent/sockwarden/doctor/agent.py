"""What the running agent says of itself, from the answer of its control socket.

Never: trust in the form of the answer. An agent of another version may say more or less.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sockwarden.doctor.facts import AgentFact, SocketFact, Untold
from sockwarden.errors import SockwardenError
from sockwarden.kernel.ladder import Row, State
from sockwarden.service.control import ask_agent

if TYPE_CHECKING:
    from sockwarden.config import Config


async def ask(config: Config) -> AgentFact | Untold:
    """Return what the agent of ``config`` answers."""
    try:
        return read_status(await ask_agent(os.path.join(config.daemon.run_dir, "control.sock"), "status"))
    except SockwardenError as error:
        return Untold(str(error), error.remedy)


def _identity(status: dict[str, Any]) -> str:
    """Return the source of identity in use, and how often each was used."""
    used = ", ".join(f"{source} {count} times" for source, count in status["guard"]["identity"].items())
    told = status.get("identity")
    if told is None:  # an agent that does not know the best of them before somebody has connected
        return used
    return f"{told['source']}: {told['why']}{f'; so far by {used}' if used else ''}"


def read_status(status: dict[str, Any]) -> AgentFact | Untold:
    """Return the fact that a status means, or why it cannot be read."""
    try:
        guard = status["guard"]
        return AgentFact(
            pid=int(status["pid"]),
            version=str(status["version"]),
            mode=str(status["mode"]),
            rung=str(guard["rung"]),
            blocking=bool(guard["blocking"]),
            identity=_identity(status),
            pinned=str(guard["pinned"]),
            engine_socket=str(status["engine"]["socket"]),
            public_socket=str(status["gateway"]["listen"]),
            problems=tuple(map(str, status["problems"])),
            rows=tuple(Row(row["name"], State(row["state"]), row["reason"], row["remedy"]) for row in guard["rungs"]),
            sockets=tuple(
                SocketFact(one["path"], one["class"], int(one["device"]), int(one["inode"]), guarded=True)
                for one in guard["sockets"]
            ),
            waiting=tuple(map(str, guard["waiting"])),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return Untold(f"its status cannot be read ({error!r})", "restart the agent with this version")
