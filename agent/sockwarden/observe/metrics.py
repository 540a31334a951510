"""The agent's own numbers, and their names for Prometheus.

Owns every metric name, its labels and their values. All label sets exist from the start, so that nothing a client
sends can add one: no image, container or path is ever a label. The request path only adds to plain numbers; names and
text are made when somebody scrapes. All ``count`` methods belong to the one thread of the event loop.
"""

from __future__ import annotations

import enum
import platform
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from sockwarden.model import Client, ContainerClient, HostClient, IdentitySource, Rule
from sockwarden.observe.guardmetrics import GuardMetrics, families
from sockwarden.observe.imagemetrics import image_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

OTHER: Final = "other"
"""The label of every command or event kind that was not declared up front."""

SECOND_BUCKETS: Final = (
    1e-06, 2.5e-06, 5e-06, 1e-05, 2.5e-05, 5e-05, 1e-04, 2.5e-04, 5e-04, 1e-03, 2.5e-03, 5e-03, 0.01, 0.025, 0.1, 1.0,
)  # fmt: skip
"""A command-list decision takes 1 to 5 us, judging a create body about 50 us, asking the engine milliseconds."""


class ClientKind(enum.Enum):
    """What a connection's peer is."""

    HOST = "host"
    CONTAINER = "container"
    UNKNOWN = "unknown"


class Decision(enum.Enum):
    """How a request ended. The value is the stable name in metrics and audit records."""

    ALLOW = "allow"
    DENY = "deny"
    WOULD_DENY = "would_deny"  # audit mode: it passed, and enforce mode would have refused it


def kind_of(client: Client) -> ClientKind:
    """Return the label for a client."""
    if isinstance(client, HostClient):
        return ClientKind.HOST
    return ClientKind.CONTAINER if isinstance(client, ContainerClient) else ClientKind.UNKNOWN


class Metrics(Collector):
    """All numbers of one agent; also the collector that exports them.

    ``commands`` and ``guard_kinds`` are all label values that may ever occur; anything else counts as "other".
    ``guard`` holds what the kernel's side tells of itself, ``images`` what is known of the image list.
    """

    def __init__(
        self,
        version: str,
        commands: Iterable[str],
        guard_kinds: Iterable[str] = (),
        guard: GuardMetrics | None = None,
        images: GuardMetrics | None = None,
    ) -> None:
        self._version: Final = version
        self.guard: Final = guard or GuardMetrics(families((), (), ()))
        self.images: Final = images or GuardMetrics(image_families(()))
        self._identities: Final = dict.fromkeys(IdentitySource, 0)
        self._connections: Final = dict.fromkeys(ClientKind, 0)
        self._requests: Final = {decision: dict.fromkeys((*commands, OTHER), 0) for decision in Decision}
        self._denials: Final = dict.fromkeys(Rule, 0)
        self._guard_events: Final = dict.fromkeys((*guard_kinds, OTHER), 0)
        self._decision_counts: Final = [0] * (len(SECOND_BUCKETS) + 1)
        self._decision_seconds = 0.0
        self._modes: dict[str, str] = {}
        self.guard_lost_events = 0
        self.kills = 0
        self.policy_generation = 0
        self.policy_reload_failures = 0
        self.open_connections = 0
        self.audit_lost = 0
        self.engine_up = False

    def count_connection(self, kind: ClientKind) -> None:
        """Count an accepted connection whose peer has been placed."""
        self._connections[kind] += 1

    def count_identity(self, source: IdentitySource) -> None:
        """Count a peer by how it was identified."""
        self._identities[source] += 1

    @property
    def identities(self) -> Mapping[IdentitySource, int]:
        """How many peers were identified by each source."""
        return self._identities

    def count_request(self, command: str, decision: Decision, seconds: float) -> None:
        """Count a decided request. ``seconds`` is what the decision took."""
        counts = self._requests[decision]
        counts[command if command in counts else OTHER] += 1
        self._decision_counts[bisect_left(SECOND_BUCKETS, seconds)] += 1
        self._decision_seconds += seconds

    def count_denial(self, rule: Rule) -> None:
        """Count a refusal by the rule that refused."""
        self._denials[rule] += 1

    def count_guard_event(self, kind: str) -> None:
        """Count an event of the kernel guard."""
        self._guard_events[kind if kind in self._guard_events else OTHER] += 1

    def set_modes(self, modes: Mapping[str, str]) -> None:
        """Set the labels of ``sockwarden_mode_info``, as mode, guard and takeover."""
        self._modes = dict(modes)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; called by a scrape, on its own thread."""
        yield from self._collect_clients()
        yield from self._collect_guard()
        yield from self.images.collect()
        yield _gauge(
            "policy_generation", "Generation of the policy in force; it grows with each reload.", self.policy_generation
        )
        yield _counter(
            "policy_reload_failures", "Policy files that were refused on reload.", self.policy_reload_failures
        )
        yield _counter("audit_lost", "Audit records that could not be written.", self.audit_lost)
        yield _gauge("engine_up", "Whether the engine answered when it was last asked.", int(self.engine_up))
        yield InfoMetricFamily("sockwarden_mode", "How the agent runs.", value=self._modes)
        python = platform.python_version()
        yield InfoMetricFamily("sockwarden_build", "What runs.", value={"version": self._version, "python": python})

    def _collect_clients(self) -> Iterator[Metric]:
        connections = CounterMetricFamily(
            "sockwarden_connections", "Accepted connections by what their peer is.", labels=["client"]
        )
        for kind, count in self._connections.items():
            connections.add_metric([kind.value], count)
        yield connections
        identities = CounterMetricFamily(
            "sockwarden_identities", "Peers by how they were identified.", labels=["source"]
        )
        for source, count in self._identities.items():
            identities.add_metric([source.value], count)
        yield identities
        requests = CounterMetricFamily(
            "sockwarden_requests", "Decided requests by docker command.", labels=["command", "decision"]
        )
        for decision, counts in self._requests.items():
            for command, count in counts.items():
                requests.add_metric([command, decision.value], count)
        yield requests
        denials = CounterMetricFamily("sockwarden_denials", "Refusals by the rule that refused.", labels=["rule"])
        for rule, count in self._denials.items():
            denials.add_metric([rule.value], count)
        yield denials
        histogram = HistogramMetricFamily("sockwarden_decision_seconds", "What a decision took.")
        buckets, below = [], 0
        for bound, count in zip((*map(str, SECOND_BUCKETS), "+Inf"), self._decision_counts, strict=True):
            below += count
            buckets.append((bound, below))
        histogram.add_metric([], buckets, self._decision_seconds)
        yield histogram
        yield _gauge("open_connections", "Client connections that are open.", self.open_connections)

    def _collect_guard(self) -> Iterator[Metric]:
        events = CounterMetricFamily("sockwarden_guard_events", "Events of the kernel guard.", labels=["kind"])
        for kind, count in self._guard_events.items():
            events.add_metric([kind], count)
        yield events
        yield _counter("guard_lost_events", "Events that the ring buffer had no room for.", self.guard_lost_events)
        yield _counter("kills", "Processes that were killed.", self.kills)
        yield from self.guard.collect()


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """Return a registry of its own that holds these metrics and nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    return registry


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"sockwarden_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sockwarden_{name}", text, value=value)
