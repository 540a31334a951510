import pytest
from bench.figures import Spread, Target, differences, number, ratios, spread


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)


def test_nothing_measured_has_no_spread() -> None:
    assert spread([]) is None


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios([10.0, 40.0], [5.0, 10.0]) == [2.0, 4.0]


@pytest.mark.parametrize(("upper", "lower"), [(None, 1.0), (1.0, None), (1.0, 0.0), (1.0, -2.0)])
def test_a_round_that_cannot_be_compared_does_not_count(upper: float | None, lower: float | None) -> None:
    assert ratios([upper, 6.0], [lower, 3.0]) == [2.0]


def test_a_difference_needs_both_figures() -> None:
    assert differences([5.0, None, 5.0], [3.0, 3.0, None]) == [2.0, None, None]


def test_a_target_below_a_bound_is_reached_at_the_bound() -> None:
    assert Target("<=", 0.6, "HAProxy").reached(0.6)


def test_a_target_above_a_bound_is_missed_below_it() -> None:
    assert not Target(">=", 1.3, "HAProxy").reached(1.29)


def test_a_target_with_another_comparison_cannot_exist() -> None:
    with pytest.raises(AssertionError, match="no such comparison"):
        Target("<", 1.0)


def test_a_relative_target_says_what_it_is_a_multiple_of() -> None:
    assert str(Target(">=", 1.3, "HAProxy")) == ">= 1.3 x HAProxy"


def test_an_absolute_target_says_its_unit() -> None:
    assert str(Target("<=", 40, unit="MiB")) == "<= 40 MiB"


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12346"), (99.94, "99.9"), (1.234, "1.23"), (-150.2, "-150")])
def test_a_figure_is_written_with_the_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text
