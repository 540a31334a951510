"""Every error that sockwarden raises on purpose, by whose fault it is.

Library code raises these; only ``cli`` prints them and turns them into an exit code.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class ExitCode(enum.IntEnum):
    """Exit codes of every ``sockwarden`` command, documented in sockwarden(8).

    The numbers above 63 are those of sysexits.h, so that a unit file can name them.
    """

    OK = 0
    FAILURE = 1
    USAGE = 2
    DENIED = 3
    UNAVAILABLE = 69
    NO_PERMISSION = 77
    CONFIG = 78


class SockwardenError(Exception):
    """Base of all errors of this package.

    ``remedy`` says in one sentence what the reader can do about it.
    """

    exit_code: ExitCode = ExitCode.FAILURE

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy: Final = remedy


class ClientError(SockwardenError):
    """The client sent something that is refused. ``status`` is the HTTP status to answer with."""

    def __init__(self, message: str, *, status: int = 400, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status: Final = status


class EngineError(SockwardenError):
    """The Docker Engine is absent, died, or answered what it must not."""

    exit_code = ExitCode.UNAVAILABLE


class RegistryError(SockwardenError):
    """A registry could not be asked, or its answer cannot be trusted."""

    exit_code = ExitCode.UNAVAILABLE


class KernelError(SockwardenError):
    """The kernel refused something that the guard needs. ``errno`` is 0 where it gave none."""

    def __init__(self, message: str, *, errno: int = 0, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.errno: Final = errno


class TakeoverError(SockwardenError):
    """The public socket path cannot be taken over, or not be given back."""


class PermissionNeededError(SockwardenError):
    """The command needs root or a capability that this process lacks."""

    exit_code = ExitCode.NO_PERMISSION


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One mistake in a document of the operator. ``line`` and ``column`` count from 1; 0 means unknown."""

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the one-line form that compilers use, which editors can jump to."""
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}"
        text = f"{place}: {self.message}"
        return f"{text} (remedy: {self.remedy})" if self.remedy else text


class DocumentError(SockwardenError):
    """A policy or configuration file cannot be used. Holds *all* of its faults, in order of place."""

    exit_code = ExitCode.CONFIG

    def __init__(self, faults: list[Fault]) -> None:
        if not faults:
            raise AssertionError("a DocumentError needs at least one fault")
        self.faults: Final = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))
