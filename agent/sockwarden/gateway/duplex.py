"""What every accepted connection needs before it knows HTTP: its transport, one deadline, reasons not to read.

Never: bytes. Those are the subclass's.
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

WRITE_BUFFER_BYTES: Final = 256 * 1024
"""How much may wait for a slow reader, per direction; a unix socket moves about 200 KiB at a time."""


class Hold:
    """Why nothing is read from a connection for now: plain bits, for enum's cost 1 us in every request."""

    NONE: Final = 0
    PIPELINE: Final = 1  # it has sent more than the exchange before it can take
    ENGINE: Final = 2  # the engine reads slowly
    CLIENT: Final = 4  # the client reads slowly
    THREAD: Final = 8  # a thread reads in place of the loop


class Duplex(asyncio.Protocol):
    """A connection with back-pressure in both directions and at most one deadline."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any other callback
        self._holds: int = Hold.NONE
        self._timer: asyncio.TimerHandle | None = None
        self._drained: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from asyncio's
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    @property
    def inode(self) -> int:
        """The number of the socket, as fstat() says; 0 once it is closed."""
        sock = self.transport.get_extra_info("socket")
        try:
            return os.fstat(sock.fileno()).st_ino if sock is not None and sock.fileno() >= 0 else 0
        except OSError:
            return 0

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def hold(self, reason: int, *, on: bool) -> None:
        """Stop reading for ``reason``, or drop that reason and read on if it was the last."""
        before = self._holds
        self._holds = before | reason if on else before & ~reason
        if (before == Hold.NONE) == (self._holds == Hold.NONE) or self.transport.is_closing():
            return
        if self._holds:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def resume_writing(self) -> None:
        """Everything was written that had to be (see ``when_drained``), or enough of it."""
        call, self._drained = self._drained, None
        if call is not None:
            self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
            call()

    def when_drained(self, call: Callable[[], None]) -> None:
        """Call once, and never at once, when the kernel has all that was written; or the connection closes."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size() == 0:
            asyncio.get_running_loop().call_soon(call)
            return
        self._drained = call
        self.transport.set_write_buffer_limits(high=0)

    def set_deadline(self, seconds: float, late: Callable[[], None]) -> None:
        """Call ``late`` in that many seconds, in place of any deadline before."""
        self.drop_deadline()
        self._timer = asyncio.get_running_loop().call_later(seconds, late)

    def drop_deadline(self) -> None:
        """Forget the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def has_deadline(self) -> bool:
        """Whether a deadline runs."""
        return self._timer is not None

    def peer_has_closed(self) -> bool:
        """Whether the peer has closed both halves, after its end of file was read.

        A unix socket whose peer called close() polls POLLHUP; after shutdown(SHUT_WR) it does not
        (net/unix/af_unix.c, unix_poll). Only then is there nobody left to read an answer.
        """
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))
