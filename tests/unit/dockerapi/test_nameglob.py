"""What a * may stand for."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi.nameglob import fault_of, filled, fits, path_fits


@pytest.mark.parametrize(
    ("glob", "word", "answer"),
    [
        ("ab", "ab", True),
        ("ab", "abc", False),
        ("*", "x", True),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*c", "abbc", True),
        ("a*c", "abbd", False),
    ],
)
def test_a_part_fits_by_what_stands_before_and_after_the_star(glob, word, answer):
    assert fits(glob, word) is answer


@pytest.mark.parametrize(
    ("glob", "path", "answer"), [("a/*", "a/b", True), ("a/*", "a/b/c", False), ("*/*", "a", False), ("a", "a", True)]
)
def test_a_star_never_crosses_a_slash(glob, path, answer):
    assert path_fits(glob, path) is answer


def test_a_name_that_fits_can_be_given():
    assert filled("a-*/*b") == "a-a/ab"


@pytest.mark.parametrize(
    ("domain", "path", "tag"), [("docker.io", "library/*", "*"), ("r.example", "*/*", "*"), ("quay.io", "a/*", "1.*")]
)
def test_a_star_below_a_name_that_somebody_owns_is_no_fault(domain, path, tag):
    assert fault_of(domain, path, tag) == ("", "")
