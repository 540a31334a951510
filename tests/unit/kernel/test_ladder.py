from __future__ import annotations

import pytest

from sockwarden.config import GuardConfig, GuardMode, RequiredRung
from sockwarden.errors import KernelError
from sockwarden.kernel.ladder import (
    BCC_NOT_NEEDED,
    MODES,
    NEEDS,
    RUNGS,
    GuardReport,
    Row,
    Rung,
    State,
    choose,
    ordered,
    rung_named,
    trial,
    with_words,
)
from sockwarden.kernel.probes import Answer

GOOD = ("btf", "libbpf", "capabilities", "lockdown", "lsm", "kprobes", "preempt", "reentry")


def answers(*missing: str) -> tuple[Answer, ...]:
    """A machine that has everything but these."""
    return tuple(Answer(name, name not in missing, f"reason of {name}", f"remedy of {name}") for name in GOOD)


def only(*names: str):
    """An attempt that only these rungs survive."""

    def attempt(rung: Rung) -> str:
        if rung.name in names:
            return "proved"
        raise KernelError(f"no {rung.name}", errno=22, remedy="upgrade")

    return attempt


def never(rung: Rung) -> str:
    raise AssertionError(f"{rung.name} must not be tried")


def row(report: GuardReport, name: str) -> Row:
    return next(row for row in report.rows if row.name == name)


@pytest.mark.parametrize(
    ("had", "chosen"),
    [
        (("fmod_ret", "lsm", "kprobe", "tracepoint"), "fmod_ret"),
        (("lsm", "kprobe", "tracepoint"), "lsm"),
        (("kprobe", "tracepoint"), "kprobe"),
        (("bcc", "tracepoint"), "tracepoint"),
        ((), "none"),
    ],
)
def test_auto_takes_the_best_rung_that_is_proved(had: tuple[str, ...], chosen: str) -> None:
    assert choose("auto", answers(), only(*had)).rung.name == chosen


def test_a_failed_rung_keeps_its_reason_and_remedy() -> None:
    assert row(choose("auto", answers(), only()), "lsm") == Row("lsm", State.REFUSED, "no lsm", "upgrade")


def test_a_rung_below_the_chosen_one_is_not_needed() -> None:
    found = row(choose("auto", answers(), only("fmod_ret")), "none")
    assert (found.state, found.reason) == (State.NOT_NEEDED, "fmod_ret is in force")


def test_bcc_is_not_needed_where_there_is_btf() -> None:
    found = row(choose("auto", answers(), only("bcc", "tracepoint")), "bcc")
    assert (found.state, found.reason) == (State.NOT_NEEDED, BCC_NOT_NEEDED)


def test_bcc_is_taken_where_there_is_no_btf() -> None:
    assert choose("auto", answers("btf"), only("bcc")).rung.name == "bcc"


def test_bcc_that_is_asked_for_by_name_is_tried_even_with_btf() -> None:
    assert choose("bcc", answers(), only("bcc")).rung.name == "bcc"


@pytest.mark.parametrize(("name", "need"), [(name, need) for name, needs in NEEDS.items() for need in needs])
def test_a_rung_that_lacks_what_it_needs_is_refused_without_a_try(name: str, need: str) -> None:
    with pytest.raises(KernelError, match=f"guard rung {name} cannot be had: reason of {need}") as caught:
        choose(name, answers(need), never)
    assert caught.value.remedy == f"remedy of {need}"


def test_auto_falls_to_none_when_nothing_holds() -> None:
    assert choose("auto", answers(), only()).rung == RUNGS[-1]


def test_an_explicit_rung_is_the_only_one_tried() -> None:
    report = choose("tracepoint", answers(), only("fmod_ret", "tracepoint"))
    assert [row.state for row in report.rows] == [State.NOT_TRIED] * 4 + [State.IN_FORCE, State.NOT_NEEDED]


def test_an_explicit_rung_that_cannot_be_had_is_refused_with_the_kernels_reason() -> None:
    with pytest.raises(KernelError, match="guard rung lsm cannot be had: no lsm") as caught:
        choose("lsm", answers(), only("fmod_ret"))
    assert caught.value.remedy == "upgrade"


def test_none_is_never_attempted() -> None:
    assert choose("none", answers(), never).rung.name == "none"


def test_an_unknown_mode_is_refused_with_the_modes_there_are() -> None:
    with pytest.raises(KernelError) as caught:
        choose("ebpf", answers(), never)
    assert all(mode in caught.value.remedy for mode in MODES)


def test_an_unknown_requirement_is_refused_with_the_rungs_there_are() -> None:
    with pytest.raises(KernelError) as caught:
        choose("auto", answers(), never, "ebpf")
    assert all(rung.name in caught.value.remedy for rung in RUNGS)


@pytest.mark.parametrize("mode", MODES)
def test_every_report_has_one_row_per_rung(mode: str) -> None:
    report = choose(mode, answers(), only(*MODES))
    assert [row.name for row in report.rows] == [rung.name for rung in RUNGS]


