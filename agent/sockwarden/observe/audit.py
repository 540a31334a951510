"""The audit trail: one JSON object per line, for every decision.

Owns the form of a record. It never holds a body, a header or a secret (``redact``), and it never lets a client's text
break its line: JSON's escapes neutralise control characters, and everything outside ASCII is escaped.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sockwarden.dockerapi.reference import canonical
from sockwarden.model import Client, Container, ContainerClient, ImageAnswer, Mode, Rule
from sockwarden.observe.folding import Folding
from sockwarden.observe.line import line_of, members_of, timestamp
from sockwarden.observe.metrics import Decision
from sockwarden.observe.process import ProcessSnapshot, readable
from sockwarden.observe.redact import redact_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwarden.observe.process import ProcessCache
    from sockwarden.observe.sink import AuditSink

MAX_RECORD: Final = 32 * 1024
"""Bytes of one line. journald cuts lines at 48 KiB (LineMax= in journald.conf(5))."""

SHORT_TEXT: Final = 128
"""Characters left of each text of a record that would be longer: some 15 texts with at most 12 bytes a character."""


_REMEMBERED_REQUESTS: Final = 256
_REMEMBERED_TARGET: Final = 256  # characters: bounds what is remembered of requests to some 100 KiB
_REMEMBERED_IMAGES: Final = 64  # each with the reason of a refusal, some KiB at most
_REMEMBERED_CLIENTS: Final = 256  # each at most MAX_RECORD, and about 0.5 KiB


@dataclass(slots=True)
class AuditRecord:
    """One decision. ``time`` is in seconds since 1970; ``target`` is the client's own, and is redacted when written.

    ``remedy`` says why, for whom reads the trail and not for the client; ``image`` what the image list said.
    ``repeated`` and ``others``: it stands for as many more that were the same, or that were others of the same client.

    Not frozen, although nobody changes one: every request makes one, and frozen it would take 2 us longer.
    """

    time: float
    decision: Decision
    rule: Rule
    command: str
    method: str
    target: str
    client: Client | None
    generation: int
    mode: Mode
    message: str = ""
    repeated: int = 0
    others: int = 0
    remedy: str = ""
    image: ImageAnswer | None = None


class AuditLog:
    """Writes records to a sink. Nothing here raises into the request path; what is lost is counted by the sink."""

    def __init__(self, sink: AuditSink, processes: ProcessCache, engine: str) -> None:
        self._sink: Final = sink
        self._processes: Final = processes
        self._engine: Final = engine
        self._folding: Final = Folding()
        self._clients: Final[dict[int, tuple[ProcessSnapshot, Container | None, bytes]]] = {}

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """Write a line about the agent itself, which is nobody's request."""
        self._sink.write(line_of({"time": timestamp(time.time()), "event": name, **fields}))

    def write(self, record: AuditRecord) -> bool:
        """Write a record as one line; False where it was only counted, because it repeats what was just written."""
        if record.decision is Decision.ALLOW:
            self._put(record)
            return True
        told = self._folding.take(record, time.monotonic())
        for one in told:
            self._put(one)
        return any(one is record for one in told)

    def flush_due(self) -> None:
        """Write the counts whose time has come; call it about once a second."""
        for record in self._folding.due(time.monotonic()):
            self._put(record)

    def flush(self) -> None:
        """Write every count."""
        for record in self._folding.due(math.inf):
            self._put(record)

    def _put(self, record: AuditRecord) -> None:
        client = record.client
        peer = client.peer if client is not None else None
        if peer is None:
            self._sink.write(encode(record, None, self._engine))
            return
        process = self._processes.describe(peer.pid, peer.start_ticks)
        container = client.container if isinstance(client, ContainerClient) else None
        # The entry holds the process, so that its id cannot become another's.
        known = self._clients.get(id(process))
        if known is None or known[1] is not container:
            if len(self._clients) >= _REMEMBERED_CLIENTS:
                self._clients.clear()
            known = (process, container, _about_client(container, process, self._engine))
            self._clients[id(process)] = known
        self._sink.write(_line(record, known[2]) or encode(record, process, self._engine))


