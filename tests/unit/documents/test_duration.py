import pytest

from sockwarden.documents.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6h", 21600), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("2d", 172800), ("0s", 0), ("1m5s", 65)],
)
def test_a_duration_is_read_as_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "h", "6 h", "6H", "-1s", "1.5h", "1s\n", "\uff16s", "9" * 10 + "s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="number with a unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.1, "100ms"), (60, "1m"), (5400, "1h30m"), (2592000, "30d")]
)
def test_a_duration_is_written_as_short_as_can_be(seconds, text):
    assert format_duration(seconds) == text
