"""What an audit record says of a process: program, arguments, user, parents.

Owns the asking of psutil and the cache that keeps it off most requests. It never identifies anybody: the process is
given by pid *and* start time, and a process that has gone or been replaced has no fields.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import psutil

from sockwarden.observe.redact import redact_command_line

if TYPE_CHECKING:
    from collections.abc import Callable

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

MAX_PARENTS: Final = 8
"""Enough for CLI, script, shell, job runner, service and init."""

MAX_REMEMBERED: Final = 1024
"""Processes remembered, about 2 KiB each."""


RECHECK_SECONDS: Final = 0.1
"""How long a process's program is not looked up again. A client that asks thousands of times a second does not run
another program between two questions; one that does so within this time is still shown with its right number."""


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A parent: its pid, and its program if it can be read."""

    pid: int
    exe: str | None


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """A process as it was when its first request was recorded. None means that it could not be read any more."""

    pid: int
    exe: str | None = None
    cmdline: tuple[str, ...] | None = None
    user: str | None = None
    parents: tuple[ProcessRef, ...] = ()


class ProcessCache:
    """Describes processes, each once per program that it runs. For one thread.

    ``start_ticks`` returns when a pid started (field 22 of /proc/PID/stat) or None: ``identity.procfs`` has it.
    """

    def __init__(self, start_ticks: Callable[[int], int | None], *, recheck_seconds: float = RECHECK_SECONDS) -> None:
        self._start_ticks: Final = start_ticks
        self._recheck_seconds: Final = recheck_seconds
        self._recent: Final[dict[tuple[int, int], tuple[float, ProcessSnapshot]]] = {}
        self._known: Final[OrderedDict[tuple[int, int, str | None], ProcessSnapshot]] = OrderedDict()
        self._chains: Final[OrderedDict[tuple[int, int, str | None], tuple[ProcessRef, ...]]] = OrderedDict()

    def describe(self, pid: int, start_ticks: int) -> ProcessSnapshot:
        """Return what is known of the process ``pid`` that started at ``start_ticks``. Never raises.

        A process that replaces itself by another program is described anew, RECHECK_SECONDS later at most.
        """
        now = time.monotonic()
        recent = self._recent.get((pid, start_ticks))
        if recent is not None and now < recent[0]:
            return recent[1]
        snapshot = self._look_up(pid, start_ticks)
        if len(self._recent) >= MAX_REMEMBERED:
            self._recent.clear()
        self._recent[pid, start_ticks] = (now + self._recheck_seconds, snapshot)
        return snapshot

    def _look_up(self, pid: int, start_ticks: int) -> ProcessSnapshot:
        key = (pid, start_ticks, _exe(pid))
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        if self._ticks(pid) != start_ticks:
            return ProcessSnapshot(pid)
        snapshot = self._read(pid, key[2])
        if self._ticks(pid) != start_ticks:
            return ProcessSnapshot(pid)
        _remember(self._known, key, snapshot)
        return snapshot

    def _read(self, pid: int, exe: str | None) -> ProcessSnapshot:
        cmdline: tuple[str, ...] | None = None
        user: str | None = None
        parent = 0
        try:
            process = psutil.Process(pid)
            with process.oneshot(), contextlib.suppress(psutil.Error):
                parent = process.ppid()
                user = readable(process.username())
                cmdline = tuple(readable(argument) for argument in redact_command_line(process.cmdline()))
        except (psutil.Error, OSError, ValueError):
            return ProcessSnapshot(pid, exe)
        return ProcessSnapshot(pid, exe, cmdline, user, self._chain(parent, MAX_PARENTS))

    def _chain(self, pid: int, room: int) -> tuple[ProcessRef, ...]:
        """Return ``pid`` and its ancestors, nearest first. A parent's own ancestors are read once."""
        ticks = self._ticks(pid) if pid > 0 and room > 0 else None
        if ticks is None:
            return ()
        key = (pid, ticks, _exe(pid))
        known = self._chains.get(key)
        if known is None:
            try:
                above = psutil.Process(pid).ppid()
            except (psutil.Error, OSError, ValueError):
                above = 0
            known = (ProcessRef(pid, key[2]), *self._chain(above, room - 1))
            if room == MAX_PARENTS:  # only a chain that was not cut may be used again
                _remember(self._chains, key, known)
        else:
            self._chains.move_to_end(key)
        return known[:room]

    def _ticks(self, pid: int) -> int | None:
        try:
            return self._start_ticks(pid)
        except (OSError, ValueError):
            return None


def readable(text: str) -> str:
    """Return ``text`` with lone surrogates, which stand for bytes that are not UTF-8, written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _exe(pid: int) -> str | None:
    try:
        return readable(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return None


def _remember(cache: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    cache[key] = value
    if len(cache) > MAX_REMEMBERED:
        cache.popitem(last=False)
