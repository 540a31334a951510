"""Whether a local image was built on top of an allowed one.

Owns that one comparison of layer chains. It must never be asked before the parent is shown to be allowed by
its own digest. What it promises is little, and worth saying: the child starts with the parent's files. A layer
on top may replace every one of them, and whoever may build or load images may make such a child.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockwarden.model import LocalImage


def is_local_only(image: LocalImage) -> bool:
    """Was this image never pulled from or pushed to a repository, by the engine's own word?

    On graph drivers only pull and push write RepoDigests. The containerd store computes one for every name,
    so there only an image without a name counts as local: the narrower reading.
    """
    return not image.repo_digests


def may_be_local(image: LocalImage) -> bool:
    """Is there no sign that a registry has it? Only for words: a digest of the id itself is no sign either way."""
    return all(digest.endswith(f"@{image.id}") for digest in image.repo_digests)


def chain_of(layers: Iterable[str]) -> bytes:
    """Return 32 bytes that stand for a chain of layers, b"" for none (as ChainID in the OCI image specification)."""
    chain = b""
    for chain in _chains(layers):  # noqa: B007 - the last one is wanted
        pass
    return chain


def parent_chains(layers: tuple[str, ...]) -> frozenset[bytes]:
    """Return the chains that a parent of an image with these layers may have: every proper, non-empty beginning.

    The whole chain is not among them: another config on the same layers is another program. A shared base layer is
    the chain of an image that consists of it, and of no other.
    """
    return frozenset(_chains(layers[:-1]))


def _chains(layers: Iterable[str]) -> Iterator[bytes]:
    chain = b""
    for layer in layers:
        chain = hashlib.sha256(chain + b" " + layer.encode()).digest()
        yield chain
