"""One BPF ring buffer, read without waiting.

Owns the reader and its epoll descriptor, which an event loop watches. Must not decode: it hands out bytes.
The kernel keeps what is not read and counts what did not fit, so memory here is bounded by ``consume``'s limit.
"""

from __future__ import annotations

import ctypes
import errno
from typing import Final

from sockwarden.kernel.bpf import libbpf

RECORDS_PER_TURN: Final = 64
"""Read per readiness of a ring: at 10 to 70 microseconds each, and the judge on top, clients wait some milliseconds."""

_STOP: Final = -errno.EAGAIN


class Ring:
    """The reader of one ring map."""

    def __init__(self, map_fd: int) -> None:
        self._limit = 0
        self._batch: list[bytes] = []
        self._callback = libbpf.Sample(self._take)  # libbpf keeps the pointer: it must live as long as we do
        libbpf.forget_log()
        created = libbpf.library().ring_buffer__new(map_fd, self._callback, None, None)
        self._ring: int | None = libbpf.check_pointer("read a ring buffer", created)

    def fileno(self) -> int:
        """Return the epoll descriptor: readable while records wait."""
        return int(libbpf.library().ring_buffer__epoll_fd(self._ring))

    def consume(self, limit: int) -> list[bytes]:
        """Return up to ``limit`` waiting records, oldest first, without blocking.

        Raises:
            KernelError: the ring cannot be read.
        """
        self._limit, self._batch = limit, []
        result = libbpf.library().ring_buffer__consume(self._ring)
        batch, self._batch = self._batch, []
        if result != _STOP:
            libbpf.check("read a ring buffer", result)
        return batch

    def close(self) -> None:
        """Release the reader; a second call does nothing."""
        if self._ring is not None:
            libbpf.library().ring_buffer__free(self._ring)
            self._ring = None

    def _take(self, _context: int, data: int, size: int) -> int:
        self._batch.append(ctypes.string_at(data, size))
        # A negative answer ends the read after this record (libbpf: ringbuf_process_ring).
        return _STOP if len(self._batch) >= self._limit else 0
