import pytest

from sockwarden.documents.faults import FaultList
from sockwarden.documents.text import MAX_FILE_BYTES, decode
from sockwarden.errors import DocumentError


def decoded(text: bytes) -> tuple[str | None, list[tuple[int, int, str, str]]]:
    faults = FaultList("f")
    result = decode(text, faults)
    try:
        faults.raise_if_any()
    except DocumentError as error:
        return result, [(fault.line, fault.column, fault.message, fault.remedy) for fault in error.faults]
    return result, []


def test_plain_text_comes_back():
    assert decoded("{ü}".encode()) == ("{ü}", [])


@pytest.mark.parametrize("text", [b"", b" \r\n\t", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(text):
    result, faults = decoded(text)
    assert result is None
    assert (1, 1, "the file is empty") in [fault[:3] for fault in faults]


def test_a_byte_order_mark_is_a_fault_that_does_not_end_the_reading():
    result, faults = decoded(b"\xef\xbb\xbf{}")
    assert result == "{}"
    assert faults == [(1, 1, "the file starts with a byte order mark", "save the file as UTF-8 without BOM")]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        (b"\xff", 1, 1, "not UTF-8: byte 0xff at offset 0"),
        (b'{\n"\xc3\xbc\xe4"}', 2, 3, "not UTF-8: byte 0xe4 at offset 5"),
        (b"ab\xe2\x82", 1, 3, "not UTF-8: byte 0xe2 at offset 2"),
        (b"\xed\xa0\x80", 1, 1, "not UTF-8: byte 0xed at offset 0"),
    ],
)
def test_the_first_byte_that_is_not_utf_8_is_named_with_its_place(text, line, column, message):
    result, faults = decoded(text)
    assert result is None
    assert [fault[:3] for fault in faults] == [(line, column, message)]


def test_utf_16_is_called_by_its_name():
    _, faults = decoded("{}".encode("utf-16"))
    assert faults[0][3] == "the file looks like UTF-16: save it as UTF-8 without BOM"


def test_a_file_of_the_largest_size_is_read():
    assert decoded(b"x" * MAX_FILE_BYTES)[0] is not None


def test_a_larger_file_is_refused():
    result, faults = decoded(b"x" * (MAX_FILE_BYTES + 1))
    assert result is None
    assert faults[0][:3] == (
        1,
        1,
        f"the file is too large: {MAX_FILE_BYTES + 1} bytes, and the limit is {MAX_FILE_BYTES}",
    )
