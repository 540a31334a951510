"""Typed handles of BPF maps by file descriptor.

Owns reading and writing of single entries. Must not know what an entry means. A handle borrows the
descriptor of its object and never closes it.
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf.libbpf import check, failure, forget_log, library

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING: Final = -errno.ENOENT
_FULL: Final = -errno.E2BIG

FULL_REMEDY: Final = "guard fewer sockets; sockwarden status --json shows how full each map is (guard.maps)"

COUNTED_PER_CALL: Final = 1024
"""Entries copied by one system call while a map is counted: 100 KiB, and no bucket of a hash holds as many."""

_COUNTED_KINDS: Final = frozenset({1, 9})
"""BPF_MAP_TYPE_HASH and BPF_MAP_TYPE_LRU_HASH (linux/bpf.h): entries of the others are always all there."""

K = TypeVar("K", bound=ctypes.Structure)


class HashMap(Generic[K]):
    """A hash of ``key`` structs to ``__u32``, as all of the guard's policy maps are."""

    def __init__(self, fd: int, key: type[K]) -> None:
        self._fd = fd
        self._key = key

    def put(self, key: K, value: int) -> None:
        """Write one entry.

        Raises:
            KernelError: the map is full or gone.
        """
        forget_log()
        slot = ctypes.c_uint32(value)
        result = library().bpf_map_update_elem(self._fd, ctypes.byref(key), ctypes.byref(slot), 0)
        if result == _FULL:
            raise KernelError("a map of the guard is full", errno=errno.E2BIG, remedy=FULL_REMEDY)
        check("write a map entry", result)

    def remove(self, key: K) -> None:
        """Delete one entry; a missing one is as good as deleted.

        Raises:
            KernelError: the kernel refused.
        """
        forget_log()
        result = library().bpf_map_delete_elem(self._fd, ctypes.byref(key))
        if result != _MISSING:
            check("delete a map entry", result)

    def get(self, key: K) -> int | None:
        """Return the value of ``key``, or None."""
        slot = ctypes.c_uint32()
        found = library().bpf_map_lookup_elem(self._fd, ctypes.byref(key), ctypes.byref(slot))
        return slot.value if found >= 0 else None

    def keys(self) -> Iterator[K]:
        """Yield all keys; entries that change meanwhile may be missed."""
        current: K | None = None
        while True:
            following = self._key()
            before = None if current is None else ctypes.byref(current)
            if library().bpf_map_get_next_key(self._fd, before, ctypes.byref(following)) < 0:
                return
            yield following
            current = following


def put_single(fd: int, value: ctypes.Structure) -> None:
    """Write the only entry of an array map.

    Raises:
        KernelError: the kernel refused.
    """
    forget_log()
    only = ctypes.c_uint32(0)
    check("write the configuration", library().bpf_map_update_elem(fd, ctypes.byref(only), ctypes.byref(value), 0))


S = TypeVar("S", bound=ctypes.Structure)


def single(fd: int, kind: type[S]) -> S:
    """Return the only entry of an array map.

    Raises:
        KernelError: the kernel refused.
    """
    only, value = ctypes.c_uint32(0), kind()
    forget_log()
    check("read the configuration", library().bpf_map_lookup_elem(fd, ctypes.byref(only), ctypes.byref(value)))
    return value


@dataclass(frozen=True, slots=True)
class Fullness:
    """How many entries a map has, and how many it can have."""

    entries: int
    capacity: int


class _MapInfo(ctypes.Structure):
    """The head of ``struct bpf_map_info`` (linux/bpf.h), which newer kernels only make longer."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
    )


def fullness(fd: int) -> Fullness:
    """Return how full a hash is, of whatever kind; entries that change meanwhile may be missed or counted twice.

    Costs 0.3 microseconds an entry. An LRU hash that was full once stays nearly full.

    Raises:
        KernelError: the kernel refused (batches exist from Linux 5.6).
    """
    info, size = _MapInfo(), ctypes.c_uint32(ctypes.sizeof(_MapInfo))
    forget_log()
    told = library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    check("read what a map is", told)
    if info.kind not in _COUNTED_KINDS:
        return Fullness(info.max_entries, info.max_entries)
    keys = ctypes.create_string_buffer(COUNTED_PER_CALL * info.key_size)
    values = ctypes.create_string_buffer(COUNTED_PER_CALL * _padded(info.value_size))
    place = ctypes.create_string_buffer(max(info.key_size, ctypes.sizeof(ctypes.c_uint32)))
    counted, before = 0, None
    while counted <= info.max_entries:  # a map that changes all the time must not keep us here
        count = ctypes.c_uint32(COUNTED_PER_CALL)
        result = library().bpf_map_lookup_batch(fd, before, place, keys, values, ctypes.byref(count), None)
        if result not in (0, _MISSING):
            check("count the entries of a map", result)
        counted += count.value
        if result == _MISSING:  # that was the last batch
            break
        before = place
    return Fullness(min(counted, info.max_entries), info.max_entries)


def _padded(value_size: int) -> int:
    return (value_size + 7) & ~7


def per_cpu_sum(fd: int, index: int) -> int:
    """Return one counter of a per-CPU array of ``__u64``, summed over all possible CPUs.

    Raises:
        KernelError: the kernel refused.
    """
    values = (ctypes.c_uint64 * _possible_cpus())()
    slot = ctypes.c_uint32(index)
    if library().bpf_map_lookup_elem(fd, ctypes.byref(slot), values) < 0:
        raise failure("read a counter")
    return sum(values)


def _possible_cpus() -> int:
    return check("count the possible CPUs", library().libbpf_num_possible_cpus())
