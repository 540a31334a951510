"""The audit trail: one JSON object per line, for every decision.

Owns the form of a record. It never holds a body, a header or a secret (``redact``), and it never lets a client's text
break its line: JSON's escapes neutralise control characters, and everything outside ASCII is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockwarden.model import Client, Container, ContainerClient, Mode, Rule
from sockwarden.observe.line import line_of, timestamp
from sockwarden.observe.process import ProcessSnapshot, readable
from sockwarden.observe.redact import redact_target

if TYPE_CHECKING:
    from sockwarden.observe.metrics import Decision
    from sockwarden.observe.process import ProcessCache
    from sockwarden.observe.sink import AuditSink

MAX_RECORD: Final = 32 * 1024
"""Bytes of one line. journald cuts lines at 48 KiB (LineMax= in journald.conf(5))."""

SHORT_TEXT: Final = 128
"""Characters left of each text of a record that would be longer: some 15 texts with at most 12 bytes a character."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One decision. ``time`` is in seconds since 1970; ``target`` is the client's own, and is redacted when written."""

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


class AuditLog:
    """Writes records to a sink. Nothing here raises into the request path; what is lost is counted by the sink."""

    def __init__(self, sink: AuditSink, processes: ProcessCache, engine: str) -> None:
        self._sink: Final = sink
        self._processes: Final = processes
        self._engine: Final = engine

    def write(self, record: AuditRecord) -> None:
        """Write a record as one line."""
        peer = record.client.peer if record.client is not None else None
        process = None if peer is None else self._processes.describe(peer.pid, peer.start_ticks)
        self._sink.write(encode(record, process, self._engine))


def encode(record: AuditRecord, process: ProcessSnapshot | None, engine: str) -> bytes:
    """Return the line for a record, with its newline, at most MAX_RECORD bytes long."""
    container = record.client.container if isinstance(record.client, ContainerClient) else None
    fields: dict[str, Any] = {
        "time": timestamp(record.time),
        "decision": record.decision.value,
        "rule": record.rule.value,
        "command": record.command,
        "method": record.method,
        "target": redact_target(record.target),
        "container": None if container is None else _container(container),
        "process": None if process is None else _process(process),
        "engine": engine,
        "generation": record.generation,
        "mode": record.mode.value,
    }
    if record.message:
        fields["message"] = readable(record.message)
    line = line_of(fields)
    if len(line) > MAX_RECORD:
        if process is not None:
            fields["process"] |= {"cmdline": None, "parents": []}
        line = line_of(_shortened(fields) | {"truncated": True})
    return line


def _container(container: Container) -> dict[str, Any]:
    """``image`` is only what somebody called it; ``digest`` is what really runs."""
    return {"id": container.id, "image": readable(container.image_name), "digest": container.image_id}


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
