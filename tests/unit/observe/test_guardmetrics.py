"""The guard's numbers as Prometheus reads them: declared label sets, and nothing that was not declared."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sockwarden.abi import GuardStat, SocketClass, TrackStat
from sockwarden.observe.guardmetrics import GuardMetrics, families, label_of
from sockwarden.observe.metrics import Metrics, registry_of

Sample = tuple[str, frozenset[Any]]


@pytest.fixture
def guard() -> GuardMetrics:
    return GuardMetrics(families(["lsm", "none"], ["sw_guarded"], ["guard_lsm", "track_fork"]))


def scrape(guard: GuardMetrics) -> dict[Sample, float]:
    text = generate_latest(registry_of(Metrics("1", (), (), guard))).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(guard: GuardMetrics, name: str, **labels: str) -> float | None:
    return scrape(guard).get((name, frozenset(labels.items())))


def test_every_outcome_of_the_kernel_has_a_series_from_the_start(guard: GuardMetrics) -> None:
    outcomes = {dict(labels)["outcome"] for name, labels in scrape(guard) if name == "sockwarden_guard_connects_total"}
    assert outcomes == {label_of(which) for which in GuardStat}


def test_every_outcome_of_container_life_has_a_series_from_the_start(guard: GuardMetrics) -> None:
    outcomes = {dict(labels)["outcome"] for name, labels in scrape(guard) if name == "sockwarden_guard_life_total"}
    assert outcomes == {label_of(which) for which in TrackStat}


def test_every_class_but_none_has_a_gauge(guard: GuardMetrics) -> None:
    classes = {dict(labels)["class"] for name, labels in scrape(guard) if name == "sockwarden_guard_sockets"}
    assert classes == {"engine", "host_only", "public", "canary"} == {label_of(c) for c in SocketClass} - {"none"}


def test_a_number_is_told_under_its_label(guard: GuardMetrics) -> None:
    guard.set("guard_missed", {"guard_lsm": 3})
    assert one(guard, "sockwarden_guard_missed_total", program="guard_lsm") == 3


def test_a_value_that_was_not_declared_is_left_out(guard: GuardMetrics) -> None:
    before = set(scrape(guard))
    guard.set("guard_missed", {"made_up": 3})
    assert set(scrape(guard)) == before


def test_a_series_that_is_not_told_goes_on_as_nothing(guard: GuardMetrics) -> None:
    guard.set("guard_rung", {"lsm": 1})
    guard.set("guard_rung", {"none": 1})
    assert one(guard, "sockwarden_guard_rung", rung="lsm") == 0


def test_one_number_needs_no_label(guard: GuardMetrics) -> None:
    guard.set_one("guard_cgroups", 7)
    assert one(guard, "sockwarden_guard_cgroups") == 7


def test_without_a_canary_nothing_is_said_of_it(guard: GuardMetrics) -> None:
    assert one(guard, "sockwarden_guard_canary_held") is None


def test_a_canary_that_ended_is_not_told_any_more(guard: GuardMetrics) -> None:
    guard.set_one("guard_canary_held", 1)
    guard.set_one("guard_canary_held", None)
    assert one(guard, "sockwarden_guard_canary_held") is None


def test_every_name_has_a_help_text_that_ends_like_a_sentence(guard: GuardMetrics) -> None:
    assert [family.name for family in guard.collect() if not family.documentation.endswith(".")] == []
