"""How often a container is told by the gateway before the kernel answers it."""

from __future__ import annotations

from sockwarden.policy.patience import KEPT_SECONDS, MAX_KEPT, MAX_WATCHED, TOLD_ENOUGH, TOLD_SECONDS, Patience

ONE, OTHER = "1" * 64, "2" * 64


def told(patience: Patience, container_id: str, times: int, now: float = 0.0) -> list[bool]:
    return [patience.refused(container_id, now) for _ in range(times)]


def test_enough_is_reached_with_the_last_refusal_and_not_before() -> None:
    assert told(Patience(), ONE, TOLD_ENOUGH) == [False] * (TOLD_ENOUGH - 1) + [True]


def test_refusals_of_others_do_not_count() -> None:
    patience = Patience()
    told(patience, ONE, TOLD_ENOUGH - 1)
    assert not patience.refused(OTHER, 0.0)


def test_what_was_longer_ago_does_not_count() -> None:
    patience = Patience()
    told(patience, ONE, TOLD_ENOUGH - 1)
    assert not patience.refused(ONE, TOLD_SECONDS + 0.1)


def test_what_is_kept_is_not_asked_for_again() -> None:
    patience = Patience()
    told(patience, ONE, TOLD_ENOUGH)
    patience.keep(ONE, 0.0)
    assert (told(patience, ONE, TOLD_ENOUGH), patience.kept, len(patience)) == ([False] * TOLD_ENOUGH, (ONE,), 1)


def test_after_a_while_it_lapses() -> None:
    patience = Patience()
    patience.keep(ONE, 5.0)
    patience.keep(OTHER, 6.0)
    assert (patience.lapsed(5.0 + KEPT_SECONDS - 0.1), patience.lapsed(5.0 + KEPT_SECONDS)) == ((), (ONE,))


def test_who_is_forgotten_begins_anew() -> None:
    patience = Patience()
    told(patience, ONE, TOLD_ENOUGH - 1)
    patience.keep(OTHER, 0.0)
    patience.forget(ONE)
    patience.forget(OTHER)
    assert (patience.refused(ONE, 0.0), patience.kept) == (False, ())


def test_no_more_are_watched_than_there_is_room_for() -> None:
    patience = Patience()
    told(patience, ONE, TOLD_ENOUGH - 1)
    for number in range(MAX_WATCHED):
        patience.refused(f"{number}", 0.0)
    assert not patience.refused(ONE, 0.0)


def test_no_more_are_kept_than_there_is_room_for() -> None:
    patience = Patience()
    for number in range(MAX_KEPT):
        patience.keep(f"{number}", 0.0)
    assert told(patience, ONE, TOLD_ENOUGH)[-1] is False
