"""``sockwarden explain``: would this request be allowed, by which rule, and what to add."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from sockwarden.config import MOVED_SOCKET, PUBLIC_SOCKET
from sockwarden.dockerapi.bodies import read_create
from sockwarden.dockerapi.commands import command_for
from sockwarden.dockerapi.gojson import MAX_JSON_BODY_BYTES
from sockwarden.dockerapi.reference import (
    ANY,
    ImagePattern,
    InvalidReference,
    Reference,
    canonical,
    parse_reference,
)
from sockwarden.dockerapi.routes import match, operation_key
from sockwarden.dockerapi.target import ASTERISK, parse_target
from sockwarden.errors import ClientError, ExitCode, SockwardenError
from sockwarden.gateway import refusal
from sockwarden.identity.paths import HostPaths
from sockwarden.model import (
    DIGEST,
    Client,
    Container,
    ContainerClient,
    HostClient,
    IdentitySource,
    ImageAnswer,
    Mode,
    Peer,
    Rule,
    Verdict,
)
from sockwarden.policy.commandlist import CommandRules
from sockwarden.policy.decide import Generation, decide_client, decide_operation
from sockwarden.policy.exposure import decide_mounts
from sockwarden.policy.mounts import GuardedSockets, judge_mount
from sockwarden.service.sources import read_policy

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen
    from sockwarden.policy.document import PolicyDocument

_PEER: Final = Peer(pid=1, uid=0, gid=0, start_ticks=0, source=IdentitySource.CRED)
_NOBODY: Final = "0" * 64
_CREATE: Final = "POST /containers/create"


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Explain one request; exit code 0 when it would be allowed, 3 when denied."""
    document = read_policy(arguments.policy)
    generation = Generation(
        number=1,
        document=document,
        commands=CommandRules.compile(document.commands.kind, document.commands.names),
        mode=Mode.ENFORCE,
        enforce_host=arguments.enforce_host,
        walled=False,
    )
    answer = _explain(generation, arguments)
    if arguments.json:
        screen.json(answer)
    else:
        word = screen.paint("allow", "green") if answer["decision"] == "allow" else screen.paint("deny", "red")
        screen.print(f"{word}: rule {answer['rule']}, command {answer['command']}")
        if answer["message"]:
            screen.print(f"  the client reads: {answer['message']}")
        if answer["entry"]:
            screen.print(f"  its image is called as the entry {answer['entry']!r} says; the daemon compares content")
        if answer["remedy"]:
            screen.print(f"  to allow it: {answer['remedy']}")
    return ExitCode.OK if answer["decision"] == "allow" else ExitCode.DENIED


def _explain(generation: Generation, arguments: argparse.Namespace) -> dict[str, Any]:
    method, _, text = arguments.request.partition(" ")
    if not method.isupper() or not text:
        raise SockwardenError(
            f"not a request: {arguments.request!r}", remedy="write it as 'POST /v1.43/containers/create'"
        )
    client, image = _client(generation.document, arguments.client)
    key = None
    try:
        asterisk = method == "OPTIONS" and text == "*"
        target = ASTERISK if asterisk else parse_target(os.fsencode(text))
        route = match(method, target.path)
        key = None if route is None else operation_key(route, target)
        verdict = decide_client(generation, client, image)
        if verdict.allowed:
            verdict = decide_operation(generation, client, key, target.raw)
        if verdict.allowed and generation.enabled and key == _CREATE and arguments.body is not None:
            verdict = _judge_body(generation, _read_body(arguments.body)) or verdict
    except ClientError as error:
        verdict = refusal.malformed(error)
    return {
        "decision": "allow" if verdict.allowed else "deny",
        "rule": verdict.rule.value,
        "command": command_for(key),
        "status": None if verdict.allowed else verdict.status,
        "message": verdict.message,
        "remedy": verdict.remedy,
        "entry": image.entry if image is not None and image.allowed else "",
    }


def _client(document: PolicyDocument, text: str) -> tuple[Client, ImageAnswer | None]:
    if text == "host":
        return HostClient(_PEER), None
    kind, _, reference = text.partition(":")
    if kind != "image" or not reference:
        raise SockwardenError(f"not a client: {text!r}", remedy="use --as host or --as image:REF")
    container = Container(id=_NOBODY, image_id=f"sha256:{_NOBODY}", image_name=reference)
    return ContainerClient(_PEER, container), _listed(document, reference)


def _listed(document: PolicyDocument, text: str) -> ImageAnswer:
    """Answer by names, as the file can: the daemon compares digests."""
    shown = canonical(text)
    if any(entry.pattern.is_everything for entry in document.images):
        return ImageAnswer(allowed=True, entry=ANY)
    if DIGEST.fullmatch(shown):
        if shown in document.local_images:
            return ImageAnswer(allowed=True, entry=shown, digest=shown)
        return ImageAnswer(allowed=False, reason="no entry of sockwarden.localImages is its id", digest=shown)
    try:
        wanted = parse_reference(shown)
    except InvalidReference as error:
        raise SockwardenError(f"{text!r} is not an image reference: {error}") from error
    for entry in document.images:
        if _matches(entry.pattern, wanted):
            return ImageAnswer(allowed=True, entry=str(entry.pattern))
    return ImageAnswer(allowed=False, reason="no entry of the image list matches its reference")


def _matches(pattern: ImagePattern, wanted: Reference) -> bool:
    if not pattern.covers(wanted.domain, wanted.path):
        return False
    if wanted.digest is None:
        return pattern.covers_tag(wanted.tag or "")
    return pattern.is_any_tag or pattern.digest == wanted.digest


def _judge_body(generation: Generation, body: bytes) -> Verdict | None:
    wanted = read_create(body)
    paths = HostPaths()
    guarded = GuardedSockets.at((os.path.realpath(PUBLIC_SOCKET),), (MOVED_SOCKET,), paths)
    findings = [judge_mount(source, guarded, paths) for source in wanted.mounts]
    verdict = decide_mounts(generation, findings, wanted.image, _listed(generation.document, wanted.image))
    return verdict if verdict.rule is not Rule.DEFAULT else None


def _read_body(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read(MAX_JSON_BODY_BYTES + 1)
        with open(path, "rb") as file:
            return file.read(MAX_JSON_BODY_BYTES + 1)
    except OSError as error:
        raise SockwardenError(f"{path}: it cannot be read: {error.strerror}") from error
