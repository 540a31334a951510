"""The table for people: which figure of which cell is a row, what its target is, and whether that was reached.

Pure. The targets are those of the project's performance page; a row without one is shown for its own sake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.cells import ALL_WAYS, DIRECT, HAPROXY, SOCKWARDEN, TUNED
from bench.figures import Spread, Target, differences, number, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rounds import Results


@dataclass(frozen=True, slots=True)
class Row:
    """One line. With ``added`` the direct figure of the same round is subtracted before anything is compared."""

    title: str
    cell: str
    figure: str
    target: Target | None = None
    added: bool = False


ROWS: Final = (
    Row("kept connection, added p50, us", "keep1", "p50_us", Target("<=", 0.6, HAPROXY), added=True),
    Row("kept connection, added p99, us", "keep1", "p99_us", Target("<=", 1.0, HAPROXY), added=True),
    Row("new connection, added p50, us", "new1", "p50_us", added=True),
    Row("new connection, added p99, us", "new1", "p99_us", added=True),
    Row("kept, 1 client, requests/s", "keep1", "rps"),
    Row("kept, 8 clients, requests/s", "keep8", "rps", Target(">=", 1.3, HAPROXY)),
    Row("kept, 64 clients, requests/s", "keep64", "rps", Target(">=", 1.3, HAPROXY)),
    Row("new, 1 client, requests/s", "new1", "rps", Target(">=", 1.2, HAPROXY)),
    Row("new, 8 clients, requests/s", "new8", "rps", Target(">=", 1.2, HAPROXY)),
    Row("kept, 1 client, CPU us/request", "keep1", "cpu_us", Target("<=", 0.8, HAPROXY)),
    Row("kept, 8 clients, CPU us/request", "keep8", "cpu_us", Target("<=", 0.8, HAPROXY)),
    Row("kept, 64 clients, CPU us/request", "keep64", "cpu_us", Target("<=", 0.8, HAPROXY)),
    Row("new, 1 client, CPU us/request", "new1", "cpu_us", Target("<=", 0.8, HAPROXY)),
    Row("download Content-Length, MB/s", "download", "mbps", Target(">=", 0.6, DIRECT)),
    Row("download chunked, MB/s", "download-chunked", "mbps"),
    Row("upload Content-Length, MB/s", "upload", "mbps", Target(">=", 0.9, DIRECT)),
    Row("upload chunked, MB/s", "upload-chunked", "mbps", Target(">=", 0.9, DIRECT)),
    Row("attach stream, MB/s", "attach-echo", "mbps", Target(">=", 0.6, DIRECT)),
    Row("exec stream, MB/s", "exec-echo", "mbps", Target(">=", 0.6, DIRECT)),
    Row("download Content-Length, CPU s/GB", "download", "cpu_s_gb"),
    Row("download chunked, CPU s/GB", "download-chunked", "cpu_s_gb"),
    Row("upload Content-Length, CPU s/GB", "upload", "cpu_s_gb"),
    Row("upload chunked, CPU s/GB", "upload-chunked", "cpu_s_gb"),
    Row("attach stream, CPU s/GB", "attach-echo", "cpu_s_gb"),
    Row("attach 64 B round trip p50, us", "attach-pingpong", "p50_us"),
    Row("attach 64 B round trip p99, us", "attach-pingpong", "p99_us"),
    Row("exec, half-closed, share that came back", "exec-halfclose", "right_share", Target(">=", 1.0, DIRECT)),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its figures: the median of each way, and sockwarden's ratio to each of the others."""

    title: str
    medians: dict[str, float]
    ratios: dict[str, Spread]
    target: Target | None
    reached: bool | None


def _series(row: Row, results: Results, way: str) -> list[float | None]:
    series = results.series(row.cell, way, row.figure)
    if not row.added:
        return series
    if way == DIRECT:
        return []
    return differences(series, results.series(row.cell, DIRECT, row.figure)) if series else []


def fill(row: Row, results: Results) -> Line | None:
    """Return the row's figures, or None when nothing of it was measured."""
    series = {way: _series(row, results, way) for way in ALL_WAYS}
    spreads = {way: spread([value for value in values if value is not None]) for way, values in series.items()}
    medians = {way: found.median for way, found in spreads.items() if found}
    if not medians:
        return None
    compared = {}
    for way in (DIRECT, HAPROXY, TUNED):
        if series[way] and series[SOCKWARDEN]:
            found = spread(ratios(series[SOCKWARDEN], series[way]))
            if found:
                compared[way] = found
    reached = None
    if row.target and row.target.against in compared:
        reached = row.target.reached(compared[row.target.against].median)
    return Line(row.title, medians, compared, row.target, reached)


def lines(results: Results, rows: Sequence[Row] = ROWS) -> list[Line]:
    """Return all rows of which something was measured."""
    return [line for row in rows if (line := fill(row, results))]


def verdict(reached: bool | None) -> str:
    """Return the last column."""
    return {True: "yes", False: "NO", None: "-"}[reached]


def render(filled: list[Line]) -> str:
    """Return the table. Ratios are sockwarden's median [lowest - highest] over the rounds."""
    head = ("", *ALL_WAYS, "x direct", "x HAProxy", "x tuned", "target", "reached")
    rows: list[tuple[str, ...]] = [head]
    for line in filled:
        medians = [number(line.medians[way]) if way in line.medians else "-" for way in ALL_WAYS]
        compared = [
            f"{r.median:.2f} [{r.low:.2f}-{r.high:.2f}]" if (r := line.ratios.get(way)) else "-"
            for way in (DIRECT, HAPROXY, TUNED)
        ]
        rows.append((line.title, *medians, *compared, str(line.target or "-"), verdict(line.reached)))
    return columns(rows)


def columns(rows: list[tuple[str, ...]]) -> str:
    """Align rows of equal length: the first and the last two columns to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = {0, len(widths) - 2, len(widths) - 1}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
