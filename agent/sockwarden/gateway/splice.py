"""Long streams beside the event loop: a thread moves them from socket to socket inside the kernel.

Owns the threads, their pipes and duplicated descriptors, and the handing over of one direction between the loop and
a thread. The thread moves exactly as many bytes as it is told, or until there are no more; whatever else happens (an
end, an error, a silence) it gives the direction back with what it holds, and the loop finds out for itself.

Never: a look at what passes, nor a word on where a message ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import threading
from typing import TYPE_CHECKING, Final

from sockwarden.gateway.duplex import Duplex, Hold

if TYPE_CHECKING:
    from collections.abc import Callable

SPLICE_BYTES: Final = 1024 * 1024
"""What must still come of a body, or have passed of a raw stream: a thread for less costs more than it saves."""

MAX_THREADS: Final = 32
"""Streams that threads move at once; on the two to sixteen cores of a build host more would not be faster. Others go
through the loop."""

SILENT_SECONDS: Final = 1.0
"""A stream that stands still for so long goes back to the loop, so that idle ones hold no thread."""

PIPE_BYTES: Final = 256 * 1024
"""What a thread holds at most. A unix socket gives some 200 KiB at a time (its SO_SNDBUF), so more would be unused."""

_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Handover:
    """One direction of a stream in a thread: from when it is asked for until it is back in the loop."""

    running = 0
    """How many there are in this process; all are made and ended by the one thread of the event loop."""

    def __init__(
        self, source: Duplex, target: Duplex, count: int | None, finished: Callable[[int, bytes], None]
    ) -> None:
        """Stop reading ``source``, wait until ``target`` has what was written to it, and start a thread.

        Args:
            source: where the bytes come from. It is held until the direction is back.
            target: where they go.
            count: how many bytes at most; None for all that come.
            finished: called in the loop with the number of bytes that were taken from the source, and those of them
                that are still to be written to the target. It is not called after ``cancel``.
        """
        type(self).running += 1
        self._source = source
        self._target = target
        self._count = count
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._mover: _Mover | None = None
        source.hold(Hold.THREAD, on=True)
        target.when_drained(self._start)

    @classmethod
    def possible(cls) -> bool:
        """Whether there is room for one more thread."""
        return cls.running < MAX_THREADS

    def cancel(self) -> None:
        """End it soon; for when one of the two connections is over. What the thread holds is lost."""
        if self._stopped:
            return
        self._stopped = True
        if self._mover is not None:
            self._mover.stop()
        else:
            self._back()

    def recall(self) -> None:
        """Have the direction back soon, by ``finished``."""
        if self._stopped:
            return
        if self._mover is not None:
            self._mover.stop()
        else:
            self._loop.call_soon(self._withdraw)

    def _withdraw(self) -> None:
        if self._mover is not None and not self._stopped:
            self._mover.stop()  # it began in the meantime
        elif not self._stopped:
            self._give_back(0, b"")

    def _start(self) -> None:
        if self._stopped:
            return
        source, target = _descriptor(self._source), _descriptor(self._target)
        if source < 0 or target < 0:
            self._give_back(0, b"")
        elif self._target.transport.get_write_buffer_size() > 0:
            self._target.when_drained(self._start)
        else:
            self._start_thread(source, target)

    def _start_thread(self, source: int, target: int) -> None:
        try:
            self._mover = _Mover(source, target, self._count)
            threading.Thread(target=self._run, args=(self._mover,), name="splice", daemon=True).start()
        except (OSError, RuntimeError):  # no descriptor or no thread to be had
            self._give_back(0, b"")

    def _run(self, mover: _Mover) -> None:
        """Run in the thread."""
        taken, rest = mover.move()
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all connections
            self._loop.call_soon_threadsafe(self._give_back, taken, rest)

    def _give_back(self, taken: int, rest: bytes) -> None:
        if self._mover is not None:
            self._mover.close()
        stopped, self._stopped = self._stopped, True
        self._back()
        if not stopped:
            self._finished(taken, rest)

    def _back(self) -> None:
        type(self).running -= 1
        self._source.hold(Hold.THREAD, on=False)


class _Mover:
    """The thread's own work: two descriptors, a pipe between them, and one to be woken by.

    The descriptors are copies, so that a transport that closes its own cannot make the thread use somebody else's.
    """

    def __init__(self, source: int, target: int, count: int | None) -> None:
        """Copy the descriptors; raises OSError where there are none to be had."""
        self._left = count
        self._stopped = False
        with contextlib.ExitStack() as opened:
            self._source = os.dup(source)
            opened.callback(os.close, self._source)
            self._target = os.dup(target)
            opened.callback(os.close, self._target)
            self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            opened.callback(os.close, self._out)
            opened.callback(os.close, self._in)
            with contextlib.suppress(OSError):  # smaller is slower, but right
                fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC)
            opened.callback(os.close, self._wake)
            self._opened = opened.pop_all()

    def stop(self) -> None:
        """Make the thread end soon; for the loop."""
        self._stopped = True
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close the descriptors, when the thread has ended; for the loop."""
        self._opened.close()

    def move(self) -> tuple[int, bytes]:
        """Move bytes; return how many were taken, and those of them that could not be delivered."""
        taken = held = 0
        try:
            while not self._stopped and (self._left is None or taken < self._left):
                held = self._take(PIPE_BYTES if self._left is None else min(PIPE_BYTES, self._left - taken))
                if held == 0:
                    break
                taken += held
                while held:
                    sent = self._send(held)
                    if sent == 0:
                        return taken, self._rest(held)
                    held -= sent
        except OSError:
            pass  # whose it was, the loop learns when it reads or writes
        return taken, self._rest(held)

    def _take(self, most: int) -> int:
        """Take bytes from the source into the empty pipe; 0 where none come."""
        while True:
            try:
                return os.splice(self._source, self._in, most, flags=_FLAGS)
            except BlockingIOError:
                if not self._wait(self._source, select.POLLIN):
                    return 0

    def _send(self, held: int) -> int:
        """Send bytes from the pipe to the target; 0 where it takes none."""
        while True:
            try:
                return os.splice(self._out, self._target, held, flags=_FLAGS)
            except BlockingIOError:
                if not self._wait(self._target, select.POLLOUT):
                    return 0

    def _wait(self, descriptor: int, event: int) -> bool:
        """Wait until the descriptor is ready; False after a silence, when woken, or when the target has gone."""
        poll = select.poll()
        poll.register(self._target, 0)  # POLLHUP and POLLERR are always told
        poll.register(descriptor, event)
        poll.register(self._wake, select.POLLIN)
        ready = dict(poll.poll(SILENT_SECONDS * 1000))
        return ready.get(descriptor, 0) != 0 and self._wake not in ready and not _gone(ready.get(self._target, 0))

    def _rest(self, held: int) -> bytes:
        return os.read(self._out, held) if held else b""


def _gone(events: int) -> bool:
    return bool(events & (select.POLLHUP | select.POLLERR))


def _descriptor(side: Duplex) -> int:
    sock = side.transport.get_extra_info("socket")
    return -1 if sock is None or side.transport.is_closing() else sock.fileno()
