"""One JSON object as one line of ASCII, and the moment it carries.

Pure. It never decides what a line holds.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

_encode: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


def timestamp(seconds: float) -> str:
    """Return a moment in the form of RFC 3339, in UTC with milliseconds."""
    whole, micro = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_second(whole)}.{micro // 1000:03d}Z"


@lru_cache(maxsize=2)  # most records share their second with the one before
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:-6]


def line_of(fields: dict[str, Any]) -> bytes:
    """Return a JSON object as one line of ASCII. DEL is the one control character that JSON lets stand as it is."""
    return f"{_encode(fields)}\n".encode("ascii").replace(b"\x7f", b"\\u007f")


def members_of(fields: dict[str, Any]) -> bytes:
    """Return the members of ``line_of`` without the braces, for a line that is put together from parts."""
    return line_of(fields)[1:-2]
