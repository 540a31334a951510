"""What a client reads when it is refused.

Owns the texts. Those that Docker Desktop has are Docker Desktop's, byte for byte, in the older and longer form
where there are two; the others keep its tone: what was denied, why, and what to do. It must never hold anything
that the client did not send or that an operator would not show it.
"""

from __future__ import annotations

import json
import re
from typing import Final

PREFIX: Final = "enhanced container isolation: "
"""How every refusal begins; the docker CLI puts "Error response from daemon: " before it."""

CONTENT_TYPE: Final = "application/json"
"""Exactly this: Go's client compares for equality and prints raw JSON where a parameter follows."""

_LINE_SEPARATORS: Final = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029"})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def socket_mount_denied(image_name: str) -> str:
    """Return Docker Desktop's refusal of a mounted socket. ``image_name`` is canonical and without the tag."""
    return (
        f'{PREFIX}docker socket mount denied for container with image "{image_name}"; image is not in the allowed '
        "list; if you wish to allow it, configure the docker socket image list in the Docker Desktop settings."
    )


def command_blocked(raw_target: str) -> str:
    """Return Docker Desktop's refusal of a command. ``raw_target`` is the target as sent, with version and query."""
    return (
        f'{PREFIX}docker command "{raw_target}" is blocked; if you wish to allow it, configure the docker socket '
        "command list in the Docker Desktop settings or admin-settings."
    )


def engine_mount_denied(source: str, image_name: str) -> str:
    """Return the refusal of a mount of ``source`` that would show the engine's own socket."""
    return (
        f'{PREFIX}mount of "{source}" denied for container with image "{image_name}"; it would show the engine\'s own '
        "socket; if you need files below it, mount their own directories, or mount the docker socket itself."
    )


def unknown_container(reason: str) -> str:
    """Return the refusal of a container that cannot be placed. ``reason`` is a sentence without a full stop."""
    return (
        f"{PREFIX}docker socket access denied for a container that the engine does not know; {reason}; "
        "if you wish to allow it, start the container with the docker engine that this socket belongs to."
    )


def identity_unresolved(reason: str) -> str:
    """Return the refusal of a client that cannot be identified. ``reason`` is a sentence without a full stop."""
    return (
        f"{PREFIX}docker socket access denied because the client could not be identified; {reason}; "
        "try again, and if it is refused again, ask the administrator of this host to run sockwarden status."
    )


def engine_unreachable(socket: str, reason: str) -> str:
    """Return what a client reads while the engine at ``socket`` is away. ``reason`` has no full stop."""
    return (
        f'{PREFIX}cannot reach the docker engine at "{socket}"; {reason}; '
        "try again, and if it stays away, ask the administrator of this host whether the docker daemon is running."
    )


def error_body(message: str) -> bytes:
    r"""Return the engine's error body for ``message``, as Go's encoder writes it (moby: httputils.WriteJSON).

    That encoder has its HTML escaping switched off, so ``&``, ``<`` and ``>`` stand as they are; U+2028 and
    U+2029 are escaped, and what is no UTF-8 becomes ``\ufffd``.
    """
    text = json.dumps({"message": message}, ensure_ascii=False, separators=(",", ":"))
    return _SURROGATE.sub(r"\\ufffd", text.translate(_LINE_SEPARATORS)).encode("utf-8") + b"\n"


def no_such_container(name: str) -> str:
    """Return the engine's own answer about a container that it does not have (moby: daemon/container.go)."""
    return f"No such container: {name}"


PAGE_NOT_FOUND: Final = "page not found"
"""The engine's message, with status 404, for a request that it has no route for."""


def page_not_found() -> bytes:
    """Return the engine's whole body for a request that it has no route for."""
    return error_body(PAGE_NOT_FOUND)
