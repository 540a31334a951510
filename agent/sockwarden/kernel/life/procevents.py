"""Container life without BPF: the kernel's process connector (drivers/connector/cn_proc.c).

Owns the socket and the way from "this process runs another program" and "this process ended" to the records that
``track.bpf.c`` would send. It learns of a cgroup when the first program runs in it, not before, and must read /proc for
that: a process that is gone by then is missed. Nothing that decides may rest on it.

The message that asks for events is pyroute2's; Python's own socket carries it, because pyroute2's has an event loop of
its own from 0.9.
"""

from __future__ import annotations

import collections
import ctypes
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.life import cgrouptree, process

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from sockwarden.kernel.life.tracker import Tracker

EVENTS_PER_TURN: Final = 32
"""Read per readiness: each costs up to some 100 microseconds of /proc, and clients wait meanwhile."""

LOOKS_PER_TURN: Final = 8
"""Known cgroups that are looked at per readiness, in turn: whether they are still there."""

MAX_INITS: Final = 4096
"""First processes of pid namespaces remembered until they end; as many containers as the resolver knows."""

MAX_WATCHED: Final = 4096
"""Cgroups whose end is looked for; the tracker forgets the others by itself when it is full."""

BUFFER_BYTES: Final = 1 << 20
"""What waits while the loop is busy: about a thousand events, a second of a busy build. More is lost, and counted."""

ANSWER_SECONDS: Final = 2.0
"""The kernel answers the request for events within microseconds, or never."""

_NETLINK_CONNECTOR: Final = 11  # linux/netlink.h
_REGISTERED: Final = "net/connector"  # below /proc; only in the network namespace that the kernel began with
_NLMSG_DONE: Final = 3

# struct nlmsghdr (16 bytes), struct cn_msg (20), then struct proc_event: what, cpu, timestamp, and its data, which
# begins with pid and tgid for both events (linux/cn_proc.h).
_EVENT: Final = struct.Struct("=36xI4xQII")
_NONE, _EXEC, _EXIT = 0x0, 0x2, 0x80000000
_MESSAGE_BYTES: Final = 1024

_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_MEMINFO = 26, 33, 55  # asm-generic/socket.h
_MEMINFO: Final = struct.Struct("=9I")  # linux/sock_diag.h; the last is SK_MEMINFO_DROPS
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_WHAT_AT, _PID_AT, _TGID_AT = 36, 52, 56
_LOAD_WORD, _JUMP_IF_EQUAL, _TO_X, _JUMP_IF_X, _RETURN = 0x20, 0x15, 0x07, 0x1D, 0x06
_FILTER: Final = (
    (_LOAD_WORD, 0, 0, _WHAT_AT),
    (_JUMP_IF_EQUAL, 6, 0, socket.htonl(_EXEC)),  # a filter loads in network order what was written in the host's
    (_JUMP_IF_EQUAL, 5, 0, socket.htonl(_NONE)),
    (_JUMP_IF_EQUAL, 0, 5, socket.htonl(_EXIT)),
    (_LOAD_WORD, 0, 0, _PID_AT),
    (_TO_X, 0, 0, 0),
    (_LOAD_WORD, 0, 0, _TGID_AT),
    (_JUMP_IF_X, 0, 1, 0),  # of a process, not of one of its threads
    (_RETURN, 0, 0, _MESSAGE_BYTES),
    (_RETURN, 0, 0, 0),
)
"""Classic BPF (linux/filter.h): of a storm of forks nothing but exec and the end of whole processes reaches us."""

_CODE: Final = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER))
_PROGRAM: Final = struct.pack("@HP", len(_FILTER), ctypes.addressof(_CODE))  # struct sock_fprog


