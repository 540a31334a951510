"""Whether a local image was built on top of an allowed one.

Owns that one comparison of layer chains. It must never be asked before the parent is shown to be allowed by
its own digest. What it promises is little, and worth saying: the child starts with the parent's files. A layer
on top may replace every one of them, and whoever may build or load images may make such a child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockwarden.model import LocalImage


def is_local_only(image: LocalImage) -> bool:
    """Was this image never pulled from or pushed to a repository, by the engine's own word?

    On graph drivers only pull and push write RepoDigests. The containerd store computes one for every name,
    so there only an image without a name counts as local: the narrower reading.
    """
    return not image.repo_digests


def derived_from(child: LocalImage, parent_layers: tuple[str, ...]) -> bool:
    """Is the parent's whole, non-empty layer chain a proper prefix of the child's?

    Equal chains do not count: another config on the same layers is another program. A shared base layer does
    not count either, because the chain must be there in full.
    """
    size = len(parent_layers)
    return 0 < size < len(child.layers) and child.layers[:size] == parent_layers
