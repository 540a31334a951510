"""A person at a terminal: runs one program on a pseudo-terminal, waits for a prompt, types.

Owns the pseudo-terminal and the text that appeared on it. It must never wait without a deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Final, Self

from sockwarden.demo.child import ChildError

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS: Final = 400
"""Wide enough that no shell wraps a line: wrapped text could not be compared."""

READ_BYTES: Final = 65536

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])")
"""Cursor movements and questions of line editors (ECMA-48 control sequences)."""


def plain(data: bytes) -> str:
    """Return what a person would read: no escapes, no carriage returns."""
    return _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r", "")


class Terminal:
    """One program on a terminal. Use it as a context manager: the program ends with it."""

    def __init__(self, command: list[str], environment: Mapping[str, str], seconds: float = 30.0) -> None:
        self._seconds: Final = seconds
        self._seen = b""
        self._read_to = 0  # an index into the plain text
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        try:
            self._process: Final = subprocess.Popen(
                command, env={**environment}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
            )
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def expect(self, text: str) -> str:
        """Wait for ``text``; return what appeared since the last call up to and with it."""
        deadline = time.monotonic() + self._seconds
        while True:
            new = plain(self._seen)[self._read_to :]
            found = new.find(text)
            if found >= 0:
                self._read_to += found + len(text)
                return new[: found + len(text)]
            if not self._more(deadline):
                raise ChildError(f"the terminal ended without {text!r}; it showed:\n{new}")

    def type(self, line: str) -> None:
        """Type a line and the return key."""
        os.write(self._ours, line.encode() + b"\n")

    def enter(self, command: str, prompt: str) -> str:
        """Type a command; return what it printed before the next prompt."""
        self.type(command)
        self.expect(f"{command}\n")  # its echo: busybox may draw the prompt once more before it
        return self.expect(prompt).removesuffix(prompt)

    def rest(self) -> str:
        """Wait for the program to end; return what appeared since the last ``expect``."""
        deadline = time.monotonic() + self._seconds
        while self._more(deadline):
            pass
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ChildError(f"the program did not end; it showed:\n{plain(self._seen)}") from None
        new = plain(self._seen)[self._read_to :]
        self._read_to += len(new)
        return new

    @property
    def status(self) -> int | None:
        """The exit status, once it ended."""
        return self._process.poll()

    def _more(self, deadline: float) -> bool:
        """Read once; False when the program closed the terminal. Raises ``ChildError`` at the deadline."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise ChildError(f"nothing more within {self._seconds:g} s; it showed:\n{plain(self._seen)}")
        data = b""
        with contextlib.suppress(OSError):  # EIO: the last process on the terminal is gone
            data = os.read(self._ours, READ_BYTES)
        self._seen += data
        return bool(data)
