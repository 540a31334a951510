"""What the demonstration shows: progress, commands as typed, real output, checks.

Owns the look. Colour only where the caller asked for it. It must never decide whether a step is right.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from typing import Final

_BOLD: Final = "1"
_DIM: Final = "2"
_GREEN: Final = "32"
_RED: Final = "31"


class Screen:
    """Standard output, line by line, at once."""

    def __init__(self, *, color: bool) -> None:
        self._color: Final = color
        self._started: Final = time.monotonic()

    def progress(self, text: str) -> None:
        """Say what is being prepared."""
        self._line(f"[{time.monotonic() - self._started:5.1f} s] {text}", _DIM)

    def title(self, text: str) -> None:
        """Open a scene."""
        self._line("")
        self._line(text, _BOLD)

    def command(self, text: str) -> None:
        """Show a command before it runs."""
        self._line(f"$ {text}", _BOLD)

    def output(self, text: str) -> None:
        """Show real output, unchanged."""
        stripped = text.strip("\n")
        if stripped:
            self._line(stripped)

    def note(self, text: str) -> None:
        """Explain."""
        self._line(f"# {text}", _DIM)

    def right(self, text: str) -> None:
        """Say that a step gave what the documentation says."""
        self._line(f"ok: {text}", _GREEN)

    def wrong(self, what: str, expected: str, got: str) -> None:
        """Show what a step should have given and what it gave."""
        self._line(f"WRONG: {what}", _RED)
        self._line("expected:\n" + textwrap.indent(expected, "  "))
        self._line("got:\n" + textwrap.indent(got or "(nothing)", "  "))

    def failure(self, text: str) -> None:
        """Say why the demonstration could not go on."""
        self._line(text, _RED)

    def _line(self, text: str, style: str = "") -> None:
        if style and self._color and text:
            text = f"\x1b[{style}m{text}\x1b[0m"
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # Nobody reads any more (`| head`): go on in silence, for the cleaning up must not be skipped.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
