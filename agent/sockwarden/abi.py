"""The Python mirror of ``bpf/abi.h``: layouts, numbers, and ``decode(bytes) -> record``.

Owns the one place where kernel bytes become values. Must never open, load or call anything: no library
handle here. Keep in sync with ``bpf/abi.h``; ``tests/unit/abi/test_layout.py`` compares both through the
BTF of ``layout.bpf.o``, offset by offset.
"""

from __future__ import annotations

import ctypes
import enum
from dataclasses import dataclass
from typing import Final

from sockwarden.errors import KernelError

ABI_VERSION: Final = 2

COMM_BYTES: Final = 16
SUN_PATH_BYTES: Final = 108
CGROUP_PATH_BYTES: Final = 256
FILENAME_BYTES: Final = 128

REPORTS_PER_SECOND: Final = 64
"""Records of connections that one cgroup may send in a second; what is over is counted as MUTED and not told."""

LIFE_PER_SECOND: Final = 256
"""The same for records of container life; systemd and the engine make many at once when a host starts."""

FLAG_TRUNCATED: Final = 1
"""Of a record's header: its text did not fit."""

FLAG_REFUSED: Final = 2
"""Of a record's header: the call failed with EPERM."""

FLAG_KILLED: Final = 4
"""Of a record's header: SIGKILL was sent at once."""


class Kind(enum.IntEnum):
    """What a record tells."""

    CONNECT = 1
    CGROUP_MADE = 2
    CGROUP_GONE = 3
    INIT_BORN = 4
    INIT_EXEC = 5
    INIT_EXIT = 6


class Source(enum.IntEnum):
    """Which program saw a connect()."""

    FMOD_RET = 1
    LSM = 2
    KPROBE = 3
    LISTENER = 4
    SYSCALL = 5
    RECEIVE = 6


class SocketClass(enum.IntEnum):
    """What a guarded socket is."""

    NONE = 0
    ENGINE = 1
    HOST_ONLY = 2
    PUBLIC = 3
    CANARY = 4


class KernelVerdict(enum.IntEnum):
    """What the kernel decided on its own maps; NONE means that nobody was asked."""

    NONE = 0
    ALLOW = 1
    DENY = 2


class Action(enum.IntEnum):
    """What a rung does about a denied connect()."""

    AUDIT = 0
    BLOCK = 1
    KILL = 2


class GuardStat(enum.IntEnum):
    """Index of the map ``sw_guard_stats``."""

    SEEN = 0
    OWN = 1
    SKIPPED = 2
    MATCHED = 3
    ALLOWED = 4
    DENIED = 5
    REPORTED = 6
    DROPPED = 7
    FAULTS = 8
    HANDED = 9
    MUTED = 10
    CANARY = 11


class TrackStat(enum.IntEnum):
    """Index of the map ``sw_track_stats``."""

    SEEN = 0
    SKIPPED = 1
    REPORTED = 2
    DROPPED = 3
    MUTED = 4


