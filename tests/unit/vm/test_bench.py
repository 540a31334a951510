"""How figures of a machine become ratios: each round against its own connect() without a guard."""

from __future__ import annotations

import pytest
from tests.vm import bench

MEASURED = {
    "6.1 lsm": {
        "nanoseconds": {
            "none": [100, 200, 100],
            "other": [110, 220, 110],
            "allowed": [150, 300, 150],
            "denied": [90, 180, 90],
        },
        "start": [2.0, 3.0, 2.5],
        "canary": [0.5, 0.4, 0.6],
        "kib": [20480, 40960],
    }
}


def test_a_ratio_compares_within_its_round() -> None:
    assert bench.ratios({"none": [100, 400], "other": [150, 400]}, "other") == [1.5, 1.0]


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        bench.ratios({"none": [100], "other": [150, 400]}, "other")


def test_the_table_names_a_target_that_is_missed_and_only_that() -> None:
    lines = bench.table(MEASURED)
    assert [line.split()[-3:] for line in lines[1:3]] == [["1.10-1.10", "<=", "1.15"], ["<=", "1.45", "MISSED"]]


def test_the_table_tells_what_a_start_takes_with_its_canary() -> None:
    assert "start 2.50 s, of which the canary 0.50 s" in bench.table(MEASURED)[-1]
