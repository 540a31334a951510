"""Notices when names in directories appear, disappear or change: inotify(7) by its calls.

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
    from collections.abc import Callable, Collection

_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 64 * 1024
_ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x4, 0x40, 0x80, 0x100, 0x200
_ONLY_DIRECTORIES: Final = 0x01000000
_IGNORED: Final = 0x8000
_CLOEXEC_NONBLOCK: Final = os.O_CLOEXEC | os.O_NONBLOCK


class FolderWatch:
    """Calls back on the event loop with directory and name of every change; with two empty texts when some were lost.

    A directory that is removed is no longer watched, and one that is made anew must be asked for again.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        """Watch nothing yet.

        Raises:
            SockwardenError: the kernel gives no inotify instance.
        """
        self._changed = changed
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folders: dict[int, str] = {}
        self._fd: int = self._libc.inotify_init1(_CLOEXEC_NONBLOCK)
        if self._fd < 0:
            raise SockwardenError(
                f"no directory can be watched: {os.strerror(ctypes.get_errno())}",
                remedy="raise fs.inotify.max_user_instances",
            )
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)

    def watch(self, folders: Collection[str]) -> tuple[set[str], set[str]]:
        """Watch exactly these directories; return those that are watched from now on, and those that cannot be."""
        wanted, watched = set(folders), set(self._folders.values())
        for number in [number for number, folder in self._folders.items() if folder not in wanted]:
            del self._folders[number]
            self._libc.inotify_rm_watch(self._fd, number)
        begun, failed = set(), set()
        for folder in wanted - watched:
            mask = _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _ONLY_DIRECTORIES
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
            if number < 0:
                failed.add(folder)
            elif number not in self._folders:  # else another name of a directory that is watched
                self._folders[number] = folder
                begun.add(folder)
        return begun, failed

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        data = os.read(self._fd, _READ_BYTES)
        position = 0
        while position < len(data) and self._fd >= 0:
            number, mask, _cookie, length = _EVENT.unpack_from(data, position)
            name = data[position + _EVENT.size : position + _EVENT.size + length].rstrip(b"\0")
            position += _EVENT.size + length
            if number < 0:  # the queue overflowed
                self._changed("", "")
            elif mask & _IGNORED:
                self._folders.pop(number, None)
            elif number in self._folders:
                self._changed(self._folders[number], os.fsdecode(name))


class NameWatch:
    """Calls back on the event loop for every change of one name, and when events were lost."""

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        """Watch ``path``, whose directory must exist.

        Raises:
            SockwardenError: the directory cannot be watched.
        """
        directory, self._name = os.path.split(path)
        self._changed = changed
        self._watch = FolderWatch(self._told)
        if self._watch.watch((directory,))[1]:
            reason = os.strerror(ctypes.get_errno())
            self._watch.close()
            raise SockwardenError(
                f"{directory} cannot be watched: {reason}", remedy="raise fs.inotify.max_user_watches"
            )

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def _told(self, folder: str, name: str) -> None:
        if name == self._name or not folder:
            self._changed()
