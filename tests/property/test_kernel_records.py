"""decode() is total: any bytes give a record or a KernelError, and the tracker stays within its bound."""

from __future__ import annotations

import contextlib
import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.life.tracker import Tracker

pytestmark = pytest.mark.property

KINDS = {1: abi.RawConnectEvent, 2: abi.RawCgroupEvent, 4: abi.RawProcessEvent}


@st.composite
def plausible(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(KINDS)))
    size = ctypes.sizeof(KINDS[kind])
    head = abi.RawHeader(abi_version=abi.ABI_VERSION, kind=kind, size=size, flags=draw(st.integers(0, 3)))
    body = size - ctypes.sizeof(head)
    return bytes(head) + draw(st.binary(min_size=body, max_size=body))


@given(st.binary(max_size=600) | plausible())
def test_any_bytes_are_a_record_or_a_kernel_error(data: bytes) -> None:
    with contextlib.suppress(KernelError):
        abi.decode(data)


ACTOR = abi.Actor(1, 2, 11, 3, 4, 5, 6, 7, 8, 9, 10, "cat")
CGROUPS = st.builds(
    lambda number, made: abi.CgroupRecord(1, ACTOR, made, number, 1, f"/{number}", truncated=False),
    st.integers(0, 30),
    st.booleans(),
)


@given(st.lists(CGROUPS, max_size=80), st.integers(1, 8))
def test_no_order_of_records_makes_the_tracker_grow_beyond_its_limit(
    records: list[abi.CgroupRecord], limit: int
) -> None:
    tracker = Tracker(limit)
    for record in records:
        tracker.feed(record)
        assert len(tracker) <= limit


@given(st.lists(CGROUPS, max_size=80))
def test_the_last_word_about_a_cgroup_counts(records: list[abi.CgroupRecord]) -> None:
    tracker = Tracker()
    last = {}
    for record in records:
        tracker.feed(record)
        last[record.cgroup_id] = record.made
    assert {number: tracker.find(number) is not None for number in last} == last
