"""When a registry is left alone: because it asked for it, or because it does not answer.

Owns the waits of each endpoint and what they grow to, and the limits that a registry tells of. It must never
shorten what a server asked for beyond our own bounds.
"""

from __future__ import annotations

import email.utils
import random
import re
import time
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from sockwarden.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sockwarden.images.endpoints import Endpoint

UNREACHABLE_SECONDS: Final = 5.0
"""A registry that did not answer is not asked again for this long, so that many entries do not queue for it."""

MAX_UNREACHABLE_SECONDS: Final = 30.0
"""The first wait doubles up to this: a registry that came back must not stay unheard for long."""

MIN_WAIT_SECONDS: Final = 1.0
MAX_WAIT_SECONDS: Final = 900.0
"""Retry-After is honoured within these: a server cannot make us forget it for a day."""

DEFAULT_WAIT_SECONDS: Final = 60.0
"""For a 429 without Retry-After; doubled by each further one, up to the longest wait."""

WAIT_JITTER: Final = 0.1
"""Each wait is longer by up to this share, so that a fleet does not come back in step."""

_MOST_DOUBLINGS: Final = 8
_LIMIT: Final = re.compile(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?")


class LimitedError(RegistryError):
    """The registry asked us to wait."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What Docker Hub says of its pull limit: so many are left of ``limit`` in ``window_seconds`` (0: not said)."""

    limit: int
    remaining: int
    window_seconds: int


@dataclass(frozen=True, slots=True)
class _Wait:
    until: float
    error: RegistryError
    times: int


class Patience:
    """The waits by endpoint. ``clock`` is monotonic seconds; ``spread`` draws a number between two."""

    def __init__(
        self,
        clock: Callable[[], float],
        spread: Callable[[float, float], float] | None = None,
    ) -> None:
        self.limits: dict[str, RateLimit] = {}
        self._clock = clock
        self._spread = spread or random.SystemRandom().uniform
        self._waits: dict[str, _Wait] = {}

    def check(self, endpoint: Endpoint) -> None:
        """Raise again what made us wait, if the time is not over yet."""
        wait = self._waits.get(endpoint.base)
        if wait is not None and self._clock() < wait.until:
            raise type(wait.error)(str(wait.error), remedy=wait.error.remedy)

    def limited(self, endpoint: Endpoint, host: str, header: str) -> LimitedError:
        """Note that ``host``, the endpoint or its token server, asked for a wait, and return the error of it.

        ``header`` is its Retry-After, "" for none.
        """
        times = self._times(endpoint)
        seconds = _retry_after(header)
        if seconds is None:
            seconds = DEFAULT_WAIT_SECONDS * (1 << times)
        seconds = min(max(seconds, MIN_WAIT_SECONDS), MAX_WAIT_SECONDS)
        error = LimitedError(
            f"{host} asked on {time.strftime('%H:%M:%S')} to be left alone for {seconds:.0f} seconds",
            remedy="log in to the registry for a higher limit, or put a mirror in front of it",
        )
        self._wait(endpoint, seconds, error, times + 1)
        return error

    def unreachable(self, endpoint: Endpoint, error: RegistryError) -> None:
        """Note that the endpoint did not answer."""
        times = self._times(endpoint)
        self._wait(endpoint, min(UNREACHABLE_SECONDS * (1 << times), MAX_UNREACHABLE_SECONDS), error, times + 1)

    def answered(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        """Note that the endpoint answered: whatever waits follow begin short again."""
        self._waits.pop(endpoint.base, None)
        limit = _LIMIT.fullmatch(headers.get("ratelimit-limit", ""))
        remaining = _LIMIT.fullmatch(headers.get("ratelimit-remaining", ""))
        if limit and remaining:
            self.limits[endpoint.host] = RateLimit(int(limit[1]), int(remaining[1]), int(limit[2] or 0))

    def _times(self, endpoint: Endpoint) -> int:
        """Return how many waits came before this one; questions that were under way together count once."""
        wait = self._waits.get(endpoint.base)
        if wait is None:
            return 0
        return min(wait.times - 1 if self._clock() < wait.until else wait.times, _MOST_DOUBLINGS)

    def _wait(self, endpoint: Endpoint, seconds: float, error: RegistryError, times: int) -> None:
        until = self._clock() + seconds * self._spread(1, 1 + WAIT_JITTER)
        self._waits[endpoint.base] = _Wait(until, error, times)


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After header, RFC 9110 section 10.2.3; None where it says nothing."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:  # written with -0000: still UTC, only of an unknown place
            date = date.replace(tzinfo=UTC)
        return date.timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
