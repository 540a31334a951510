import pytest

from sockwarden.documents.faults import (
    MAX_FAULTS,
    MAX_QUOTED_CHARACTERS,
    MAX_SHOWN_CHARACTERS,
    FaultList,
    nearest,
    quoted,
    render_fault,
)
from sockwarden.documents.place import Place
from sockwarden.errors import DocumentError, Fault


def fault_at(line: int, column: int, *, remedy: str = "repair it") -> Fault:
    return Fault("f.json", line, column, "wrong", remedy)


def raised(faults: FaultList) -> tuple[Fault, ...]:
    with pytest.raises(DocumentError) as caught:
        faults.raise_if_any()
    return caught.value.faults


def test_a_list_without_faults_raises_nothing():
    FaultList("f").raise_if_any()


def test_all_faults_are_raised_at_once_in_order_of_place():
    faults = FaultList("f")
    faults.add(Place(2, 1), "second", "")
    faults.add(Place(1, 9), "first", "")
    assert [fault.message for fault in raised(faults)] == ["first", "second"]


def test_faults_beyond_the_limit_are_counted():
    faults = FaultList("f")
    for line in range(1, MAX_FAULTS + 3):
        faults.add(Place(line, 1), "wrong", "")
    faults.unknown(Place(MAX_FAULTS + 3, 1), "key", "a", {"b"})
    listed = raised(faults)
    assert len(listed) == MAX_FAULTS + 1
    assert "too many faults: 3 more are not listed" in [fault.message for fault in listed]


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("allowedDerivedImages", {"images", "allowDerivedImages"}, 'did you mean "allowDerivedImages"?'),
        ("zzz", {"images", "type"}, "use one of: images, type"),
        ("zzz", set(), "remove it"),
        ("zzz", {f"key{i:02}" for i in range(13)}, "remove it, or use a known key"),
    ],
)
def test_an_unknown_name_comes_with_what_may_stand_there(name, known, remedy):
    faults = FaultList("f")
    faults.unknown(Place(1, 1), "key", name, known, "here")
    (fault,) = raised(faults)
    assert (fault.message, fault.remedy) == (f'unknown key "{name}" in here', remedy)


def test_the_nearest_name_is_found_in_any_case():
    assert nearest("PSUH", ["push", "pull"]) == "push"


def test_a_quotation_holds_nothing_that_steers_a_terminal():
    assert quoted("a\x1b[2J\u202e\U000e0001") == '"a\\u001b[2J\\u202e\\U000e0001"'


def test_a_long_quotation_is_cut():
    assert quoted("a" * 1000) == '"' + "a" * MAX_QUOTED_CHARACTERS + '…"'


def test_a_fault_is_shown_with_its_line_and_a_caret():
    text = b'{\n  "a": tru\n}'
    assert render_fault(fault_at(2, 8), text) == 'f.json:2:8: wrong\n    "a": tru\n         ^\nremedy: repair it'


def test_a_fault_without_a_remedy_has_no_remedy_row():
    assert render_fault(fault_at(1, 1, remedy=""), b"x") == "f.json:1:1: wrong\n  x\n  ^"


def test_a_fault_of_unknown_place_is_shown_without_a_line():
    assert render_fault(fault_at(0, 0), b"x") == "f.json: wrong\nremedy: repair it"


@pytest.mark.parametrize("text", [b"", b"\n", b" \n"])
def test_an_empty_line_is_not_shown(text):
    assert render_fault(fault_at(1, 1), text) == "f.json:1:1: wrong\nremedy: repair it"


def test_a_place_beyond_the_text_is_shown_without_a_line():
    assert render_fault(fault_at(9, 1), b"x") == "f.json:9:1: wrong\nremedy: repair it"


def caret_rows(text: bytes, column: int) -> list[str]:
    return render_fault(fault_at(1, column, remedy=""), text).split("\n")[1:]


def test_tabs_stay_tabs_above_and_below():
    assert caret_rows(b"\t\tx\r\n", 3) == ["  \t\tx", "  \t\t^"]


def test_wide_and_combining_characters_keep_the_caret_in_its_column():
    assert caret_rows("漢e\u0301x".encode(), 4) == ["  漢e\u0301x", "     ^"]


def test_control_characters_and_broken_bytes_are_shown_as_replacements():
    assert caret_rows(b"a\x1b\xffb", 4) == ["  a\ufffd\ufffdb", "     ^"]


def test_a_byte_order_mark_does_not_shift_the_caret():
    assert caret_rows(b"\xef\xbb\xbfab", 2) == ["  ab", "   ^"]


@pytest.mark.parametrize("column", [1, 200, 1000])
def test_of_a_long_line_the_part_around_the_caret_is_shown(column):
    line = b"." * (column - 1) + b"X" + b"." * (1000 - column)
    shown, caret = caret_rows(line, column)
    assert shown[caret.index("^")] == "X"
    assert len(shown) <= MAX_SHOWN_CHARACTERS + 2
