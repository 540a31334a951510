"""The numbers of the kernel guard under their names for Prometheus.

Owns those names, their labels and the values that a label may have, all of which exist from the start. What is not
declared here is not told. Must not read anything: the pulse hands in plain numbers.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sockwarden.abi import GuardStat, SocketClass, TrackStat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric


class Kind(enum.Enum):
    """What a family's numbers do."""

    COUNTER = CounterMetricFamily
    GAUGE = GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``label`` is "" where there is one number only; a counter's name ends with ``_total`` when told.

    ``always``: it is told from the start, with 0.
    """

    kind: Kind
    name: str
    text: str
    label: str = ""
    values: tuple[str, ...] = ()
    always: bool = True


def label_of(member: enum.Enum) -> str:
    """Return the label value that stands for a member of an enum."""
    return member.name.lower()


_CLASSES: Final = tuple(label_of(which) for which in SocketClass if which is not SocketClass.NONE)


def families(rungs: Iterable[str], maps: Iterable[str], programs: Iterable[str]) -> tuple[Family, ...]:
    """Return every family, with the label values that may ever occur."""
    counter, gauge = Kind.COUNTER, Kind.GAUGE
    rungs, maps, programs = tuple(rungs), tuple(maps), tuple(programs)
    connects, life = tuple(map(label_of, GuardStat)), tuple(map(label_of, TrackStat))
    rings = ("connects", "life")
    return (
        Family(counter, "guard_connects", "Connects by what the kernel's programs made of them.", "outcome", connects),
        Family(counter, "guard_life", "Events of container life by what became of them.", "outcome", life),
        Family(counter, "guard_records", "Records that the kernel put into a ring.", "ring", rings),
        Family(counter, "guard_records_dropped", "Records that a ring had no room for.", "ring", rings),
        Family(counter, "guard_records_muted", "Records over the budget of their cgroup.", "ring", rings),
        Family(counter, "guard_undecodable", "Records that this version cannot read."),
        Family(counter, "guard_sweeps", "Looks at who holds a connection.", "result", ("done", "failed")),
        Family(gauge, "guard_cgroups", "Cgroups whose paths are known."),
        Family(counter, "guard_cgroups_evicted", "Cgroups that were forgotten because there were too many."),
        Family(gauge, "guard_map_entries", "Entries of a map, counted every 15 seconds.", "map", maps),
        Family(gauge, "guard_map_capacity", "Entries that a map has room for.", "map", maps),
        Family(counter, "guard_missed", "Runs that the kernel skipped: nothing was judged.", "program", programs),
        Family(counter, "guard_runs", "Runs, where kernel.bpf_stats_enabled is on.", "program", programs),
        Family(counter, "guard_run_seconds", "Time spent, where kernel.bpf_stats_enabled is on.", "program", programs),
        Family(gauge, "guard_rung", "1 for the rung in force.", "rung", rungs),
        Family(gauge, "guard_pinned", "Whether the guard outlives the agent."),
        Family(gauge, "guard_sockets", "Sockets under guard.", "class", _CLASSES),
        Family(gauge, "guard_waiting_paths", "Paths that are to be guarded once there is a socket."),
        Family(gauge, "guard_denied_cgroups", "Containers that the kernel keeps from the gateway for a while."),
        Family(gauge, "guard_canary_held", "Whether the canary's last connect ended as it must.", always=False),
        Family(gauge, "guard_canary_age_seconds", "Since the canary was last held.", always=False),
        Family(counter, "guard_canary_flights", "Flights of the canary.", "result", ("held", "failed")),
    )


class GuardMetrics:
    """The last numbers of each family. ``set`` belongs to the event loop, ``collect`` to a scrape's thread."""

    def __init__(self, declared: Iterable[Family]) -> None:
        self._families: Final = {family.name: family for family in declared}
        self._numbers: Final[dict[str, Mapping[str, float]]] = {
            name: dict.fromkeys(family.values if family.label else ("",), 0.0) if family.always else {}
            for name, family in self._families.items()
        }

    def set(self, name: str, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a family by its label's values; values that were not declared are left out.

        What is missing goes on as 0, so that a series never vanishes.
        """
        family = self._families[name]
        self._numbers[name] = {value: numbers.get(value, 0.0) for value in family.values}

    def set_one(self, name: str, number: float | None) -> None:
        """Take the number of a family without a label; None: there is none."""
        self._numbers[name] = {} if number is None else {"": number}

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        for family in self._families.values():
            numbers = self._numbers[family.name]
            if family.label:
                metric = family.kind.value(f"sockwarden_{family.name}", family.text, labels=[family.label])
                for value, number in numbers.items():
                    metric.add_metric([value], number)
            else:
                metric = family.kind.value(f"sockwarden_{family.name}", family.text)
                for number in numbers.values():
                    metric.add_metric([], number)
            yield metric
