import email.utils
import re
import time
from typing import Any

import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Endpoint
from sockwarden.images.patience import (
    MAX_UNREACHABLE_SECONDS,
    MAX_WAIT_SECONDS,
    WAIT_JITTER,
    LimitedError,
    Patience,
    RateLimit,
)

REG = Endpoint("https://reg.example", "reg.example")
OTHER = Endpoint("https://other.example", "other.example")
DOWN = RegistryError("it is down", remedy="start it")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    def __init__(self, spread: Any = lambda least, _: least) -> None:
        self.clock = Clock()
        self.patience = Patience(self.clock, spread)

    def waits(self, endpoint: Endpoint = REG) -> float:
        """Return for how many whole seconds from now the endpoint is left alone."""
        began = self.clock.now
        try:
            for seconds in range(3000):
                self.clock.now = began + seconds
                try:
                    self.patience.check(endpoint)
                except RegistryError:
                    continue
                return seconds
        finally:
            self.clock.now = began
        raise AssertionError("it waits for ever")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_endpoint_that_nothing_is_known_of_is_asked(bench):
    assert bench.waits() == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("86400", MAX_WAIT_SECONDS),
        ("", 60),
        ("-5", 60),
        ("1.5", 60),
        ("next week", 60),
        ("Mon, 01 Jan 99999999 00:00:00 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("Thu, 01 Jan 1970 00:00:00 -0000", 1),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MAX_WAIT_SECONDS),
    ],
)
def test_a_retry_after_is_honoured_within_bounds(bench, header, seconds):
    error = bench.patience.limited(REG, "reg.example", header)
    assert bench.waits() == seconds
    assert re.fullmatch(rf"reg.example asked on [0-9:]{{8}} to be left alone for {seconds:.0f} seconds", str(error))


def test_a_date_is_honoured(bench):
    bench.patience.limited(REG, "reg.example", email.utils.formatdate(time.time() + 100, usegmt=True))
    assert 95 <= bench.waits() <= 100


def test_a_wait_is_longer_by_the_jitter_and_never_shorter():
    drawn = []

    def most(least: float, greatest: float) -> float:
        drawn.append((least, greatest))
        return greatest

    bench = Bench(most)
    bench.patience.limited(REG, "reg.example", "100")
    assert drawn == [(1, 1 + WAIT_JITTER)]
    assert bench.waits() == 110


def test_the_jitter_is_random_by_default():
    assert len({Patience(Clock())._spread(0, 1) for _ in range(3)}) == 3


def test_what_made_us_wait_is_told_meanwhile(bench):
    bench.patience.limited(REG, "reg.example", "9")
    with pytest.raises(LimitedError, match="left alone for 9 seconds") as caught:
        bench.patience.check(REG)
    assert "mirror" in caught.value.remedy


def test_another_endpoint_is_not_concerned(bench):
    bench.patience.limited(REG, "reg.example", "9")
    assert bench.waits(OTHER) == 0


def after_each_wait(bench: Bench, note: Any, times: int) -> list[float]:
    found = []
    for _ in range(times):
        note()
        found.append(bench.waits())
        bench.clock.now += found[-1]
    return found


def test_waits_without_a_retry_after_double(bench):
    waits = after_each_wait(bench, lambda: bench.patience.limited(REG, "reg.example", ""), 6)
    assert waits == [60, 120, 240, 480, 900, 900]


def test_waits_for_a_silent_registry_double(bench):
    waits = after_each_wait(bench, lambda: bench.patience.unreachable(REG, DOWN), 5)
    assert waits == [5, 10, 20, MAX_UNREACHABLE_SECONDS, MAX_UNREACHABLE_SECONDS]


def test_a_very_long_silence_stays_at_the_longest_wait(bench):
    assert after_each_wait(bench, lambda: bench.patience.unreachable(REG, DOWN), 80)[-1] == MAX_UNREACHABLE_SECONDS


def test_questions_that_fail_together_count_once(bench):
    for _ in range(4):
        bench.patience.unreachable(REG, DOWN)
    assert bench.waits() == 5


def test_an_answer_ends_the_doubling(bench):
    after_each_wait(bench, lambda: bench.patience.unreachable(REG, DOWN), 3)
    bench.patience.answered(REG, {})
    assert after_each_wait(bench, lambda: bench.patience.unreachable(REG, DOWN), 1) == [5]


@pytest.mark.parametrize(
    ("limit", "remaining", "found"),
    [
        ("100;w=21600", "99;w=21600", RateLimit(100, 99, 21600)),
        ("100", "0", RateLimit(100, 0, 0)),
        ("100", "many", None),
        ("-1", "1", None),
        ("9" * 10, "1", None),
    ],
)
def test_a_pull_limit_is_read(bench, limit, remaining, found):
    bench.patience.answered(REG, {"ratelimit-limit": limit, "ratelimit-remaining": remaining})
    assert bench.patience.limits.get("reg.example") == found