def encode(record: AuditRecord, process: ProcessSnapshot | None, engine: str) -> bytes:
    """Return the line for a record, with its newline, at most MAX_RECORD bytes long."""
    container = record.client.container if isinstance(record.client, ContainerClient) else None
    line = _line(record, _about_client(container, process, engine))
    return line or _cut_line(record, container, process, engine)


def _line(record: AuditRecord, about_client: bytes) -> bytes | None:
    """Join the members of a record; None where they are longer than MAX_RECORD."""
    remembered = len(record.target) <= _REMEMBERED_TARGET and len(record.command) <= _REMEMBERED_TARGET
    about_request = _remembered_request if remembered else _about_request
    line = b'{"time":"%b",%b,%b,%b%b}\n' % (
        timestamp(record.time).encode(),
        about_request(record.decision, record.rule, record.command, record.method, record.target),
        about_client,
        _about_policy(record.generation, record.mode),
        _about_rest(record) if record.message or record.repeated or record.others or record.image else b"",
    )
    return line if len(line) <= MAX_RECORD else None


def _about_rest(record: AuditRecord) -> bytes:
    about_image = b"" if record.image is None else _about_image(record.image)
    rest = {key: readable(text) for key, text in (("message", record.message), ("remedy", record.remedy)) if text}
    counts = _counts(record)
    return about_image + (b"," + members_of(rest | counts) if rest or counts else b"")


@lru_cache(maxsize=_REMEMBERED_IMAGES)
def _about_image(image: ImageAnswer) -> bytes:
    return b"," + members_of({"image": _image(image)})


def _image(image: ImageAnswer) -> dict[str, Any]:
    """Return which digest matched which entry; no entry where none did."""
    told: dict[str, Any] = {"entry": image.entry if image.allowed else None, "digest": image.digest or None}
    return told | ({"parent": image.parent} if image.parent else {})


def _counts(record: AuditRecord) -> dict[str, int]:
    return {name: count for name, count in (("repeated", record.repeated), ("others", record.others)) if count}


def _about_request(decision: Decision, rule: Rule, command: str, method: str, target: str) -> bytes:
    return members_of(_request(decision, rule, command, method, target))


_remembered_request: Final = lru_cache(maxsize=_REMEMBERED_REQUESTS)(_about_request)


def _about_client(container: Container | None, process: ProcessSnapshot | None, engine: str) -> bytes:
    return members_of(_client(container, process) | {"engine": engine})


@lru_cache(maxsize=2)
def _about_policy(generation: int, mode: Mode) -> bytes:
    return members_of({"generation": generation, "mode": mode.value})


def _cut_line(record: AuditRecord, container: Container | None, process: ProcessSnapshot | None, engine: str) -> bytes:
    """Return the line of a record that would be too long, with what is long left out or shortened."""
    fields: dict[str, Any] = {
        "time": timestamp(record.time),
        **_request(record.decision, record.rule, record.command, record.method, record.target),
        **_client(container, process),
        "engine": engine,
        "generation": record.generation,
        "mode": record.mode.value,
        **({} if record.image is None else {"image": _image(record.image)}),
        "message": readable(record.message),
        "remedy": readable(record.remedy),
        **_counts(record),
    }
    if process is not None:
        fields["process"] |= {"cmdline": None, "parents": []}
    return line_of(_shortened(fields) | {"truncated": True})


def _request(decision: Decision, rule: Rule, command: str, method: str, target: str) -> dict[str, Any]:
    return {
        "decision": decision.value,
        "rule": rule.value,
        "command": command,
        "method": method,
        "target": redact_target(target),
    }


def _client(container: Container | None, process: ProcessSnapshot | None) -> dict[str, Any]:
    return {
        "container": None if container is None else _container(container),
        "process": None if process is None else _process(process),
    }


def _container(container: Container) -> dict[str, Any]:
    """``image`` is only what somebody called it, in canonical form; ``digest`` is what really runs."""
    name = readable(canonical(container.image_name, container.image_id))
    return {"id": container.id, "image": name, "digest": container.image_id}


def _process(process: ProcessSnapshot) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "exe": process.exe,
        "cmdline": None if process.cmdline is None else list(process.cmdline),
        "user": process.user,
        "parents": [{"pid": parent.pid, "exe": parent.exe} for parent in process.parents],
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= SHORT_TEXT else f"{value[: SHORT_TEXT - 1]}…"
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return value
