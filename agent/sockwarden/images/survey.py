"""Asking once what every entry of a policy stands for, for a lock file and for its check.

Owns how many are asked at once, and how long a registry that asked for a pause is waited for. It must never leave an
entry out: each one ends as an answer or as the reason why there is none.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

from sockwarden.errors import RegistryError
from sockwarden.images.patience import LimitedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sockwarden.images.resolver import Parts, Resolver, Target

T = TypeVar("T")

MAX_PARALLEL: Final = 64
"""Entries asked at once at the most: registries take more for an attack."""

PAUSE_SECONDS: Final = 5.0
"""Between two looks whether a registry that asked for a pause may be asked again."""

PATIENCE_SECONDS: Final = 3600.0
"""For all pauses of one survey. Docker Hub counts pulls in windows of hours; who needs longer logs in."""


async def parts_of(resolver: Resolver, target: Target) -> Parts:
    """Return what ``target`` stands for now.

    Raises:
        RegistryError: the registry has it not, or cannot be asked.
    """
    digest = await resolver.client.head(target.repository, target.reference)
    return await resolver.parts(target.repository, digest)


async def digest_of(resolver: Resolver, target: Target) -> str:
    """Return where ``target`` points to now, for the price of one HEAD.

    Raises:
        RegistryError: the registry has it not, or cannot be asked.
    """
    return await resolver.client.head(target.repository, target.reference)


async def survey(
    targets: Iterable[Target],
    ask: Callable[[Target], Awaitable[T]],
    parallel: int,
    landed: Callable[[int, int, Target], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> dict[Target, T | RegistryError]:
    """Ask for every target once, ``parallel`` at a time; ``landed`` gets (done, of how many, the target)."""
    wanted = list(dict.fromkeys(targets))
    answers: dict[Target, T | RegistryError] = {}
    waiting = iter(wanted)
    until = clock() + PATIENCE_SECONDS

    async def one(target: Target) -> T | RegistryError:
        while True:
            try:
                return await ask(target)
            except LimitedError as error:
                if clock() >= until:
                    return error
                await asyncio.sleep(PAUSE_SECONDS)
            except RegistryError as error:
                return error

    async def work() -> None:
        for target in waiting:
            answers[target] = await one(target)
            landed(len(answers), len(wanted), target)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(parallel, MAX_PARALLEL, len(wanted))):
            group.create_task(work())
    return {target: answers[target] for target in wanted}
