"""Simulates how often a fleet of hosts asks registries: ``python -m bench.fleet``.

Owns the model: the timetable of the agent (``images.refresher``), its questions before a refusal
(``images.imagelist``), tags that move, and a nightly restart of all hosts within ten minutes. It draws, it never asks
anybody. The same options give the same table; ``--write FILE`` puts it between the marks in a page.

One question is a HEAD, and a GET for the index and for each platform where the digest is not known yet. Token servers
are not counted: with them each question to a registry costs one more, of another server.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.config import RegistryConfig
from sockwarden.images.imagelist import RECHECK_SECONDS
from sockwarden.images.refresher import JITTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
BEGIN: Final = "<!-- fleet: written by python -m bench.fleet --write -->"
END: Final = "<!-- fleet: end -->"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the hosts are and do. Rates are per hour; times are in seconds."""

    hosts: int = 10
    entries: int = 20
    platforms: int = 2
    refresh_seconds: float = RegistryConfig().refresh_seconds
    moves: float = 1 / (7 * 24)  # of one tag
    strangers: float = 1.0  # starts on one host of an image that has an entry's name and not its content
    restart_window: float = 600.0
    kept: bool = True
    seed: int = 1

    @property
    def whole(self) -> int:
        """Requests for an image of which nothing is known."""
        return 2 + self.platforms


@dataclass(frozen=True, slots=True)
class Load:
    """What the registries see of the second day, which begins with the restart of all hosts."""

    per_hour: float
    busiest_minute: int


def simulate(fleet: Fleet) -> Load:
    """Return the load of the second day; the first one lets the timetables drift apart as they do."""
    draw = random.Random(fleet.seed)
    moves = [list(_times(draw, fleet.moves)) for _ in range(fleet.entries)]
    minutes = [0] * int(2 * DAY / 60)
    for _ in range(fleet.hosts):
        start, restart = draw.uniform(0, fleet.restart_window), DAY + draw.uniform(0, fleet.restart_window)
        for entry in range(fleet.entries):
            strangers = list(_times(draw, fleet.strangers / fleet.entries))
            for at, cost in questions(fleet, draw, start, restart, moves[entry], strangers):
                minutes[int(at / 60)] += cost
    second = minutes[int(DAY / 60) :]
    return Load(sum(second) / 24, max(second))


def questions(
    fleet: Fleet,
    draw: random.Random,
    start: float,
    restart: float,
    moves: Sequence[float],
    strangers: Iterable[float],
) -> Iterator[tuple[float, int]]:
    """Yield when one host asks for one entry, and by how many requests."""
    waiting = iter([*strangers, 2 * DAY])
    stranger = next(waiting)
    at, known = start, False
    while at < 2 * DAY:
        yield at, 1 if known else fleet.whole
        last, due = at, at + fleet.refresh_seconds * draw.uniform(1 - JITTER, 1 + JITTER)
        known = True
        while stranger < min(due, last + RECHECK_SECONDS, 2 * DAY):
            stranger = next(waiting)  # the answer is young enough to refuse by
        at = min(due, stranger)
        if last < restart <= at and not fleet.kept:
            at, known = restart, False
        if any(last < move <= at for move in moves):
            known = False


def _times(draw: random.Random, per_hour: float) -> Iterator[float]:
    """Draw the times of events that know nothing of one another."""
    at = draw.expovariate(per_hour / HOUR)
    while at < 2 * DAY:
        yield at
        at += draw.expovariate(per_hour / HOUR)


def locked(fleet: Fleet) -> Load:
    """Return the load with a lock file: whoever writes it asks, once a day, and checks the one before."""
    daily = fleet.entries * (fleet.whole + 1)
    return Load(daily / 24, daily)


def table(fleet: Fleet, sizes: Sequence[int]) -> str:
    """Return the table in Markdown."""
    rows = [
        "| hosts | nothing kept over the restart | answers kept | with a lock file |",
        "|---:|---:|---:|---:|",
    ]
    for hosts in sizes:
        size = replace(fleet, hosts=hosts)
        loads = (simulate(replace(size, kept=False)), simulate(size), locked(size))
        rows.append(f"| {hosts:,} | {' | '.join(map(_cell, loads))} |")
    return "\n".join(rows) + "\n"


def _cell(load: Load) -> str:
    return f"{load.per_hour:,.0f} ({load.busiest_minute:,})"


def write(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page} has no marks for the table")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or write it into a page."""
    usual = Fleet()
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", default="10,100,1000,10000,100000", metavar="N,N", help="sizes of the fleet")
    parser.add_argument("--entries", type=int, default=usual.entries, help="tags in the image list")
    parser.add_argument("--platforms", type=int, default=usual.platforms, help="platforms of each image")
    parser.add_argument("--refresh", type=float, default=usual.refresh_seconds, help="registry.refresh in seconds")
    parser.add_argument("--moves", type=float, default=usual.moves * 24 * 7, help="moves of each tag in a week")
    parser.add_argument("--strangers", type=float, default=usual.strangers, help="refused starts per host and hour")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this page")
    said = parser.parse_args(arguments)
    fleet = replace(
        usual,
        entries=said.entries,
        platforms=said.platforms,
        refresh_seconds=said.refresh,
        moves=said.moves / 24 / 7,
        strangers=said.strangers,
    )
    text = table(fleet, [int(size) for size in said.hosts.split(",")])
    if said.write is None:
        sys.stdout.write(text)
    else:
        write(said.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
