"""What a terminal tells of an entry without a digest of its own."""

from __future__ import annotations

import pytest

from sockwarden.cli.imagewords import unresolved_words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"kind": "pattern", "digests": 3}, "found out image by image, 3 digests so far"),
        ({"kind": "id"}, "allowed by its id"),
        ({"kind": "everything"}, "allows every image"),
        ({"kind": "reference"}, "not resolved yet"),
        ({}, "not resolved yet"),
        ({"kind": "reference", "error": "the registry is silent"}, "the registry is silent"),
    ],
)
def test_an_entry_without_a_digest_says_how_it_is_judged(row, words):
    assert unresolved_words({"error": "", "digests": 0, **row}) == words
