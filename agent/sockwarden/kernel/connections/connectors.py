"""Who called connect(), as the kernel wrote it down there, by the accepted descriptor.

Owns reading of the map ``sw_identity``. An entry stands under the inode of the accepted socket and is read once: it is
deleted with that, so that a later socket with the same number inherits nothing. Must not judge: that an entry belongs
to its socket is checked by who asks.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Final

from sockwarden import abi
from sockwarden.kernel.bpf import libbpf

if TYPE_CHECKING:
    from collections.abc import Callable

GRAFT: Final = "identity_graft"
"""The program that gives an entry its key when accept() gives the socket its inode."""

MAP: Final = "sw_identity"


class Connectors:
    """Reads connectors; for the one thread of the event loop.

    Every new connection passes here: its buffers are made once, and a call takes some microseconds.
    """

    def __init__(self, map_fd: int, path_of: Callable[[int], str]) -> None:
        """Read the map behind ``map_fd``, which stays its owner's; ``path_of`` gives a cgroup's path by its id."""
        self._fd: Final = map_fd
        self._path_of: Final = path_of
        library = libbpf.library()
        self._look_up: Final = library.bpf_map_lookup_elem
        self._delete: Final = library.bpf_map_delete_elem
        self._inode: Final = ctypes.c_uint64()
        self._raw: Final = abi.RawActor()
        self._key: Final = ctypes.addressof(self._inode)
        self._value: Final = ctypes.addressof(self._raw)

    def take(self, descriptor: int) -> abi.Actor | None:
        """Return who connected the accepted socket ``descriptor``, None where nobody was written down; once.

        Raises:
            OSError: the descriptor is not open.
        """
        self._inode.value = os.fstat(descriptor).st_ino
        if self._look_up(self._fd, self._key, self._value) < 0:
            return None
        self._delete(self._fd, self._key)
        return abi.read_actor(self._raw)

    def cgroup_path(self, cgroup_id: int) -> str:
        """Return the path of a cgroup in the v2 tree, "" if nobody knows it."""
        return self._path_of(cgroup_id)