class ProcEvents:
    """Fills ``tracker`` from the moment that it is made; ``tell`` gets every record after that."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tracker: Tracker,
        tell: Callable[[abi.CgroupRecord | abi.ProcessRecord], None],
        proc: Path = process.PROC,
    ) -> None:
        """Ask the kernel for events.

        Raises:
            KernelError: there is no v2 tree, or pyroute2 is too old, or this kernel or namespace has no such events.
        """
        top = cgrouptree.mount_point()
        if top is None:
            raise KernelError("no cgroup v2 tree is mounted", remedy="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
        self._top: Final = top
        self._loop: Final = loop
        self._tracker: Final = tracker
        self._tell: Final = tell
        self._own_pid_ns: Final = process.namespace("self", "pid")
        self._inits: Final[collections.OrderedDict[int, abi.Actor]] = collections.OrderedDict()
        self._watched: Final[collections.OrderedDict[int, str]] = collections.OrderedDict()
        self.events = 0
        self._socket: Final = _listen(proc)
        # The walk comes second: a cgroup that gets its first program in between is told by its event.
        for cgroup_id, path in cgrouptree.walk(top):
            tracker.seed([(cgroup_id, path)])
            self._watch(cgroup_id, path)
        loop.add_reader(self._socket.fileno(), self._read)

    def stats(self) -> dict[str, int]:
        """Return the counters by their names: ``events`` read, and ``lost`` because the buffer was full."""
        memory = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return {"events": self.events, "lost": _MEMINFO.unpack(memory)[-1]}

    def close(self) -> None:
        """Stop; call it once."""
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        try:
            self._socket.send(_request(_IGNORE))  # kernels before 6.6 go on counting us otherwise
        except OSError:
            pass
        finally:
            self._socket.close()

    def _read(self) -> None:
        for _ in range(EVENTS_PER_TURN):
            try:
                message = self._socket.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                break
            if len(message) < _EVENT.size:
                continue
            what, time_ns, _, pid = _EVENT.unpack_from(message)
            self.events += 1
            if what == _EXEC:
                self._ran(pid, time_ns)
            elif what == _EXIT:
                self._ended(pid, time_ns)
        self._look_around()

    def _ran(self, pid: int, time_ns: int) -> None:
        path = _path_of(pid)
        if path is None:
            return  # it is gone by now
        try:
            cgroup_id = os.stat(f"{self._top}{path}").st_ino
        except OSError:
            return
        is_new = self._tracker.find(cgroup_id) is None
        is_init = process.namespace(pid, "pid") not in (0, self._own_pid_ns) and _number_inside(pid) == 1
        if not is_new and not is_init:
            return
        actor = _actor(pid, cgroup_id)
        if is_new:
            made = abi.CgroupRecord(time_ns, actor, True, cgroup_id, path.count("/"), path, False)
            self._watch(cgroup_id, path)
            self._tracker.feed(made)
            self._tell(made)
        if is_init:
            self._inits[pid] = actor
            if len(self._inits) > MAX_INITS:
                self._inits.popitem(last=False)
            self._tell(abi.ProcessRecord(time_ns, abi.Kind.INIT_EXEC, actor, 0, "", truncated=False))

    def _ended(self, pid: int, time_ns: int) -> None:
        actor = self._inits.pop(pid, None)
        if actor is not None:
            self._tell(abi.ProcessRecord(time_ns, abi.Kind.INIT_EXIT, actor, 0, "", truncated=False))

    def _look_around(self) -> None:
        """Look whether some of the cgroups are still there: nobody tells when one goes."""
        for _ in range(min(LOOKS_PER_TURN, len(self._watched))):
            cgroup_id, path = self._watched.popitem(last=False)
            try:
                found = os.stat(f"{self._top}{path}").st_ino
            except OSError:
                found = 0
            if found == cgroup_id:
                self._watched[cgroup_id] = path
                continue
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            gone = abi.CgroupRecord(now, _NOBODY, False, cgroup_id, path.count("/"), path, False)
            self._tracker.feed(gone)
            self._tell(gone)

    def _watch(self, cgroup_id: int, path: str) -> None:
        self._watched[cgroup_id] = path
        if len(self._watched) > MAX_WATCHED:
            self._watched.popitem(last=False)


_LISTEN, _IGNORE = 1, 2  # enum proc_cn_mcast_op

_NOBODY: Final = abi.Actor(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "")
"""Who removed a cgroup is not told."""


def _request(operation: int) -> bytes:
    """Return the message that asks for events, or asks no more.

    Raises:
        KernelError: pyroute2 does not know it.
    """
    try:
        from pyroute2.netlink.connector import cn_proc  # noqa: PLC0415  # 11 MiB that few agents need
    except ImportError as error:
        raise KernelError(
            f"this pyroute2 has no process connector: {error}",
            remedy="install pyroute2 0.7.7 or later (Debian 13 has it, Debian 12 has not)",
        ) from error
    message = cn_proc.proc_event_control()
    message["idx"], message["val"], message["len"] = cn_proc.CN_IDX_PROC, cn_proc.CN_VAL_PROC, 4
    message["action"] = operation
    message["header"]["type"] = _NLMSG_DONE
    message.encode()
    return bytes(message.data)


def _listen(proc: Path) -> socket.socket:
    """Return a socket that events come to.

    Raises:
        KernelError: they do not.
    """
    request = _request(_LISTEN)
    try:
        registered = (proc / _REGISTERED).read_text("ascii")
    except OSError:
        registered = ""
    if "cn_proc" not in registered:
        raise KernelError(
            "the kernel has no process connector here",
            remedy="use a kernel with CONFIG_PROC_EVENTS, and run the agent in the host's network namespace",
        )
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR)
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM)
        # Else a loss is an error of the socket, after which libuv watches it no more; it is counted either way.
        made.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        made.bind((0, 1))  # the group is CN_IDX_PROC
        made.settimeout(ANSWER_SECONDS)
        made.send(request)
        made.recv(_MESSAGE_BYTES)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise KernelError(
            f"the process connector cannot be used: {error}",
            errno=error.errno or 0,
            remedy="run as root in the host's user namespace, with CAP_NET_ADMIN",
        ) from error
    return made


def _path_of(pid: int) -> str | None:
    """Return a process's path in the v2 tree, None if it is gone or in none."""
    try:
        text = (process.PROC / str(pid) / "cgroup").read_bytes().decode("utf-8", "backslashreplace")
    except OSError:
        return None
    return next((line[3:] for line in text.split("\n") if line.startswith("0::")), None)


def _number_inside(pid: int) -> int:
    """Return a process's number in its innermost pid namespace, 0 if it is gone."""
    try:
        text = (process.PROC / str(pid) / "status").read_text("utf-8", errors="backslashreplace")
    except OSError:
        return 0
    line = next((line for line in text.splitlines() if line.startswith("NSpid:")), "NSpid: 0")
    return int(line.split()[-1])


def _actor(pid: int, cgroup_id: int) -> abi.Actor:
    """Return what /proc knows of a process; ``mnt_id`` and ``ns_level`` are not there."""
    uid, gid = process.owner(pid)
    return abi.Actor(
        cgroup_id=cgroup_id,
        start_ns=(process.start_ticks(pid) or 0) * process.TICK_NS,
        mnt_id=0,
        tgid=pid,
        pid=pid,
        uid=uid,
        gid=gid,
        pid_ns=process.namespace(pid, "pid"),
        mnt_ns=process.namespace(pid, "mnt"),
        ns_pid=_number_inside(pid),
        ns_level=0,
        comm=process.name(pid),
    )
