"""What the tests in a machine say to the host: one line of JSON per case on the console.

Owns the marks that the host looks for (tests/vm/machine.py reads them).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Report:
    """Counts cases; ``failed`` says how many did not hold."""

    def __init__(self) -> None:
        self.cases = 0
        self.failed = 0

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Run the body as one case: any exception fails it, and the next case goes on."""
        started = time.monotonic()
        said = ""
        try:
            yield
        except Exception:
            self.failed += 1
            said = "".join(traceback.format_exc(limit=-3))
        self.cases += 1
        _line("case", name=name, ok=not said, seconds=round(time.monotonic() - started, 3), said=said)

    def tell(self, name: str, said: object) -> None:
        """Say a fact that is no case, such as a time."""
        _line("told", name=name, said=str(said))

    def close(self) -> None:
        """Say how many cases there were, so that a lost line is noticed."""
        _line("sum", cases=self.cases, failed=self.failed)


def _line(mark: str, **fields: object) -> None:
    sys.stdout.write(f"@@{mark} {json.dumps(fields)}\n")
    sys.stdout.flush()