class RawHeader(ctypes.Structure):
    """``struct sw_header``."""

    _fields_ = (
        ("abi_version", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("time_ns", ctypes.c_uint64),
    )


class RawActor(ctypes.Structure):
    """``struct sw_actor``."""

    _fields_ = (
        ("cgroup_id", ctypes.c_uint64),
        ("start_ns", ctypes.c_uint64),
        ("mnt_id", ctypes.c_uint64),
        ("tgid", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("pid_ns", ctypes.c_uint32),
        ("mnt_ns", ctypes.c_uint32),
        ("ns_pid", ctypes.c_uint32),
        ("ns_level", ctypes.c_uint32),
        ("comm", ctypes.c_uint8 * COMM_BYTES),
    )


class RawConnectEvent(ctypes.Structure):
    """``struct sw_connect_event``."""

    _fields_ = (
        ("header", RawHeader),
        ("actor", RawActor),
        ("inode", ctypes.c_uint64),
        ("device", ctypes.c_uint32),
        ("socket_class", ctypes.c_uint32),
        ("verdict", ctypes.c_uint32),
        ("source", ctypes.c_uint32),
        ("path_bytes", ctypes.c_uint32),
        ("path", ctypes.c_uint8 * SUN_PATH_BYTES),
    )


class RawCgroupEvent(ctypes.Structure):
    """``struct sw_cgroup_event``."""

    _fields_ = (
        ("header", RawHeader),
        ("actor", RawActor),
        ("cgroup_id", ctypes.c_uint64),
        ("level", ctypes.c_uint32),
        ("path_bytes", ctypes.c_uint32),
        ("path", ctypes.c_uint8 * CGROUP_PATH_BYTES),
    )


class RawProcessEvent(ctypes.Structure):
    """``struct sw_process_event``."""

    _fields_ = (
        ("header", RawHeader),
        ("actor", RawActor),
        ("parent_tgid", ctypes.c_uint32),
        ("filename_bytes", ctypes.c_uint32),
        ("filename", ctypes.c_uint8 * FILENAME_BYTES),
    )


class RawSocketKey(ctypes.Structure):
    """``struct sw_socket_key``, the key of ``sw_guarded``."""

    _fields_ = (("inode", ctypes.c_uint64), ("device", ctypes.c_uint32), ("generation", ctypes.c_uint32))


class RawVerdictKey(ctypes.Structure):
    """``struct sw_verdict_key``, the key of ``sw_verdicts``."""

    _fields_ = (("cgroup_id", ctypes.c_uint64), ("socket_class", ctypes.c_uint32), ("generation", ctypes.c_uint32))


class RawConfig(ctypes.Structure):
    """``struct sw_config``, the one value of ``sw_config``."""

    _fields_ = (
        ("agent_start_ticks", ctypes.c_uint64),
        ("agent_cgroup_id", ctypes.c_uint64),
        ("agent_tgid", ctypes.c_uint32),
        ("agent_mnt_ns", ctypes.c_uint32),
        ("host_mnt_ns", ctypes.c_uint32),
        ("generation", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("host_verdict", ctypes.c_uint32 * len(SocketClass)),
        ("default_verdict", ctypes.c_uint32 * len(SocketClass)),
        ("tick_ns", ctypes.c_uint32),
    )


STRUCTS: Final[dict[str, type[ctypes.Structure]]] = {
    "sw_header": RawHeader,
    "sw_actor": RawActor,
    "sw_connect_event": RawConnectEvent,
    "sw_cgroup_event": RawCgroupEvent,
    "sw_process_event": RawProcessEvent,
    "sw_socket_key": RawSocketKey,
    "sw_verdict_key": RawVerdictKey,
    "sw_config": RawConfig,
}
"""Every shared struct by its name in C."""

ENUMS: Final[dict[str, tuple[str, type[enum.IntEnum]]]] = {
    "sw_kind": ("SW_KIND_", Kind),
    "sw_source": ("SW_SOURCE_", Source),
    "sw_class": ("SW_CLASS_", SocketClass),
    "sw_verdict": ("SW_VERDICT_", KernelVerdict),
    "sw_action": ("SW_ACTION_", Action),
    "sw_guard_stat": ("SW_GUARD_", GuardStat),
    "sw_track_stat": ("SW_TRACK_", TrackStat),
}
"""Every shared enum by its name in C, with the prefix of its values there."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A process as the kernel wrote it down. Ids are those of the initial pid and user namespace.

    ``tgid`` is what user space calls a pid, ``pid`` is the thread. ``start_ns`` counts from boot, suspend
    included, and belongs to the whole process. ``cgroup_id`` is ``st_ino`` of its directory in the v2 tree.
    ``mnt_ns`` may name another mount namespace later; ``mnt_id`` never does, and is 0 where the kernel has none.
    """

    cgroup_id: int
    start_ns: int
    mnt_id: int
    tgid: int
    pid: int
    uid: int
    gid: int
    pid_ns: int
    mnt_ns: int
    ns_pid: int
    ns_level: int
    comm: str


@dataclass(frozen=True, slots=True)
class ConnectRecord:
    """One connect() on a unix stream socket, or one hand-over of such a connection (source RECEIVE).

    ``inode`` and ``device`` (kernel encoding) name the listener's file and are 0 where only the text is
    known; then ``path`` is what the caller wrote, cut at its first NUL, else it is empty. ``refused`` and
    ``killed`` say what the kernel did about it at once.
    """

    time_ns: int
    actor: Actor
    inode: int
    device: int
    socket_class: SocketClass
    verdict: KernelVerdict
    source: Source
    path: bytes
    refused: bool
    killed: bool


@dataclass(frozen=True, slots=True)
class CgroupRecord:
    """A cgroup of the v2 tree was made (``made``) or removed. ``path`` begins at the tree's root."""

    time_ns: int
    actor: Actor
    made: bool
    cgroup_id: int
    level: int
    path: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """The init process of a new pid namespace was born, became its program, or ended.

    ``parent_tgid`` is 0 except at birth; ``filename`` is empty except at exec.
    """

    time_ns: int
    kind: Kind
    actor: Actor
    parent_tgid: int
    filename: str
    truncated: bool


Record = ConnectRecord | CgroupRecord | ProcessRecord

_REMEDY: Final = "install the agent and its BPF objects from the same package, then start it again"


def kernel_device(st_dev_major: int, st_dev_minor: int) -> int:
    """Return a device number as the kernel keeps it: 12 bits of major above 20 bits of minor (linux/kdev_t.h)."""
    return st_dev_major << 20 | st_dev_minor


def decode(data: bytes) -> Record:
    """Turn one ring-buffer record into a value.

    Raises:
        KernelError: the bytes are no record of this ABI version.
    """
    if len(data) < ctypes.sizeof(RawHeader):
        raise KernelError(f"a kernel record of {len(data)} bytes has no head", remedy=_REMEDY)
    header = RawHeader.from_buffer_copy(data)
    if header.abi_version != ABI_VERSION:
        raise KernelError(f"a kernel record has ABI version {header.abi_version}, not {ABI_VERSION}", remedy=_REMEDY)
    try:
        kind = Kind(header.kind)
        layout = _LAYOUT[kind]
        if header.size != ctypes.sizeof(layout) or len(data) < header.size:
            raise KernelError(f"a {kind.name} record has {header.size} bytes and came with {len(data)}", remedy=_REMEDY)
        return _read(kind, layout.from_buffer_copy(data))
    except ValueError as error:
        raise KernelError(f"a kernel record holds an unknown number: {error}", remedy=_REMEDY) from error


_LAYOUT: Final[dict[Kind, type[ctypes.Structure]]] = {
    Kind.CONNECT: RawConnectEvent,
    Kind.CGROUP_MADE: RawCgroupEvent,
    Kind.CGROUP_GONE: RawCgroupEvent,
    Kind.INIT_BORN: RawProcessEvent,
    Kind.INIT_EXEC: RawProcessEvent,
    Kind.INIT_EXIT: RawProcessEvent,
}


def _read(kind: Kind, raw: ctypes.Structure) -> Record:
    head = raw.header
    actor = read_actor(raw.actor)
    if isinstance(raw, RawConnectEvent):
        length = min(raw.path_bytes, SUN_PATH_BYTES)
        return ConnectRecord(
            time_ns=head.time_ns,
            actor=actor,
            inode=raw.inode,
            device=raw.device,
            socket_class=SocketClass(raw.socket_class),
            verdict=KernelVerdict(raw.verdict),
            source=Source(raw.source),
            path=bytes(raw.path[:length]).partition(b"\0")[0],
            refused=bool(head.flags & FLAG_REFUSED),
            killed=bool(head.flags & FLAG_KILLED),
        )
    truncated = bool(head.flags & FLAG_TRUNCATED)
    if isinstance(raw, RawCgroupEvent):
        return CgroupRecord(
            time_ns=head.time_ns,
            actor=actor,
            made=kind is Kind.CGROUP_MADE,
            cgroup_id=raw.cgroup_id,
            level=raw.level,
            path=_text(raw.path),
            truncated=truncated,
        )
    return ProcessRecord(
        time_ns=head.time_ns,
        kind=kind,
        actor=actor,
        parent_tgid=raw.parent_tgid,
        filename=_text(raw.filename),
        truncated=truncated,
    )


def read_actor(raw: RawActor) -> Actor:
    """Turn an entry of ``sw_identity``, or the part of a record, into a value."""
    return Actor(
        cgroup_id=raw.cgroup_id,
        start_ns=raw.start_ns,
        mnt_id=raw.mnt_id,
        tgid=raw.tgid,
        pid=raw.pid,
        uid=raw.uid,
        gid=raw.gid,
        pid_ns=raw.pid_ns,
        mnt_ns=raw.mnt_ns,
        ns_pid=raw.ns_pid,
        ns_level=raw.ns_level,
        comm=_text(raw.comm),
    )


def _text(raw: ctypes.Array[ctypes.c_uint8]) -> str:
    """Return the text before the first NUL; other processes chose these bytes, so any byte may stand in them."""
    return bytes(raw).partition(b"\0")[0].decode("utf-8", "backslashreplace")
