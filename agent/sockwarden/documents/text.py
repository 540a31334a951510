"""From the bytes of a file to its text: size, encoding, byte order mark, emptiness. The same for every format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sockwarden.documents.place import START, Place

if TYPE_CHECKING:
    from sockwarden.documents.faults import FaultList

MAX_FILE_BYTES: Final = 4 << 20
"""Largest file that is read. A policy of 10,000 images pinned by digest has about 1.2 MB; more is a mistake."""

_BOM: Final = b"\xef\xbb\xbf"


def decode(text: bytes, faults: FaultList) -> str | None:
    """Return the text of a file without a byte order mark, or None if there is nothing to read on.

    Docker Desktop asks for UTF-8 without a byte order mark as well, so one file serves both. Each
    refusal is recorded in ``faults``; a byte order mark alone does not end the reading.
    """
    if len(text) > MAX_FILE_BYTES:
        message = f"the file is too large: {len(text)} bytes, and the limit is {MAX_FILE_BYTES}"
        faults.add(START, message, "remove what does not belong into this file")
        return None
    if text.startswith(_BOM):
        faults.add(START, "the file starts with a byte order mark", "save the file as UTF-8 without BOM")
        text = text[len(_BOM) :]
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte 0x{text[error.start]:02x} at offset {error.start}"
        faults.add(_byte_place(text, error.start), message, _encoding_remedy(text))
        return None
    if not decoded.strip(" \t\r\n"):
        faults.add(START, "the file is empty", "write the document, or restore it from your configuration management")
        return None
    return decoded


def _byte_place(text: bytes, offset: int) -> Place:
    """Return the place of a byte; everything before it is valid UTF-8."""
    line_start = text.rfind(b"\n", 0, offset) + 1
    return Place(text.count(b"\n", 0, offset) + 1, len(text[line_start:offset].decode("utf-8")) + 1)


def _encoding_remedy(text: bytes) -> str:
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the file looks like UTF-16: save it as UTF-8 without BOM"
    return "save the file as UTF-8 without BOM"
