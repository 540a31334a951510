from __future__ import annotations

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel.ladder import MODES, NOT_AUTOMATIC, RUNGS, GuardReport, Row, Rung, choose


def only(*names: str):
    """An attempt that only these rungs survive."""

    def attempt(rung: Rung) -> str:
        if rung.name in names:
            return "proved"
        raise KernelError(f"no {rung.name}", errno=22, remedy="upgrade")

    return attempt


def row(report: GuardReport, name: str) -> Row:
    return next(row for row in report.rows if row.name == name)


def test_auto_takes_the_best_rung_that_is_proved_and_holds() -> None:
    assert choose("auto", only("kprobe", "tracepoint")).rung.name == "tracepoint"


def test_a_rung_that_is_not_proved_yet_says_how_to_ask_for_it() -> None:
    found = row(choose("auto", only("lsm")), "lsm")
    assert found == Row("lsm", False, NOT_AUTOMATIC, 'set guard.mode = "lsm"')


def test_a_failed_rung_keeps_its_reason_and_remedy() -> None:
    assert row(choose("auto", only()), "tracepoint") == Row("tracepoint", False, "no tracepoint", "upgrade")


def test_a_rung_below_the_chosen_one_is_not_tried() -> None:
    assert row(choose("auto", only("tracepoint")), "none").reason == "not needed: tracepoint is in force"


def test_auto_falls_to_none_when_nothing_holds() -> None:
    assert choose("auto", only()).rung == RUNGS[-1]


def test_an_explicit_rung_is_the_only_one_tried() -> None:
    report = choose("tracepoint", only("fmod_ret", "tracepoint"))
    assert [row.name for row in report.rows if row.in_force] == ["tracepoint"]


def test_an_explicit_rung_that_cannot_be_had_is_refused_with_the_kernels_reason() -> None:
    with pytest.raises(KernelError, match="guard rung lsm cannot be had: no lsm") as caught:
        choose("lsm", only("fmod_ret"))
    assert (caught.value.errno, caught.value.remedy) == (22, "upgrade")


def test_none_is_never_attempted() -> None:
    assert choose("none", only()).rung.name == "none"


def test_an_unknown_mode_is_refused_with_the_modes_there_are() -> None:
    with pytest.raises(KernelError) as caught:
        choose("ebpf", only())
    assert all(mode in caught.value.remedy for mode in MODES)


@pytest.mark.parametrize("mode", MODES)
def test_every_report_has_one_row_per_rung_in_order(mode: str) -> None:
    report = choose(mode, only(*MODES))
    assert [row.name for row in report.rows] == [rung.name for rung in RUNGS]
