"""The nouns that all parts share: frozen values, no I/O, valid on construction.

Words of this project. *peer*: the process at the other end of an accepted socket, as the kernel names
it. *client*: what that peer is to us: a host process, a container known to the engine, or unknown.
*operation*: one request, named by the engine's own route. *verdict*: allow or deny, with its reason.
*generation*: one immutable version of the policy; a decision belongs to exactly one.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")
"""The engine's full container id (moby: pkg/stringid)."""

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""The only digest algorithm that registries and the engine use for identities in practice."""


class Rule(enum.Enum):
    """What decided. The value is the stable name in metrics, audit records and ``explain``."""

    NEGOTIATION = "negotiation"  # /_ping, /version, OPTIONS: every client may always ask
    POLICY_OFF = "policy-off"  # enhancedContainerIsolation.value is false
    EXEMPT = "exempt"  # a host client, and clients.host = "exempt"
    DEFAULT = "default"  # no rule says otherwise
    IMAGE_LIST = "image-list"
    COMMAND_LIST = "command-list"
    UNKNOWN_ROUTE = "unknown-route"  # the engine has nothing there, as far as we know
    SOCKET_MOUNT = "socket-mount"
    ENGINE_MOUNT = "engine-mount"  # the mount would show the engine's own socket
    UNKNOWN_CONTAINER = "unknown-container"
    IDENTITY = "identity"  # the peer cannot be identified
    MALFORMED = "malformed"  # the request could be read in two ways
    LIMIT = "limit"  # a named limit was reached
    ENGINE = "engine"  # the engine cannot be asked what a decision needs
    INTERNAL = "internal"  # a fault in sockwarden itself: refused
    GUARD = "guard"  # the kernel guard saw it


class Mode(enum.Enum):
    """``audit``: everything passes, and what would have been denied is recorded as such."""

    ENFORCE = "enforce"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Allow or deny. ``message`` is the exact text for the client, ``remedy`` what to add to allow it.

    ``image`` is what the image list said, where it was asked.
    """

    allowed: bool
    rule: Rule
    message: str = ""
    remedy: str = ""
    status: int = 403
    image: ImageAnswer | None = None

    def __post_init__(self) -> None:
        if not self.allowed and not self.message:
            raise AssertionError("a refusal needs a message")


def allow(rule: Rule, image: ImageAnswer | None = None) -> Verdict:
    """Return the verdict that lets an operation pass because of ``rule``."""
    return Verdict(allowed=True, rule=rule, image=image)


def deny(rule: Rule, message: str, remedy: str = "", status: int = 403) -> Verdict:
    """Return a refusal that the client reads as ``message``."""
    return Verdict(allowed=False, rule=rule, message=message, remedy=remedy, status=status)


class IdentitySource(enum.Enum):
    """How the peer was identified, strongest first."""

    KERNEL = "kernel"  # written down in connect() itself, read by the accepted descriptor: holds for the dead too
    PIDFD = "peerpidfd"  # SO_PEERPIDFD, Linux 6.5: cannot be raced by pid reuse
    CRED = "peercred"  # SO_PEERCRED with the start time read twice
    EVENT = "kernel-event"  # the guard's own record of connect()


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that called connect(), by the kernel's word. ``start_ticks`` is field 22 of /proc/PID/stat."""

    pid: int
    uid: int
    gid: int
    start_ticks: int
    source: IdentitySource


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine knows it. ``image_id`` is what runs; ``image_name`` is only the client's text."""

    id: str
    image_id: str
    image_name: str
    manifest_digest: str | None = None

    def __post_init__(self) -> None:
        if not CONTAINER_ID.fullmatch(self.id):
            raise AssertionError(f"not a container id: {self.id!r}")


@dataclass(frozen=True, slots=True)
class HostClient:
    """A peer that is not in any container."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class ContainerClient:
    """A peer in a container that the engine knows."""

    peer: Peer
    container: Container


@dataclass(frozen=True, slots=True)
class UnknownClient:
    """A peer that cannot be placed: not identified, or in a container that the engine does not know."""

    peer: Peer | None
    rule: Rule  # UNKNOWN_CONTAINER, IDENTITY or ENGINE
    reason: str  # one sentence for the refusal, without a full stop


Client = HostClient | ContainerClient | UnknownClient


@dataclass(frozen=True, slots=True)
class LocalImage:
    """What the engine says of one image in its store.

    ``id`` is the config digest (graph drivers) or the index or manifest digest (containerd store): a
    content hash either way. ``repo_digests`` and ``repo_tags`` can be forged: hints where to look, never proof.
    """

    id: str
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    manifest_digest: str | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """Its content hashes: its id in either store, and its manifest's digest where the engine tells that."""
        return (self.id,) if self.manifest_digest in (None, self.id) else (self.id, self.manifest_digest)


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """May this image use the socket?

    ``entry`` is the list entry that matched, in canonical form, and ``digest`` the content hash by which it did;
    ``parent`` is the id of the allowed image that it was built on, where that decided. Of a refused image ``reason``
    says why no entry matched, ``digest`` is its id, ``entry`` the one that covers a name that it bears, and ``local``
    whether nothing that the engine says tells of a registry that has it.
    """

    allowed: bool
    entry: str = ""
    reason: str = ""
    digest: str = ""
    parent: str = ""
    local: bool = False
