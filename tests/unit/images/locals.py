"""Local images for tests of the image list: with any names, honest or forged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockwarden.model import LocalImage

if TYPE_CHECKING:
    from sockwarden.images.imagelist import ImageList

REG = "reg.example"
EVIL = "sha256:" + "e" * 64


def local(image_id: str, *names: str, manifest: str | None = None, layers: tuple[str, ...] = ()) -> LocalImage:
    """Return a local image; names with an @ are repository digests."""
    digests = tuple(name for name in names if "@" in name)
    tags = tuple(name for name in names if "@" not in name)
    return LocalImage(image_id, tags, digests, layers, manifest)


def judged(*images: LocalImage) -> Any:
    """Return a scenario that judges each image and returns the answers."""

    async def scenario(image_list: ImageList) -> Any:
        return [await image_list.judge(image) for image in images]

    return scenario
