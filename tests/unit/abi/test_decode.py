"""decode(): one record in, one value out, or a KernelError."""

from __future__ import annotations

import ctypes

import pytest

from sockwarden import abi
from sockwarden.errors import KernelError


def head(kind: int, layout: type[ctypes.Structure], **changes: int) -> abi.RawHeader:
    values = {"abi_version": abi.ABI_VERSION, "kind": kind, "size": ctypes.sizeof(layout), "time_ns": 7} | changes
    return abi.RawHeader(**values)


def raw_actor() -> abi.RawActor:
    actor = abi.RawActor(
        cgroup_id=1, start_ns=2, mnt_id=11, tgid=3, pid=4, uid=5, gid=6, pid_ns=7, mnt_ns=8, ns_pid=9, ns_level=10
    )
    actor.comm[:5] = b"\xffcat\n"
    return actor


ACTOR = abi.Actor(1, 2, 11, 3, 4, 5, 6, 7, 8, 9, 10, "\\xffcat\n")


def raw_connect(path: bytes, length: int, **changes: int) -> abi.RawConnectEvent:
    values = {"inode": 11, "device": 12, "socket_class": 1, "verdict": 2, "source": 4, "path_bytes": length} | changes
    event = abi.RawConnectEvent(header=head(1, abi.RawConnectEvent), actor=raw_actor(), **values)
    event.path[: len(path)] = path
    return event


def test_a_connect_is_read() -> None:
    assert abi.decode(bytes(raw_connect(b"/run/a\0rest", 11))) == abi.ConnectRecord(
        7, ACTOR, 11, 12, abi.SocketClass.ENGINE, abi.KernelVerdict.DENY, abi.Source.LISTENER, b"/run/a", False, False
    )


def test_a_path_that_fills_sun_path_needs_no_end_mark() -> None:
    record = abi.decode(bytes(raw_connect(b"x" * abi.SUN_PATH_BYTES, 4_000_000)))
    assert isinstance(record, abi.ConnectRecord)
    assert record.path == b"x" * abi.SUN_PATH_BYTES


def test_bytes_behind_the_callers_length_are_not_part_of_the_path() -> None:
    record = abi.decode(bytes(raw_connect(b"/run/a.sock", 6)))
    assert isinstance(record, abi.ConnectRecord)
    assert record.path == b"/run/a"


@pytest.mark.parametrize(("kind", "made"), [(2, True), (3, False)])
def test_a_cgroup_is_read(kind: int, made: bool) -> None:
    event = abi.RawCgroupEvent(header=head(kind, abi.RawCgroupEvent), actor=raw_actor(), cgroup_id=13, level=2)
    event.path[:5] = b"/a/b\0"
    assert abi.decode(bytes(event)) == abi.CgroupRecord(7, ACTOR, made, 13, 2, "/a/b", truncated=False)


def test_a_cut_text_says_so() -> None:
    header = head(2, abi.RawCgroupEvent, flags=abi.FLAG_TRUNCATED)
    record = abi.decode(bytes(abi.RawCgroupEvent(header=header, actor=raw_actor())))
    assert isinstance(record, abi.CgroupRecord)
    assert record.truncated


@pytest.mark.parametrize("kind", [abi.Kind.INIT_BORN, abi.Kind.INIT_EXEC, abi.Kind.INIT_EXIT])
def test_an_init_process_is_read(kind: abi.Kind) -> None:
    event = abi.RawProcessEvent(header=head(kind, abi.RawProcessEvent), actor=raw_actor(), parent_tgid=14)
    event.filename[:3] = b"/sh"
    assert abi.decode(bytes(event)) == abi.ProcessRecord(7, kind, ACTOR, 14, "/sh", truncated=False)


@pytest.mark.parametrize(("flags", "refused", "killed"), [(0, False, False), (2, True, False), (6, True, True)])
def test_what_the_kernel_did_at_once_is_read(flags: int, refused: bool, killed: bool) -> None:
    event = raw_connect(b"", 0)
    event.header.flags = flags
    record = abi.decode(bytes(event))
    assert isinstance(record, abi.ConnectRecord)
    assert (record.refused, record.killed) == (refused, killed)


def test_bytes_behind_a_record_are_ignored() -> None:
    event = bytes(raw_connect(b"/a", 2))
    assert abi.decode(event + b"\0" * 8) == abi.decode(event)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "of 0 bytes has no head"),
        (b"\0" * 23, "of 23 bytes has no head"),
        (bytes(head(1, abi.RawConnectEvent, abi_version=1)), "ABI version 1, not 2"),
        (bytes(head(0, abi.RawConnectEvent)), "unknown number: 0"),
        (bytes(head(7, abi.RawConnectEvent)), "unknown number: 7"),
        (bytes(head(1, abi.RawConnectEvent)), "CONNECT record has 232 bytes and came with 24"),
        (bytes(raw_connect(b"", 0))[:-1], "CONNECT record has 232 bytes and came with 231"),
        (bytes(raw_connect(b"", 0, socket_class=99)), "unknown number: 99"),
        (bytes(raw_connect(b"", 0, verdict=98)), "unknown number: 98"),
        (bytes(raw_connect(b"", 0, source=0)), "unknown number: 0"),
        (bytes(head(2, abi.RawConnectEvent)) + b"\0" * 512, "CGROUP_MADE record has 232 bytes"),
    ],
)
def test_what_is_no_record_of_this_version_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        abi.decode(data)


def test_a_device_is_encoded_as_the_kernel_keeps_it() -> None:
    assert abi.kernel_device(254, 1) == 254 << 20 | 1
