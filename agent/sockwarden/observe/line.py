"""One JSON object as one line of ASCII, and the moment it carries.

Pure. It never decides what a line holds.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

_encode: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


def timestamp(seconds: float) -> str:
    """Return a moment in the form of RFC 3339, in UTC with milliseconds."""
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def line_of(fields: dict[str, Any]) -> bytes:
    """Return a JSON object as one line of ASCII. DEL is the one control character that JSON lets stand as it is."""
    return f"{_encode(fields)}\n".encode("ascii").replace(b"\x7f", b"\\u007f")
