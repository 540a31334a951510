from __future__ import annotations

from sockwarden import abi
from sockwarden.kernel.life.tracker import MAX_GONE, TrackedCgroup, Tracker

ACTOR = abi.Actor(1, 2, 11, 3, 4, 5, 6, 7, 8, 9, 10, "cat")


def record(number: int, *, made: bool = True) -> abi.CgroupRecord:
    return abi.CgroupRecord(9, ACTOR, made, number, 1, f"/{number}", truncated=False)


def test_a_made_cgroup_is_found_with_the_time_it_was_seen() -> None:
    tracker = Tracker()
    tracker.feed(record(1))
    assert tracker.find(1) == TrackedCgroup("/1", 9)


def test_a_removed_cgroup_is_forgotten() -> None:
    tracker = Tracker()
    tracker.feed(record(1))
    tracker.feed(record(1, made=False))
    assert tracker.find(1) is None


def test_removing_what_was_never_seen_changes_nothing() -> None:
    tracker = Tracker()
    tracker.feed(record(1, made=False))
    assert len(tracker) == 0


def test_a_walk_does_not_overwrite_what_an_event_told() -> None:
    tracker = Tracker()
    tracker.feed(record(1))
    tracker.seed([(1, "/old"), (2, "/two")])
    assert [tracker.find(1), tracker.find(2)] == [TrackedCgroup("/1", 9), TrackedCgroup("/two", 0)]


def test_the_one_not_asked_for_longest_goes_first_and_is_counted() -> None:
    tracker = Tracker(limit=2)
    tracker.seed([(1, "/1"), (2, "/2")])
    tracker.find(1)
    tracker.feed(record(3))
    assert ([tracker.find(number) is not None for number in (1, 2, 3)], tracker.evicted) == ([True, False, True], 1)


def test_a_cut_path_is_not_taken_for_a_path() -> None:
    tracker = Tracker()
    tracker.feed(abi.CgroupRecord(9, ACTOR, made=True, cgroup_id=1, level=1, path="/parent", truncated=True))
    assert (tracker.find(1), tracker.path(1)) == (None, "")


def test_a_removed_cgroup_still_has_its_path() -> None:
    tracker = Tracker()
    tracker.feed(record(1))
    tracker.feed(record(1, made=False))
    assert tracker.path(1) == "/1"


def test_a_cgroup_that_is_first_heard_of_when_it_goes_has_its_path() -> None:
    tracker = Tracker()
    tracker.feed(record(1, made=False))
    assert (tracker.path(1), len(tracker)) == ("/1", 0)


def test_a_cut_path_of_a_cgroup_that_goes_is_not_taken_for_a_path() -> None:
    tracker = Tracker()
    tracker.feed(abi.CgroupRecord(9, ACTOR, made=False, cgroup_id=1, level=1, path="/parent", truncated=True))
    assert tracker.path(1) == ""


def test_the_removed_cgroup_that_is_longest_gone_is_forgotten_first() -> None:
    tracker = Tracker()
    for number in range(1, MAX_GONE + 2):
        tracker.feed(record(number, made=False))
    assert (tracker.path(1), tracker.path(2)) == ("", "/2")


def test_what_was_pushed_out_is_looked_up_and_learnt() -> None:
    asked: list[int] = []

    def look_up(number: int) -> str:
        asked.append(number)
        return f"/{number}"

    tracker = Tracker(limit=1, look_up=look_up)
    tracker.feed(record(1))
    tracker.feed(record(2))
    assert ([tracker.path(1), tracker.path(1)], asked) == (["/1", "/1"], [1])


def test_what_nobody_knows_has_no_path() -> None:
    tracker = Tracker(look_up=lambda _number: "")
    assert (tracker.path(1), len(tracker)) == ("", 0)
