from bench.cells import CELLS, DIRECT, HAPROXY, QUICK, SOCKWARDEN
from bench.figures import Spread, Target
from bench.rounds import Results, derive
from bench.table import ROWS, Row, columns, fill, lines, render

RATE = Row("rate", "keep8", "rps", Target(">=", 1.3, HAPROXY))
ADDED = Row("added", "keep1", "p50_us", Target("<=", 0.6, HAPROXY), added=True)


def results(cell: str, name: str, **series: list[float | None]) -> Results:
    entries = {
        {"direct": DIRECT, "haproxy": HAPROXY, "sockwarden": SOCKWARDEN}[way]: [
            None if value is None else {name: value} for value in values
        ]
        for way, values in series.items()
    }
    return Results(figures={cell: entries})


def test_a_row_compares_round_by_round() -> None:
    line = fill(RATE, results("keep8", "rps", haproxy=[10, 20, 10], sockwarden=[20, 30, 15]))
    assert line is not None
    assert line.ratios[HAPROXY] == Spread(1.5, 1.5, 2.0)


def test_a_target_is_judged_by_the_median_ratio() -> None:
    line = fill(RATE, results("keep8", "rps", haproxy=[10, 10, 10], sockwarden=[5, 14, 15]))
    assert line is not None
    assert line.reached is True


def test_an_added_latency_leaves_out_what_the_direct_road_costs() -> None:
    line = fill(ADDED, results("keep1", "p50_us", direct=[20], haproxy=[120], sockwarden=[70]))
    assert line is not None
    assert line.medians == {HAPROXY: 100, SOCKWARDEN: 50}
    assert line.ratios[HAPROXY].median == 0.5


def test_a_row_without_a_figure_to_compare_with_is_not_judged() -> None:
    line = fill(RATE, results("keep8", "rps", sockwarden=[20]))
    assert line is not None
    assert line.reached is None


def test_a_failed_round_is_left_out() -> None:
    line = fill(RATE, results("keep8", "rps", haproxy=[None, 10], sockwarden=[20, 30]))
    assert line is not None
    assert line.ratios[HAPROXY].median == 3.0


def test_rows_of_which_nothing_was_measured_do_not_appear() -> None:
    assert lines(Results()) == []


def test_the_table_says_whether_a_target_was_reached() -> None:
    text = render(lines(results("keep8", "rps", haproxy=[10], sockwarden=[20])))
    assert ">= 1.3 x HAProxy  yes" in text.splitlines()[1]


def test_columns_are_aligned() -> None:
    assert columns([("a", "1", "t", "r"), ("bb", "22", "tt", "rr")]) == "a    1  t   r\nbb  22  tt  rr"


def test_every_row_shows_a_cell_that_exists() -> None:
    assert {row.cell for row in ROWS} <= {cell.name for cell in CELLS}


def test_the_load_generator_gets_plain_arguments() -> None:
    commands = [cell.command("/s", QUICK) for cell in CELLS]
    assert not any("{" in argument for command in commands for argument in command)


def test_cpu_time_is_given_per_request() -> None:
    assert derive({"requests": 1000, "seconds": 0.5}, 0.05)["cpu_us"] == 50


def test_cpu_time_of_a_body_is_given_per_gigabyte() -> None:
    assert derive({"bytes": 2e9, "seconds": 0.5}, 0.5) == {"bytes": 2e9, "seconds": 0.5, "mbps": 4000, "cpu_s_gb": 0.25}


def test_streams_that_came_back_whole_are_given_as_a_share() -> None:
    assert derive({"count": 50, "right": 49}, None)["right_share"] == 0.98
