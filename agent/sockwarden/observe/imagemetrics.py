"""The numbers of the image list under their names for Prometheus.

Owns those names, their labels and the values that a label may have. No image and no registry is ever a label: their
names are chosen by others. Must not read anything: the service hands in plain numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden.observe.guardmetrics import Family, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

STATES: Final = ("resolved", "stale", "absent", "unresolved")
"""Of a reference: as its registry says; as it said before it fell silent; it has none; nobody has answered yet."""


def image_families(outcomes: Iterable[str]) -> tuple[Family, ...]:
    """Return every family; ``outcomes`` are how a question to a registry may end."""
    counter, gauge = Kind.COUNTER, Kind.GAUGE
    return (
        Family(gauge, "image_references", "References of the image list by what is known of them.", "state", STATES),
        Family(gauge, "image_oldest_answer_seconds", "Age of the oldest answer for a tag.", always=False),
        Family(counter, "registry_requests", "Questions to registries by how they ended.", "outcome", tuple(outcomes)),
        Family(counter, "registry_seconds", "Time that questions to registries took in all."),
        Family(counter, "registry_cache_hits", "Manifests that were known by their digest already."),
    )
