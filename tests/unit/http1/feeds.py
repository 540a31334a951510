"""Feeding a machine the same bytes in every way that a socket may cut them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def every_cut(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """Yield ``data`` whole, byte by byte, and cut once at every place."""
    yield (data,)
    yield tuple(data[i : i + 1] for i in range(len(data)))
    for cut in range(1, len(data)):
        yield data[:cut], data[cut:]
