"""One throw-away program: started, waited for by what it says or does, and always ended.

Owns process life and the log file. It must never wait without a deadline, nor leave a process behind.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Final, TypeVar

from sockwarden.demo import isolation
from sockwarden.errors import SockwardenError

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

POLL_SECONDS: Final = 0.02
"""How often a condition is asked again: short enough not to be felt, long enough to leave the CPU to the program."""

STOP_SECONDS: Final = 20.0
"""An engine with containers takes up to 10 s to stop them; after twice that it hangs."""

LOG_TAIL_LINES: Final = 40


class ChildError(SockwardenError):
    """A throw-away program did not start, or ended when it should not have."""


def wait_until(ask: Callable[[], T | None], seconds: float, what: str) -> T:
    """Ask again and again until the answer is true, and return it. Raises ``ChildError`` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise ChildError(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment without proxies, Docker contexts or other settings of the user who calls."""
    path = os.environ.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm", **more}


class Child:
    """A program with its log. It ends with this process, even when this one is killed."""

    def __init__(self, name: str, log: Path) -> None:
        self.name: Final = name
        self.log: Final = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        if self._process is None:
            raise ChildError(f"{self.name} was not started")
        return self._process.pid

    def start(self, command: list[str], environment: Mapping[str, str], *, private: bool = False) -> None:
        """Start ``command``, in private namespaces if wanted."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*isolation.launcher(private=private), *command],
                env={**environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ^C at the terminal must not reach it before us
            )

    def alive(self) -> bool:
        """Say whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def wait_until(self, ask: Callable[[], T | None], seconds: float, what: str) -> T:
        """Like the function of this name, and raises at once when the program ends first."""

        def ask_alive() -> T | None:
            if not self.alive():
                raise ChildError(f"{self.name} ended before: {what}")
            return ask()

        try:
            return wait_until(ask_alive, seconds, f"{self.name}: {what}")
        except ChildError as error:
            raise ChildError(f"{error}\n{self.tail()}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, seconds: float = STOP_SECONDS) -> int | None:
        """End it politely, then by force; return its exit status, ``None`` when it never ran."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill9(self) -> None:
        """Kill it as an out-of-memory killer would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """Return all that it wrote so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def tail(self) -> str:
        """Return the end of its log, for an error message."""
        lines = self.said().splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(f"  {self.name}| {line}" for line in lines)