@pytest.mark.parametrize(
    ("missing", "first"),
    [
        ((), "fmod_ret"),
        (("preempt",), "lsm"),
        (("preempt", "lsm"), "fmod_ret"),
        (("preempt", "reentry"), "fmod_ret"),
        (("lsm",), "fmod_ret"),
    ],
)
def test_lsm_comes_first_only_where_tracing_programs_can_be_skipped_and_it_cannot(
    missing: tuple[str, ...], first: str
) -> None:
    order = ordered(answers(*missing))
    assert order[0].name == first
    assert set(order) == set(RUNGS)


def test_where_lsm_comes_first_and_fails_fmod_ret_is_still_tried() -> None:
    assert choose("auto", answers("preempt"), only("fmod_ret")).rung.name == "fmod_ret"


@pytest.mark.parametrize(("required", "had"), [("fmod_ret", "lsm"), ("lsm", "fmod_ret"), ("kprobe", "lsm")])
def test_a_requirement_is_met_by_a_rung_as_strong_or_stronger(required: str, had: str) -> None:
    assert choose("auto", answers(), only(had), required).rung.name == had


def test_an_unmet_requirement_names_what_every_better_rung_lacked() -> None:
    with pytest.raises(KernelError) as caught:
        choose("auto", answers("lockdown"), only("kprobe"), "lsm")
    assert str(caught.value) == (
        "guard.required is lsm, and no rung as strong can be had: fmod_ret: reason of lockdown; lsm: reason of lockdown"
    )
    assert caught.value.remedy == "remedy of lockdown"


def test_what_is_weaker_than_required_is_not_tried() -> None:
    tried: list[str] = []

    def attempt(rung: Rung) -> str:
        tried.append(rung.name)
        raise KernelError("no")

    with pytest.raises(KernelError) as caught:
        choose("auto", answers(), attempt, "lsm")
    assert tried == ["fmod_ret", "lsm"]
    assert caught.value.remedy


def test_a_mode_below_the_requirement_is_refused() -> None:
    with pytest.raises(KernelError, match="the rung that is asked for, tracepoint, is weaker"):
        choose("tracepoint", answers(), never, "kprobe")


@pytest.mark.parametrize(
    ("had", "missing", "gap"),
    [
        ("fmod_ret", (), False),
        ("fmod_ret", ("preempt", "lsm"), True),
        ("lsm", ("preempt",), False),
        ("lsm", ("preempt", "reentry"), True),
        ("kprobe", ("preempt",), False),
    ],
)
def test_a_wall_that_the_kernel_can_skip_has_a_gap(had: str, missing: tuple[str, ...], gap: bool) -> None:
    assert bool(choose("auto", answers(*missing), only(had)).gap) is gap


def test_a_kernel_that_does_not_say_how_it_preempts_is_no_gap_that_is_known() -> None:
    unknown = Answer("preempt", ok=False, reason="unknown", told=False)
    found = (*(answer for answer in answers() if answer.name != "preempt"), unknown)
    assert choose("fmod_ret", found, only("fmod_ret")).gap == ""


def test_a_trial_proves_every_rung_and_chooses_none() -> None:
    rows = trial(answers(), only("fmod_ret", "tracepoint"))
    assert {row.name: row.state for row in rows} == {
        "fmod_ret": State.PROVED,
        "lsm": State.REFUSED,
        "kprobe": State.REFUSED,
        "bcc": State.NOT_NEEDED,
        "tracepoint": State.PROVED,
        "none": State.PROVED,
    }


def test_a_survey_without_a_trial_says_what_lacks() -> None:
    rows = trial(answers("kprobes"), None)
    assert [row.state for row in rows if row.name in ("fmod_ret", "kprobe")] == [State.NOT_TRIED, State.REFUSED]


@pytest.mark.parametrize("required", RequiredRung)
@pytest.mark.parametrize("mode", [mode for mode in GuardMode if mode is not GuardMode.AUTO])
def test_the_configuration_knows_which_rung_is_weaker(mode: GuardMode, required: RequiredRung) -> None:
    weaker = rung_named(mode.value).strength < rung_named(required.value).strength
    assert bool(GuardConfig(mode, required).contradiction) is weaker


def test_the_configuration_has_every_mode_and_rung() -> None:
    assert {mode.value for mode in GuardMode} == set(MODES)
    assert {rung.value for rung in RequiredRung} == {rung.name for rung in RUNGS}


def test_what_was_done_beside_stands_in_the_row_that_is_in_force() -> None:
    before = choose("kprobe", answers(), only("kprobe"))
    after = with_words(before, "ends with the agent")
    assert [row.reason for row in after.rows if row.in_force] == ["proved; ends with the agent"]
    assert [row for row in after.rows if not row.in_force] == [row for row in before.rows if not row.in_force]


def test_nothing_done_beside_changes_nothing() -> None:
    report = choose("kprobe", answers(), only("kprobe"))
    assert with_words(report, "") == report
