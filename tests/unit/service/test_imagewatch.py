"""The numbers of the image list, as a scrape finds them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sockwarden.dockerapi.manifest import OCI_MANIFEST, Kind, Manifest
from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Repository
from sockwarden.images.registry import NotInRegistryError, Outcome
from sockwarden.images.resolver import Resolver, Target
from sockwarden.observe.metrics import Metrics, registry_of
from sockwarden.service.imagewatch import ImageWatch, image_metrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

DIGEST = "sha256:" + "a" * 64
GOOD, GONE, SILENT = (Target(Repository("reg.example", "app"), tag) for tag in ("good", "gone", "silent"))
PINNED = Target(Repository("reg.example", "app"), DIGEST)


class Registry:
    """Answers by tag, as ``RegistryClient`` does."""

    def __init__(self) -> None:
        self.requests = dict.fromkeys(Outcome, 0)
        self.cache_hits, self.seconds = 3, 1.5
        self.down = False

    async def head(self, _: Repository, reference: str) -> str:
        self.requests[Outcome.ANSWERED] += 1
        if self.down or reference == "silent":
            raise RegistryError("it is silent")
        if reference == "gone":
            raise NotInRegistryError("it is gone")
        return DIGEST

    def known(self, _: str) -> Manifest | None:
        return None

    async def manifest(self, _: Repository, digest: str) -> Manifest:
        return Manifest(digest, Kind.IMAGE, OCI_MANIFEST, config="sha256:" + "b" * 64)


@pytest.fixture
def times() -> list[float]:
    return [1000.0]


@pytest.fixture
def registry() -> Registry:
    return Registry()


def watched(registry: Registry, times: list[float], *targets: Target) -> tuple[Resolver, ImageWatch, CollectorRegistry]:
    resolver = Resolver(registry, clock=lambda: times[0])  # type: ignore[arg-type]  # a stand-in
    resolver.add(targets)
    metrics = Metrics("1", (), images=image_metrics())
    return resolver, ImageWatch(resolver, metrics.images), registry_of(metrics)


def ask(resolver: Resolver, *targets: Target) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*map(resolver.refresh, targets))

    asyncio.run(all_of_them())


def states(scraped: CollectorRegistry) -> dict[str, float | None]:
    names = ("resolved", "stale", "absent", "unresolved")
    return {name: scraped.get_sample_value("sockwarden_image_references", {"state": name}) for name in names}


def test_references_are_counted_by_what_is_known_of_them(registry, times):
    resolver, watch, scraped = watched(registry, times, GOOD, GONE, SILENT)
    ask(resolver, GOOD, GONE, SILENT)
    watch.beat()
    assert states(scraped) == {"resolved": 1, "stale": 0, "absent": 1, "unresolved": 1}


def test_an_answer_of_a_registry_that_fell_silent_is_stale(registry, times):
    resolver, watch, scraped = watched(registry, times, GOOD)
    ask(resolver, GOOD)
    registry.down = True
    ask(resolver, GOOD)
    watch.beat()
    assert states(scraped) == {"resolved": 0, "stale": 1, "absent": 0, "unresolved": 0}


def test_the_oldest_answer_is_that_of_a_tag(registry, times):
    resolver, watch, scraped = watched(registry, times, GOOD, PINNED)
    ask(resolver, PINNED)
    times[0] += 100
    ask(resolver, GOOD)
    times[0] += 7
    watch.beat()
    assert scraped.get_sample_value("sockwarden_image_oldest_answer_seconds") == 7


def test_without_an_answer_there_is_no_age(registry, times):
    _, watch, scraped = watched(registry, times, GOOD)
    watch.beat()
    assert scraped.get_sample_value("sockwarden_image_oldest_answer_seconds") is None


def test_references_are_counted_now_and_then_and_requests_each_time(registry, times):
    resolver, watch, scraped = watched(registry, times, GOOD)
    watch.beat()
    ask(resolver, GOOD)
    times[0] += 14
    watch.beat()
    assert states(scraped)["resolved"] == 0
    assert scraped.get_sample_value("sockwarden_registry_requests_total", {"outcome": "answered"}) == 1
    times[0] += 1
    watch.beat()
    assert states(scraped)["resolved"] == 1


def test_what_the_client_counts_is_told(registry, times):
    _, watch, scraped = watched(registry, times)
    watch.beat()
    assert scraped.get_sample_value("sockwarden_registry_cache_hits_total") == 3
    assert scraped.get_sample_value("sockwarden_registry_seconds_total") == 1.5
