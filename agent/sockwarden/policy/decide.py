"""The decisions: pure functions of one policy generation, the client and the operation.

Order of the questions, first answer wins: is the policy on; can the client be placed; may its image use the
socket; may this command be sent. What a request body asks for is judged by ``policy.create``.

Never: I/O, a clock, a cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.dockerapi import texts
from sockwarden.dockerapi.commands import ALWAYS
from sockwarden.dockerapi.reference import InvalidReference, canonical, parse_reference
from sockwarden.model import (
    DIGEST,
    Client,
    Container,
    ContainerClient,
    HostClient,
    ImageAnswer,
    Mode,
    Rule,
    UnknownClient,
    Verdict,
    allow,
    deny,
)

if TYPE_CHECKING:
    from sockwarden.policy.commandlist import CommandRules
    from sockwarden.policy.document import PolicyDocument

_IMAGES: Final = "dockerSocketMount.imageList.images"
_LOCAL_IMAGES: Final = "sockwarden.localImages"


@dataclass(frozen=True, slots=True)
class Generation:
    """One version of everything that decides. A request belongs to the generation in which it began."""

    number: int
    document: PolicyDocument
    commands: CommandRules
    mode: Mode
    enforce_host: bool
    """Judge host clients by the command list, as if they were containers (clients.host = "enforce")."""
    walled: bool
    """A blocking guard rung keeps everybody but the agent from the engine's own socket."""

    @property
    def enforcing(self) -> bool:
        """Whether refusals are carried out, not only recorded."""
        return self.mode is Mode.ENFORCE

    @property
    def enabled(self) -> bool:
        """Whether the policy judges anything at all."""
        return self.document.enabled


_POLICY_OFF = allow(Rule.POLICY_OFF)
_NEGOTIATION = allow(Rule.NEGOTIATION)
_EXEMPT = allow(Rule.EXEMPT)
_DEFAULT = allow(Rule.DEFAULT)


def decide_client(generation: Generation, client: Client, image: ImageAnswer | None) -> Verdict:
    """May this client use the socket at all? ``image`` is the image list's answer for a container's image."""
    if not generation.enabled:
        return _POLICY_OFF
    if isinstance(client, HostClient):
        return _DEFAULT if generation.enforce_host else _EXEMPT
    if isinstance(client, UnknownClient):
        return _refuse_unknown(client)
    if image is None:
        raise AssertionError("a container's image must be judged before its client")
    if image.allowed:
        return allow(Rule.IMAGE_LIST, image)
    return deny_image(client.container.image_name, image)


def decide_operation(generation: Generation, client: Client, key: str | None, raw_target: str) -> Verdict:
    """May this client, which may use the socket, send this operation?

    Args:
        generation: the policy in force.
        client: who asks.
        key: the operation's key (dockerapi.routes.operation_key), None for a route that the engine lacks.
        raw_target: the request-target as sent, which the refusal repeats (docker-semantics A5.2).
    """
    if not generation.enabled:
        return _POLICY_OFF
    if key in ALWAYS:
        return _NEGOTIATION
    if isinstance(client, HostClient) and not generation.enforce_host:
        return _EXEMPT
    if key is None:
        # Newer engines may know it; what nobody has judged is not for containers.
        return deny(Rule.UNKNOWN_ROUTE, texts.PAGE_NOT_FOUND, "", 404)
    listed = generation.commands.decide(key)
    if listed is None:
        return _DEFAULT
    return deny(Rule.COMMAND_LIST, texts.command_blocked(raw_target), generation.commands.allowing(key))


def deny_image(image_text: str, answer: ImageAnswer) -> Verdict:
    """Return the refusal of a socket to an image, in Docker Desktop's words; the remedy has the reason."""
    remedy = _to_allow(canonical(image_text, answer.digest), answer)
    if answer.reason:
        remedy += f" ({answer.reason})"
    message = texts.socket_mount_denied(shown_image(image_text, answer.digest))
    return Verdict(allowed=False, rule=Rule.IMAGE_LIST, message=message, remedy=remedy, image=answer)


def _to_allow(shown: str, answer: ImageAnswer) -> str:
    """Return what to do about a refused image that is called ``shown``."""
    if answer.entry:
        return f'pull "{shown}" again: "{answer.entry}" covers its name, and not its content'
    if DIGEST.fullmatch(shown):
        return f'add "{shown}" to {_LOCAL_IMAGES}, or a name that its registry has for it to {_IMAGES}'
    if answer.local:
        return f'add "{answer.digest}" to {_LOCAL_IMAGES}, or, where a registry has it, "{shown}" to {_IMAGES}'
    return f'add "{shown}" to {_IMAGES}'


def shown_image(text: str, image_id: str = "") -> str:
    """Return the canonical name without its tag, as Docker Desktop's refusal shows it; an id as it is."""
    shown = canonical(text, image_id)
    if DIGEST.fullmatch(shown):
        return shown
    try:
        return parse_reference(shown).name
    except InvalidReference:
        return shown


def _refuse_unknown(client: UnknownClient) -> Verdict:
    if client.rule is Rule.UNKNOWN_CONTAINER:
        return deny(client.rule, texts.unknown_container(client.reason), "start the container through this engine")
    return deny(client.rule, texts.identity_unresolved(client.reason), "connect again; see the audit record")


def container_of(client: Client) -> Container | None:
    """Return the client's container, None for a client that is not in a known one."""
    return client.container if isinstance(client, ContainerClient) else None
