"""Every decision is counted and recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.unit.gateway.stage import HOST, generation
from tests.unit.gateway.test_inspection import exchange

from sockwarden.dockerapi.commands import COMMAND_LABELS
from sockwarden.gateway.recorder import DecisionRecorder
from sockwarden.model import ImageAnswer, Mode, Rule, Verdict, allow, deny
from sockwarden.observe.audit import AuditLog
from sockwarden.observe.metrics import Metrics, registry_of
from sockwarden.observe.process import ProcessCache
from sockwarden.observe.sink import AuditSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry


def recorded(
    directory: Path, act: Callable[[DecisionRecorder], None]
) -> tuple[list[dict[str, Any]], CollectorRegistry]:
    metrics = Metrics("1", COMMAND_LABELS, ())
    sink = AuditSink(str(directory / "audit"))
    act(DecisionRecorder(metrics, AuditLog(sink, ProcessCache(lambda _pid: None), "/run/docker.sock")))
    sink.close()
    lines = (directory / "audit").read_text().splitlines()
    return [json.loads(line) for line in lines], registry_of(metrics)


def decided(directory: Path, verdict: Verdict, mode: Mode) -> tuple[dict[str, Any], CollectorRegistry]:
    asked = exchange("POST", "/images/x/push", mode)
    (record,), registry = recorded(directory, lambda recorder: recorder.decided(asked, HOST, verdict))
    return record, registry


def test_a_refusal_is_counted_by_command_and_rule_and_recorded(tmp_path: Path) -> None:
    record, registry = decided(tmp_path, deny(Rule.COMMAND_LIST, "no"), Mode.ENFORCE)
    assert (record["decision"], record["rule"], record["command"]) == ("deny", "command-list", "push")
    labels = {"command": "push", "decision": "deny"}
    assert registry.get_sample_value("sockwarden_requests_total", labels) == 1
    assert registry.get_sample_value("sockwarden_denials_total", {"rule": "command-list"}) == 1


def test_audit_mode_records_what_would_be_denied(tmp_path: Path) -> None:
    record, registry = decided(tmp_path, deny(Rule.COMMAND_LIST, "no"), Mode.AUDIT)
    assert record["decision"] == "would_deny"
    labels = {"command": "push", "decision": "would_deny"}
    assert registry.get_sample_value("sockwarden_requests_total", labels) == 1
    assert not registry.get_sample_value("sockwarden_denials_total", {"rule": "command-list"})


def test_what_passes_is_no_denial(tmp_path: Path) -> None:
    record, registry = decided(tmp_path, allow(Rule.DEFAULT), Mode.ENFORCE)
    assert record["decision"] == "allow"
    assert not registry.get_sample_value("sockwarden_denials_total", {"rule": "default"})


def test_malformed_bytes_are_recorded_without_a_client(tmp_path: Path) -> None:
    def act(recorder: DecisionRecorder) -> None:
        recorder.malformed(None, deny(Rule.MALFORMED, "no", status=400), "", "")
        recorder.generation = generation(Mode.AUDIT)
        recorder.malformed(HOST, deny(Rule.MALFORMED, "no", status=400), "GET", "/x")

    (first, second), registry = recorded(tmp_path, act)
    assert (first["decision"], second["decision"]) == ("deny", "deny")
    assert registry.get_sample_value("sockwarden_denials_total", {"rule": "malformed"}) == 2


def test_connections_and_failures_are_counted(tmp_path: Path) -> None:
    def act(recorder: DecisionRecorder) -> None:
        recorder.opened(HOST)
        recorder.failed(Rule.ENGINE)

    records, registry = recorded(tmp_path, act)
    assert not records
    assert registry.get_sample_value("sockwarden_denials_total", {"rule": "engine"}) == 1


YES = ImageAnswer(allowed=True, entry="docker.io/library/docker:cli", digest="sha256:1")
MOUNTED = ImageAnswer(allowed=True, entry="docker.io/library/app:1", digest="sha256:2")


def test_the_entry_that_let_the_client_in_is_recorded_with_every_request(tmp_path: Path) -> None:
    asked = exchange("GET", "/containers/json", Mode.ENFORCE)
    asked.image = YES
    (record,), _ = recorded(tmp_path, lambda recorder: recorder.decided(asked, HOST, allow(Rule.DEFAULT)))
    assert record["image"] == {"entry": "docker.io/library/docker:cli", "digest": "sha256:1"}


def test_the_image_that_gets_the_socket_goes_before_the_clients_own(tmp_path: Path) -> None:
    asked = exchange("POST", "/containers/create", Mode.ENFORCE)
    asked.image = YES
    verdict = allow(Rule.SOCKET_MOUNT, MOUNTED)
    (record,), _ = recorded(tmp_path, lambda recorder: recorder.decided(asked, HOST, verdict))
    assert record["image"] == {"entry": "docker.io/library/app:1", "digest": "sha256:2"}


def test_a_refusal_is_recorded_with_what_would_help(tmp_path: Path) -> None:
    record, _ = decided(tmp_path, deny(Rule.COMMAND_LIST, "no", 'remove "push"'), Mode.ENFORCE)
    assert record["remedy"] == 'remove "push"'
