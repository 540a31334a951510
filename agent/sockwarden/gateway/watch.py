"""Notices when a name in a directory appears, disappears or changes: inotify(7) by its three calls.

Never: an opinion on what the change means.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from typing import TYPE_CHECKING, Final

from sockwarden.errors import SockwardenError

if TYPE_CHECKING:
    from collections.abc import Callable

_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 64 * 1024
_ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x4, 0x40, 0x80, 0x100, 0x200
_CLOEXEC_NONBLOCK: Final = os.O_CLOEXEC | os.O_NONBLOCK


class NameWatch:
    """Calls back on the event loop for every change of one name, and when events were lost."""

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        """Watch ``path``, whose directory must exist.

        Raises:
            SockwardenError: the directory cannot be watched.
        """
        self._name = os.path.basename(path).encode()
        self._changed = changed
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(_CLOEXEC_NONBLOCK)
        mask = _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
        directory = os.path.dirname(path)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
            reason = os.strerror(ctypes.get_errno())
            if self._fd >= 0:
                os.close(self._fd)
            raise SockwardenError(
                f"{directory} cannot be watched: {reason}", remedy="raise fs.inotify.max_user_instances"
            )
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        data = os.read(self._fd, _READ_BYTES)
        position, ours = 0, False
        while position < len(data):
            watch, _mask, _cookie, length = _EVENT.unpack_from(data, position)
            name = data[position + _EVENT.size : position + _EVENT.size + length].rstrip(b"\0")
            position += _EVENT.size + length
            ours = ours or name == self._name or watch < 0  # -1: the queue overflowed, so look
        if ours:
            self._changed()
