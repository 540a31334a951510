import pytest

from sockwarden.documents.place import UNKNOWN, LineIndex, Place


@pytest.mark.parametrize(
    ("text", "offset", "line", "column"),
    [
        ("", 0, 1, 1),
        ("ab", 2, 1, 3),
        ("a\nb", 1, 1, 2),
        ("a\nb", 2, 2, 1),
        ("a\r\nb", 3, 2, 1),
        ("ü\n\tz", 3, 2, 2),
        ("\n\n", 2, 3, 1),
    ],
)
def test_an_offset_has_the_line_and_column_that_an_editor_shows(text, offset, line, column):
    assert LineIndex(text).place(offset) == Place(line, column)


def test_an_unknown_place_is_zero_twice():
    assert Place(0, 0) == UNKNOWN


@pytest.mark.parametrize("place", [(0, 1), (1, 0), (-1, -1)])
def test_a_place_before_the_first_character_cannot_exist(place):
    with pytest.raises(AssertionError):
        Place(*place)
