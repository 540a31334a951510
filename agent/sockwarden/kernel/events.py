"""What the guard tells the service: values only.

Owns the words of the guard's reports. Must not decide anything.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sockwarden.abi import KernelVerdict, SocketClass


class Sighting(enum.Enum):
    """How the guard came to know of a connection."""

    CONNECT = "connect"  # an event of the kernel
    HELD = "held"  # found by socket diag: older than the agent, or missed by events
    HANDED = "handed"  # an event of the kernel: somebody else's connection came to this process


class Taken(enum.Enum):
    """What was done about it."""

    ALLOWED = "allowed"
    REPORTED = "reported"  # denied, and the action is to audit: it goes on
    BLOCKED = "blocked"  # the kernel made the call fail
    CUT = "cut"  # the connection was ended; its process lives
    KILLED = "killed"
    GONE = "gone"  # denied, and the process or its connection ended before anything could be done
    REFUSED = "refused"  # denied, and the kernel refused the kill or the cut: the connection goes on
    DISPUTED = "disputed"  # the kernel stopped what the judge allows: a fault of the guard


@dataclass(frozen=True, slots=True)
class ConnectEvent:
    """A process has a connection to a guarded socket, or asks for one; the judge's question.

    Ids are those of the initial pid namespace; ``start_ticks`` as in /proc/PID/stat; ``cgroup_id`` is 0 and
    ``cgroup_path`` empty where they are not known; the path is text that only a person should read. A connection that
    no process shows is told with its connector, whose ``start_ticks`` are 0 if it is gone.
    """

    sighting: Sighting
    pid: int
    start_ticks: int
    uid: int
    gid: int
    pid_ns: int
    mnt_ns: int
    comm: str
    cgroup_id: int
    cgroup_path: str
    socket: Path
    socket_class: SocketClass
    kernel_verdict: KernelVerdict


@dataclass(frozen=True, slots=True)
class GuardEvent:
    """One judged connection, and what was done."""

    connect: ConnectEvent
    taken: Taken


@dataclass(frozen=True, slots=True)
class LossEvent:
    """``count`` records did not fit into a ring since the last one of these; a sweep by socket diag follows."""

    count: int
