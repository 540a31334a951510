"""Which images of the engine's store another one was built on, by their chains of layers.

Owns what is remembered of the store: the chain of an image id, which never changes, and for a minute what a child was
built on. It must never say whether a parent is allowed, nor believe a name.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from sockwarden.images.derived import chain_of, parent_chains
from sockwarden.images.flights import Flights
from sockwarden.model import LocalImage

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

KEEP_SECONDS: Final = 60.0
"""How long the parents of a child are remembered: after that they must still be in the store."""

LISTING_SECONDS: Final = 1.0
"""How long one listing of the store serves all children: a hundred starts a second cost one."""

MAX_CHAINS: Final = 16_384
"""Image ids whose chain is remembered, at 300 bytes each: build hosts have some thousand images."""

MAX_CHILDREN: Final = 4096
"""Children whose parents are remembered. Images are easily made: the oldest make room."""

MAX_INSPECTS: Final = 256
"""New images that one question may inspect, a few milliseconds each; the next question goes on from there."""

PARALLEL: Final = 8
"""Inspects at once: as many as the engine's client has connections."""


class ImageStore(Protocol):
    """The engine's image store; see ``engine.client.EngineClient``."""

    async def inspect_image(self, ref: str, /) -> LocalImage | None:
        """Return the image that an id means, with its layers."""

    async def list_images(self) -> tuple[LocalImage, ...]:
        """Return every image with its names, without its layers."""


class Ancestry:
    """Finds parents in an image store. ``clock`` is monotonic seconds.

    Only images that are ``plausible`` as parents are looked into; their number is that of the allowed images.
    """

    def __init__(self, store: ImageStore, clock: Callable[[], float], plausible: Callable[[LocalImage], bool]) -> None:
        """Begin with nothing known."""
        self._store: Final = store
        self._clock: Final = clock
        self._plausible: Final = plausible
        self._flights: Final = Flights()
        self._listed: tuple[float, tuple[LocalImage, ...]] | None = None
        self._chains: OrderedDict[str, bytes] = OrderedDict()
        self._children: OrderedDict[str, tuple[float, tuple[LocalImage, ...]]] = OrderedDict()

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()

    def known(self, child_id: str) -> tuple[LocalImage, ...]:
        """Return the parents that were found within the last minute, by their content without their names."""
        until, parents = self._children.get(child_id, (0.0, ()))
        return parents if self._clock() < until else ()

    async def parents(self, child: LocalImage) -> tuple[LocalImage, ...]:
        """Return the plausible images of the store whose whole chain of layers begins the child's.

        Raises:
            EngineError: the engine cannot be asked.
        """
        wanted = parent_chains(child.layers)
        candidates = [image for image in await self._listing() if image.id != child.id]
        await self._learn([image.id for image in candidates if image.id not in self._chains][:MAX_INSPECTS])
        parents = tuple(image for image in candidates if self._chains.get(image.id) in wanted)
        if parents:
            kept = tuple(LocalImage(image.id, manifest_digest=image.manifest_digest) for image in parents)
            _remember(self._children, child.id, (self._clock() + KEEP_SECONDS, kept), MAX_CHILDREN)
        return parents

    async def _listing(self) -> tuple[LocalImage, ...]:
        if self._listed is None or self._clock() - self._listed[0] >= LISTING_SECONDS:
            return await self._flights.once("listing", self._list)
        return self._listed[1]

    async def _list(self) -> tuple[LocalImage, ...]:
        began = self._clock()
        images = tuple(filter(self._plausible, await self._store.list_images()))
        self._listed = (began, images)
        return images

    async def _learn(self, ids: list[str]) -> None:
        waiting = iter(ids)

        async def work() -> None:
            for image_id in waiting:
                await self._flights.once(image_id, partial(self._inspect, image_id))

        answers = await asyncio.gather(*(work() for _ in range(min(PARALLEL, len(ids)))), return_exceptions=True)
        for fault in answers:
            if fault is not None:
                raise fault

    async def _inspect(self, image_id: str) -> None:
        image = await self._store.inspect_image(image_id)
        # Only what the id itself names: one that was removed meanwhile may be the beginning of a name.
        if image is not None and image.id == image_id:
            _remember(self._chains, image_id, chain_of(image.layers), MAX_CHAINS)


def _remember(table: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > limit:
        table.popitem(last=False)
