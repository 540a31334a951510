"""The numbers as Prometheus reads them: names, labels and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sockwarden.model import (
    Container,
    ContainerClient,
    HostClient,
    IdentitySource,
    Peer,
    Rule,
    UnknownClient,
)
from sockwarden.observe.guardmetrics import GuardMetrics
from sockwarden.observe.imagemetrics import image_families
from sockwarden.observe.metrics import SECOND_BUCKETS, ClientKind, Decision, Metrics, kind_of, registry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PEER = Peer(1, 0, 0, 1, IdentitySource.PIDFD)
CONTAINER = Container("a" * 64, f"sha256:{'1' * 64}", "img")


@pytest.fixture
def metrics() -> Metrics:
    images = GuardMetrics(image_families(["answered", "denied"]))
    return Metrics("1.2.3", ["ps", "push"], ["connect"], images=images)


def scrape(metrics: Metrics) -> dict[tuple[str, frozenset[Any]], float]:
    text = generate_latest(registry_of(metrics)).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return scrape(metrics).get((name, frozenset((labels or {}).items())))


def test_the_names_are_those_that_the_documentation_promises(metrics):
    names = {name for name, _ in scrape(metrics)}
    guard = {name for name in names if name.startswith("sockwarden_guard_") and "_events_" not in name}
    assert {
        "sockwarden_connections_total",
        "sockwarden_requests_total",
        "sockwarden_denials_total",
        "sockwarden_decision_seconds_bucket",
        "sockwarden_decision_seconds_count",
        "sockwarden_decision_seconds_sum",
        "sockwarden_guard_events_total",
        "sockwarden_guard_lost_events_total",
        "sockwarden_kills_total",
        "sockwarden_policy_generation",
        "sockwarden_mode_info",
        "sockwarden_build_info",
        "sockwarden_policy_reload_failures_total",
        "sockwarden_open_connections",
        "sockwarden_audit_lost_total",
        "sockwarden_engine_up",
        "sockwarden_identities_total",
        "sockwarden_image_references",
        "sockwarden_registry_requests_total",
        "sockwarden_registry_seconds_total",
        "sockwarden_registry_cache_hits_total",
    } == names - guard


def test_all_label_sets_exist_before_anything_happens(metrics):
    labels = {name: 0 for name, _ in scrape(metrics)}
    for name, _ in scrape(metrics):
        labels[name] += 1
    assert (
        labels["sockwarden_connections_total"],
        labels["sockwarden_requests_total"],
        labels["sockwarden_denials_total"],
        labels["sockwarden_guard_events_total"],
    ) == (3, 3 * 3, len(Rule), 2)


def test_nothing_that_is_counted_adds_a_label_set(metrics):
    before = len(scrape(metrics))
    metrics.count_request("no such command", Decision.DENY, 0.5)
    metrics.count_guard_event("no such kind")
    assert len(scrape(metrics)) == before


def test_connections_are_counted_by_client(metrics):
    metrics.count_connection(ClientKind.CONTAINER)
    assert value(metrics, "sockwarden_connections_total", {"client": "container"}) == 1


def test_peers_are_counted_by_how_they_were_identified(metrics):
    metrics.count_identity(IdentitySource.CRED)
    assert value(metrics, "sockwarden_identities_total", {"source": "peercred"}) == 1


def test_requests_are_counted_by_command_and_decision(metrics):
    metrics.count_request("push", Decision.WOULD_DENY, 0.5)
    labels = {"command": "push", "decision": "would_deny"}
    assert value(metrics, "sockwarden_requests_total", labels) == 1


def test_an_undeclared_command_counts_as_other(metrics):
    metrics.count_request("no such command", Decision.ALLOW, 0.5)
    labels = {"command": "other", "decision": "allow"}
    assert value(metrics, "sockwarden_requests_total", labels) == 1


def test_an_undeclared_event_counts_as_other(metrics):
    metrics.count_guard_event("connect")
    metrics.count_guard_event("no such kind")
    assert value(metrics, "sockwarden_guard_events_total", {"kind": "other"}) == 1


def test_denials_are_counted_by_rule(metrics):
    metrics.count_denial(Rule.SOCKET_MOUNT)
    assert value(metrics, "sockwarden_denials_total", {"rule": "socket-mount"}) == 1


@pytest.mark.parametrize(
    ("seconds", "bound", "expected"), [(1e-06, "1e-06", 1), (1.1e-06, "1e-06", 0), (9.0, "+Inf", 1)]
)
def test_a_decision_falls_into_the_first_bucket_that_holds_it(metrics, seconds, bound, expected):
    metrics.count_request("ps", Decision.ALLOW, seconds)
    assert value(metrics, "sockwarden_decision_seconds_bucket", {"le": bound}) == expected


def test_buckets_are_cumulative_and_agree_with_the_count(metrics):
    for seconds in (0.0, 0.003, 2.0):
        metrics.count_request("ps", Decision.ALLOW, seconds)
    found = scrape(metrics)
    bounds = [*map(str, SECOND_BUCKETS), "+Inf"]
    counts = [found["sockwarden_decision_seconds_bucket", frozenset({("le", bound)})] for bound in bounds]
    assert (counts, counts[-1]) == (sorted(counts), found["sockwarden_decision_seconds_count", frozenset()])


def test_the_sum_of_decisions_is_in_seconds(metrics):
    metrics.count_request("ps", Decision.ALLOW, 0.25)
    assert value(metrics, "sockwarden_decision_seconds_sum") == 0.25


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("guard_lost_events", "sockwarden_guard_lost_events_total"),
        ("kills", "sockwarden_kills_total"),
        ("policy_generation", "sockwarden_policy_generation"),
        ("policy_reload_failures", "sockwarden_policy_reload_failures_total"),
        ("open_connections", "sockwarden_open_connections"),
        ("audit_lost", "sockwarden_audit_lost_total"),
        ("engine_up", "sockwarden_engine_up"),
    ],
)
def test_plain_numbers_are_exported(metrics, field, name):
    setattr(metrics, field, 1)
    assert value(metrics, name) == 1


def test_the_mode_is_an_info(metrics):
    metrics.set_modes({"mode": "audit", "guard": "tracepoint", "takeover": "swap"})
    labels = {"mode": "audit", "guard": "tracepoint", "takeover": "swap"}
    assert value(metrics, "sockwarden_mode_info", labels) == 1


def test_the_build_says_its_version(metrics):
    assert [dict(labels)["version"] for name, labels in scrape(metrics) if name == "sockwarden_build_info"] == ["1.2.3"]


@pytest.mark.parametrize(
    ("client", "kind"),
    [
        (HostClient(PEER), ClientKind.HOST),
        (ContainerClient(PEER, CONTAINER), ClientKind.CONTAINER),
        (UnknownClient(PEER, Rule.UNKNOWN_CONTAINER, "x"), ClientKind.UNKNOWN),
    ],
)
def test_every_client_has_a_kind(client, kind):
    assert kind_of(client) is kind
