"""Brings the numbers of the image list up to date for metrics.

Owns how often they are counted. Must never ask a registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden.images.registry import Outcome
from sockwarden.observe.guardmetrics import GuardMetrics
from sockwarden.observe.imagemetrics import STATES, image_families

if TYPE_CHECKING:
    from sockwarden.images.resolver import Record, Resolver

COUNT_SECONDS: Final = 15.0
"""Between two counts: 10,000 references take some milliseconds, and Prometheus asks every 15 seconds or less often."""


def image_metrics() -> GuardMetrics:
    """Return the metrics of the image list with every label value that may ever occur."""
    return GuardMetrics(image_families(outcome.value for outcome in Outcome))


class ImageWatch:
    """Counts what the resolver knows and what its registry client was asked."""

    def __init__(self, resolver: Resolver, metrics: GuardMetrics) -> None:
        """Begin with the next beat."""
        self._resolver: Final = resolver
        self._metrics: Final = metrics
        self._next = 0.0

    def beat(self) -> None:
        """Count if it is time; call it about once a second."""
        client = self._resolver.client
        self._metrics.set("registry_requests", {outcome.value: count for outcome, count in client.requests.items()})
        self._metrics.set_one("registry_seconds", client.seconds)
        self._metrics.set_one("registry_cache_hits", client.cache_hits)
        now = self._resolver.clock()
        if now < self._next:
            return
        self._next = now + COUNT_SECONDS
        states = dict.fromkeys(STATES, 0)
        answered = []
        for record in self._resolver.records():
            states[_state(record)] += 1
            if record.answered_at is not None and not record.target.pinned:  # a digest means the same for ever
                answered.append(record.answered_at)
        self._metrics.set("image_references", states)
        self._metrics.set_one("image_oldest_answer_seconds", now - min(answered) if answered else None)


def _state(record: Record) -> str:
    if record.members:
        return "resolved" if record.error is None else "stale"
    return "unresolved" if record.answered_at is None else "absent"
