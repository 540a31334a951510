"""The simulation of a fleet: it is the agent's own timetable, and the page shows what it says."""

import asyncio
import itertools
import random
import re
from pathlib import Path
from typing import Any

import pytest
from bench import fleet

from sockwarden.images.endpoints import Repository
from sockwarden.images.refresher import Refresher
from sockwarden.images.resolver import Resolver, Target

PAGE = Path(__file__).resolve().parents[3] / "docs" / "performance.md"
SMALL = fleet.Fleet(hosts=3, entries=5)


class Registry:
    """Counts what it is asked; nothing ever moves."""

    asked = 0

    async def head(self, _repository: Any, _reference: str) -> str:
        self.asked += 1
        return "sha256:" + "0" * 64


class OneDigest(Resolver):
    async def closure(self, _repository: Any, digest: str) -> frozenset[str]:
        return frozenset({digest})


def asked_by_the_agent(entries: int, days: float) -> int:
    """Let the agent's own refresher run by a clock that jumps from one due time to the next."""
    now = 0.0
    registry = Registry()
    targets = [Target(Repository("reg.example", f"app{number}"), "1") for number in range(entries)]

    async def run() -> None:
        nonlocal now
        resolver = OneDigest(registry, clock=lambda: now)  # type: ignore[arg-type]
        resolver.add(targets)
        refresher = Refresher(resolver, targets, SMALL.refresh_seconds)
        while now < days * fleet.DAY:
            await refresher.sweep([target for target in targets if refresher.due_at(target) <= now], lambda _: None)
            now = min(map(refresher.due_at, targets))

    asyncio.run(run())
    return registry.asked


def test_the_model_asks_as_often_as_the_agent_does():
    draw = random.Random(7)
    quiet = fleet.Fleet(entries=40)
    model = sum(
        1 for _ in range(quiet.entries) for at, _ in fleet.questions(quiet, draw, 0.0, 2 * fleet.DAY, (), ()) if at >= 0
    )
    assert asked_by_the_agent(quiet.entries, 2) == pytest.approx(model, rel=0.05)


def test_the_same_options_give_the_same_load():
    assert fleet.simulate(SMALL) == fleet.simulate(SMALL)


def test_a_restart_is_a_peak_only_where_nothing_is_kept():
    forgetful = fleet.Fleet(hosts=200, kept=False)
    kept = fleet.Fleet(hosts=200)
    assert fleet.simulate(forgetful).busiest_minute > 10 * fleet.simulate(kept).busiest_minute


def test_an_image_that_moved_costs_its_parts_once():
    times = fleet.questions(SMALL, random.Random(1), 0.0, 2 * fleet.DAY, [8 * fleet.HOUR], ())
    costs = [cost for _, cost in itertools.islice(times, 5)]
    assert costs == [SMALL.whole, 1, SMALL.whole, 1, 1]


def test_two_strangers_at_once_cost_one_question():
    strangers = [fleet.HOUR, fleet.HOUR + 1, 2 * fleet.HOUR]
    times = [at for at, _ in fleet.questions(SMALL, random.Random(1), 0.0, 2 * fleet.DAY, (), strangers)]
    assert times[1:3] == [fleet.HOUR, 2 * fleet.HOUR]


def test_a_lock_file_makes_the_number_of_hosts_irrelevant():
    assert fleet.locked(fleet.Fleet(hosts=10)) == fleet.locked(fleet.Fleet(hosts=100_000))


def test_the_page_shows_what_the_simulation_says():
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"^\| [\d,]+ \|.*$", text.partition(fleet.BEGIN)[2].partition(fleet.END)[0], re.MULTILINE)
    assert len(shown) == 5
    assert shown[:2] == fleet.table(fleet.Fleet(), [10, 100]).splitlines()[2:]


def test_a_table_is_written_between_the_marks_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{fleet.BEGIN}\nold\n{fleet.END}\nafter\n")
    fleet.main(["--hosts", "1", "--write", str(page)])
    text = page.read_text()
    assert text.startswith(f"before\n{fleet.BEGIN}\n\n| hosts |")
    assert text.endswith(f"{fleet.END}\nafter\n")
    assert "old" not in text


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit):
        fleet.main(["--hosts", "1", "--write", str(page)])


def test_the_table_is_printed(capsys):
    fleet.main(["--hosts", "1,2", "--entries", "3"])
    assert len(capsys.readouterr().out.splitlines()) == 4
