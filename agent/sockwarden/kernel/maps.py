"""Typed handles of BPF maps by file descriptor.

Owns reading and writing of single entries. Must not know what an entry means. A handle borrows the
descriptor of its object and never closes it.
"""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sockwarden.kernel.libbpf import check, failure, forget_log, library

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING: Final = -errno.ENOENT

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
        check("write a map entry", library().bpf_map_update_elem(self._fd, ctypes.byref(key), ctypes.byref(slot), 0))

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
