"""What is said of many rows: every row has its line, in the order of the matrix, with what did not hold."""

from __future__ import annotations

from tests.vm import run
from tests.vm.machine import Case, Ending
from tests.vm.rows import ROWS

HELD = Case("lsm: direct", ok=True, seconds=0.5, said="")
FAILED = Case("lsm: symlink", ok=False, seconds=0.5, said="found 0,\nwanted 1")


def test_a_table_has_a_line_for_each_row_in_order() -> None:
    endings = {"one": Ending(61.0, (HELD,), {}, ""), "other": Ending(9.0, (HELD, FAILED), {}, "")}
    assert [line.split() for line in run.table(endings)] == [
        ["lsm", "seconds"],
        ["one", "1/1", "61"],
        ["other", "1/2", "9"],
    ]


def test_a_row_that_played_nothing_has_its_line_too() -> None:
    lines = run.table({"one": Ending(61.0, (HELD,), {}, ""), "none": Ending(0.0, (), {}, "not begun")})
    assert lines[-1].split() == ["none", "0"]


def test_a_failure_is_told_with_all_that_it_said() -> None:
    assert run.troubles(ROWS[0], Ending(1.0, (HELD, FAILED), {}, "")) == [
        "  FAILED lsm: symlink",
        "    found 0,",
        "    wanted 1",
    ]


def test_trouble_names_the_console() -> None:
    (line,) = run.troubles(ROWS[0], Ending(1.0, (), {}, "went down"))
    assert line.startswith("  TROUBLE went down; ")
    assert f"{ROWS[0].name}.log" in line


def test_at_least_one_machine_runs_at_a_time() -> None:
    assert run.default_jobs() >= 1


def test_no_two_rows_have_one_name() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
