"""What the kernel's programs decide by: guarded sockets, verdicts by cgroup, and the action, one generation at a time.

Owns the maps ``sw_guarded``, ``sw_verdicts`` and ``sw_config``, wherever they come from. Must not know why a socket
is guarded. All entries of the next generation are written before the one write that puts it in force, so there is no
instant in which a socket of both generations is open.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.bpf.maps import HashMap, put_single, single
from sockwarden.kernel.connections.sockets import SocketIdentity
from sockwarden.kernel.life import cgrouptree, process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ALLOW, _DENY = abi.KernelVerdict.ALLOW, abi.KernelVerdict.DENY

_HOST: Final = dict.fromkeys(
    (abi.SocketClass.ENGINE, abi.SocketClass.HOST_ONLY, abi.SocketClass.PUBLIC, abi.SocketClass.CANARY), _ALLOW
)
"""Verdict for processes in the host's own mount namespace: they have the host's files already. The canary flies outside
of it; were its socket left under guard by an agent that died, and its inode given to another, the host would not mind.
"""

_OF_THE_HOST: Final = (abi.SocketClass.ENGINE, abi.SocketClass.HOST_ONLY)

_LASTING: Final = (*_OF_THE_HOST, abi.SocketClass.PUBLIC)
"""What stays guarded when the agent has ended."""

_OTHERS: Final = {abi.SocketClass.PUBLIC: _ALLOW}
"""Verdict for everybody else. The gateway judges its own clients; the rest is denied."""


class Publication:
    """The policy of one set of maps. ``generation`` is 0 until something was published."""

    def __init__(self, map_fd: Callable[[str], int]) -> None:
        """Use the maps that ``map_fd`` gives descriptors of, and go on with what is in force there.

        Not with all of it: a canary is that of an agent which died in the flight, and what containers were told about
        the gateway's own socket was by an older policy; the gateway judges them anew.

        Raises:
            KernelError: a map is missing or cannot be read.
        """
        self._config_fd = map_fd("sw_config")
        self._guarded = HashMap(map_fd("sw_guarded"), abi.RawSocketKey)
        self._verdicts = HashMap(map_fd("sw_verdicts"), abi.RawVerdictKey)
        config = single(self._config_fd, abi.RawConfig)
        self.generation = config.generation
        self.action = abi.Action(config.action)
        found = {
            SocketIdentity(key.device, key.inode): abi.SocketClass(self._guarded.get(key) or 0)
            for key in self._guarded.keys()  # noqa: SIM118 - no dict
            if key.generation == self.generation
        }
        self.sockets: Mapping[SocketIdentity, abi.SocketClass] = {
            identity: socket_class for identity, socket_class in found.items() if socket_class in _LASTING
        }
        self.verdicts: dict[tuple[int, abi.SocketClass], abi.KernelVerdict] = {
            (key.cgroup_id, abi.SocketClass(key.socket_class)): abi.KernelVerdict(self._verdicts.get(key) or 0)
            for key in self._verdicts.keys()  # noqa: SIM118 - no dict
            if key.generation == self.generation and key.socket_class in _OF_THE_HOST
        }
        """By cgroup id and class; DENY holds for the cgroup and all below, ALLOW for exactly that cgroup."""

    def publish(self, sockets: Mapping[SocketIdentity, abi.SocketClass], action: abi.Action) -> None:
        """Put exactly ``sockets`` under guard, with all verdicts, and make this process the agent.

        Raises:
            KernelError: a map is full; what was in force stays so.
        """
        # Kept until now: of the generation before, for programs that ran while it ended; and what an agent left that
        # died, or had no room, before it put its next generation in force.
        libbpf.wait_for_programs()
        for key in [key for key in self._guarded.keys() if key.generation != self.generation]:  # noqa: SIM118 - no dict
            self._guarded.remove(key)
        for slot in [slot for slot in self._verdicts.keys() if slot.generation != self.generation]:  # noqa: SIM118
            self._verdicts.remove(slot)
        following = self.generation + 1
        for identity, socket_class in sockets.items():
            self._guarded.put(abi.RawSocketKey(identity.inode, identity.device, following), socket_class)
        for (cgroup_id, socket_class), verdict in self.verdicts.items():
            self._verdicts.put(abi.RawVerdictKey(cgroup_id, socket_class, following), verdict)
        put_single(self._config_fd, _config(following, action))
        self.generation = following
        self.sockets, self.action = dict(sockets), action

    def add(self, sockets: Mapping[SocketIdentity, abi.SocketClass]) -> None:
        """Put more sockets under guard in the generation in force: one write for each, however many verdicts there are.

        Raises:
            KernelError: the map is full.
        """
        for identity, socket_class in sockets.items():
            self._guarded.put(abi.RawSocketKey(identity.inode, identity.device, self.generation), socket_class)
            self.sockets = {**self.sockets, identity: socket_class}

    def put_verdict(self, cgroup_id: int, socket_class: abi.SocketClass, verdict: abi.KernelVerdict) -> None:
        """Add one verdict to the generation in force.

        Raises:
            KernelError: the map is full.
        """
        self._verdicts.put(abi.RawVerdictKey(cgroup_id, socket_class, self.generation), verdict)
        self.verdicts[cgroup_id, socket_class] = verdict

    def drop_verdict(self, cgroup_id: int, socket_class: abi.SocketClass) -> None:
        """Take one verdict back; a missing one is as good as taken.

        Raises:
            KernelError: the kernel refused.
        """
        if self.verdicts.pop((cgroup_id, socket_class), None) is not None:
            self._verdicts.remove(abi.RawVerdictKey(cgroup_id, socket_class, self.generation))


def _config(generation: int, action: abi.Action) -> abi.RawConfig:
    config = abi.RawConfig(
        agent_start_ticks=process.start_ticks(os.getpid()) or 0,
        agent_cgroup_id=cgrouptree.own_id(cgrouptree.mount_point()),
        agent_tgid=os.getpid(),
        agent_mnt_ns=process.namespace("self", "mnt"),
        host_mnt_ns=process.host_mount_namespace(),
        generation=generation,
        action=action,
        tick_ns=process.TICK_NS,
    )
    for socket_class in abi.SocketClass:
        config.host_verdict[socket_class] = _HOST.get(socket_class, _DENY)
        config.default_verdict[socket_class] = _OTHERS.get(socket_class, _DENY)
    return config
