"""Text for people on a terminal: colour only there, faults with their line, errors with their remedy."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

from sockwarden.documents.faults import render_fault
from sockwarden.service.sources import MAX_FILE_BYTES

if TYPE_CHECKING:
    from typing import TextIO

    from sockwarden.errors import DocumentError, Fault

_CODES: Final = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


class Screen:
    """Standard output and error, with or without colour."""

    def __init__(self, color: str) -> None:
        """Take ``color`` from the command line: auto, always or never."""
        self._color: Final = color

    def print(self, text: str = "") -> None:
        """Print a line on standard output."""
        print(text)

    def json(self, value: Any) -> None:
        """Print a JSON document on standard output."""
        print(json.dumps(value, indent=2, ensure_ascii=False))

    def paint(self, text: str, style: str, stream: TextIO | None = None) -> str:
        """Return ``text`` in ``style``, where ``stream`` shows colour."""
        if not self._shows_color(stream or sys.stdout):
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"

    def error(self, message: str, remedy: str = "") -> None:
        """Print an error and its remedy on standard error."""
        print(f"{self.paint('sockwarden:', 'red', sys.stderr)} {message}", file=sys.stderr)
        if remedy:
            print(f"  remedy: {remedy}", file=sys.stderr)

    def note(self, message: str) -> None:
        """Print a line on standard error, beside output that may go into a file."""
        print(message, file=sys.stderr)

    def progress(self, text: str) -> None:
        """Replace the progress line on standard error, "" to remove it; only on a terminal."""
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)

    def faults(self, error: DocumentError) -> None:
        """Print every fault of a document with its line, on standard error."""
        for fault in error.faults:
            print(render_fault(fault, _text_of(fault)), file=sys.stderr)
        count = len(error.faults)
        print(self.paint(f"{count} fault{'s' if count > 1 else ''}", "red", sys.stderr), file=sys.stderr)

    def _shows_color(self, stream: TextIO) -> bool:
        if self._color != "auto":
            return self._color == "always"
        return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _text_of(fault: Fault) -> bytes:
    """Return the document again, for the line to show; nothing where it cannot be read."""
    if not fault.line:
        return b""
    try:
        with open(fault.file, "rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError:
        return b""
