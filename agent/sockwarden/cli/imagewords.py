"""How an entry of the image list is told on a terminal, where it is no reference that is resolved as a whole."""

from __future__ import annotations

from typing import Any


def unresolved_words(row: dict[str, Any]) -> str:
    """Return what is known of an entry without a digest of its own: why it has none, or how it is judged."""
    if row["error"]:
        return str(row["error"])
    kind = row.get("kind")
    if kind == "pattern":
        return f"found out image by image, {row['digests']} digests so far"
    if kind == "id":
        return "allowed by its id"
    return "allows every image" if kind == "everything" else "not resolved yet"
