"""What the benchmark prints and writes: tables for people, JSON for programs, and a closing line. No measuring here."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import cells, machine, table
from bench.figures import Target, number

if TYPE_CHECKING:
    from pathlib import Path

    from bench.decisions import Cost
    from bench.footprint import Reading
    from bench.rounds import Results
    from bench.table import Line


@dataclass(slots=True)
class Report:
    """Everything that one run found."""

    rounds: int
    results: Results
    lines: list[Line] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    logged: str = ""

    def render(self) -> str:
        """Return the tables, with the noise of the host below them."""
        parts = []
        if self.lines:
            parts.append(f"{self.rounds} interleaved rounds; medians, and sockwarden's ratios [lowest-highest round]")
            parts.append(table.render(self.lines))
        if self.readings:
            parts += ["memory of the proxies", _render_memory(self.readings)]
        if self.costs:
            parts += ["one decision, in the agent's own Python", _render_decisions(self.costs)]
        parts.append(_noise(self.results))
        if self.logged:
            parts.append(f"logged meanwhile: {self.logged}")
        return "\n\n".join(parts)

    def closing(self, seconds: float) -> str:
        """Return the last line: how many targets were reached."""
        answers = [line.reached for line in self.lines] + [reading.reached for reading in self.readings]
        judged = [answer for answer in answers if answer is not None]
        judged += [target.reached(value) for cost in self.costs for target, value in _limits(cost)]
        broken = len(self.results.broken)
        return f"bench: {sum(judged)} of {len(judged)} targets reached, {broken} cells broken, in {seconds:.0f} s"

    def write(self, path: Path) -> None:
        """Write every figure of every round as JSON."""
        document = {
            "host": machine.describe(),
            "idle": self.results.idle,
            "steal": self.results.steal,
            "broken": self.results.broken,
            "figures": self.results.figures,
            "table": [dataclasses.asdict(line) for line in self.lines],
            "decisions": [dataclasses.asdict(cost) for cost in self.costs],
            "memory": [dataclasses.asdict(reading) | {"reached": reading.reached} for reading in self.readings],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def _render_memory(readings: list[Reading]) -> str:
    proxies = cells.ALL_WAYS[1:]
    by_title: dict[str, dict[str, Reading]] = {}
    for reading in readings:
        by_title.setdefault(f"{reading.title}, {reading.unit}", {})[reading.way] = reading
    rows: list[tuple[str, ...]] = [("", *proxies, "target", "reached")]
    for title, by_way in by_title.items():
        shown = [number(by_way[way].value) if way in by_way else "-" for way in proxies]
        own = by_way.get(cells.SOCKWARDEN)
        rows.append((title, *shown, str((own and own.target) or "-"), table.verdict(own.reached if own else None)))
    return table.columns(rows)


def _render_decisions(costs: list[Cost]) -> str:
    rows: list[tuple[str, ...]] = [("", "median us", "worst us", "target", "reached")]
    for cost in costs:
        limits = [f"{cost.median_target}" if cost.median_target else "-"]
        limits += [f"worst {cost.worst_target}"] if cost.worst_target else []
        reached = [limit.reached(value) for limit, value in _limits(cost)]
        verdict = table.verdict(all(reached) if reached else None)
        rows.append((cost.title, f"{cost.median:.2f}", f"{cost.worst:.2f}", ", ".join(limits), verdict))
    return table.columns(rows) + "\n\n" + f"dearest route: {costs[0].worst_request}"


def _limits(cost: Cost) -> list[tuple[Target, float]]:
    pairs = ((cost.median_target, cost.median), (cost.worst_target, cost.worst))
    return [(target, value) for target, value in pairs if target]


def _noise(results: Results) -> str:
    if not results.steal:
        return "host: nothing measured"
    idle, steal = statistics.median(results.idle), statistics.median(results.steal)
    return (
        f"host: {machine.describe()}; of the time of a cell idle {idle:.0%} (median), stolen by the hypervisor "
        f"{steal:.1%} (median), {max(results.steal):.0%} (worst of {len(results.steal)} cells)"
    )
