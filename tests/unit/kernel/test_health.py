"""The guard's numbers: read from whatever holds them, and never going back."""

from __future__ import annotations

import os

from sockwarden.abi import GuardStat
from sockwarden.errors import KernelError
from sockwarden.kernel.health import Gauge, Health, ProgramFacts, program_facts


class Broken:
    """Holds programs whose descriptors cannot be had."""

    programs = ("guard_lsm",)

    def map_fd(self, name: str) -> int:
        raise KernelError(f"no map {name}")

    def program_fd(self, name: str) -> int:
        raise KernelError(f"no program {name}")


def test_a_counter_that_begins_anew_goes_on_where_it_was() -> None:
    gauge = Gauge()
    assert [gauge.never_back("x", raw) for raw in (5, 9, 2, 3, 1)] == [5, 9, 11, 12, 13]


def test_counters_do_not_share_their_past() -> None:
    gauge = Gauge()
    gauge.never_back("x", 5)
    assert gauge.never_back("y", 1) == 1


def test_without_a_rung_every_counter_is_there_and_nothing() -> None:
    assert Gauge().guard_stats(None) == dict.fromkeys(GuardStat, 0)


def test_a_program_that_cannot_be_asked_is_left_out() -> None:
    assert Gauge().programs((Broken(), None)) == {}


def test_a_map_that_is_not_there_is_left_out() -> None:
    assert Gauge().maps(Broken(), None) == {}


def test_a_descriptor_that_is_no_program_has_missed_nothing() -> None:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert program_facts(descriptor) == ProgramFacts(0, 0, 0)
    finally:
        os.close(descriptor)


def test_only_a_deciding_program_that_was_skipped_left_something_unjudged() -> None:
    names = ("guard_lsm", "receive_lsm", "identity_free", "track_fork")
    assert Health({}, {}, {name: ProgramFacts(missed=1) for name in names}, {}, {}).unjudged == 2
