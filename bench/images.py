"""The cost of judging an image by a list of ten thousand entries, in this process, and of reading such a list.

Everything is known already: what is timed is what each start and each new connection of a container pays.
"""

from __future__ import annotations

import hashlib
import json
import timeit
from functools import partial
from typing import TYPE_CHECKING, Final

from sockwarden.images.answers import pack
from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.holdings import Holdings
from sockwarden.images.imagelist import ImageList
from sockwarden.images.registry import RegistryClient
from sockwarden.images.resolver import Remembered, Resolver
from sockwarden.images.resolver import Target as Reference
from sockwarden.model import LocalImage
from sockwarden.policy.document import parse_policy

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRIES: Final = 10_000
REGISTRY: Final = "registry.example"
PATTERNS: Final = (f"{REGISTRY}/ci/*:*", f"{REGISTRY}/base/*:1.*", f"{REGISTRY}/tools/app:*")


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _policy() -> bytes:
    images = [*(f"{REGISTRY}/team/app{number}:1" for number in range(ENTRIES)), *PATTERNS]
    mount = {"imageList": {"images": images}}
    local = {"localImages": [_digest("mine")]}
    return json.dumps(
        {"enhancedContainerIsolation": {"value": True, "dockerSocketMount": mount}, "sockwarden": local}, indent=2
    ).encode()


def image_list() -> ImageList:
    """Return a list of which every entry is resolved, and nobody needs to be asked."""
    document = parse_policy(_policy(), "policy.json")
    resolver = Resolver(RegistryClient(RegistrySettings()))
    resolver.remember(lambda: map(partial(_answer, resolver.clock()), range(ENTRIES)))
    holdings = Holdings(resolver)
    holdings.adopt(Repository(REGISTRY, "ci/app"), bytes.fromhex(_digest("held")[7:]))
    entries = [entry.pattern for entry in document.images]
    judging_list = ImageList(entries, resolver, holdings, local_ids=document.local_images)
    resolver.retain([record.target for record in resolver.records()])
    return judging_list


def _answer(now: float, number: int) -> tuple[Reference, Remembered]:
    raw = pack(_digest(f"manifest {number}"), [_digest(f"config {number}")])
    return Reference(Repository(REGISTRY, f"team/app{number}"), "1"), Remembered(raw, now, now)


IMAGES: Final = {
    "a listed tag's image": LocalImage(_digest("config 5000"), (f"{REGISTRY}/team/app5000:1",)),
    "a repository's that a glob covers": LocalImage(_digest("held"), (f"{REGISTRY}/ci/app:1",)),
    "a local image by its id": LocalImage(_digest("mine")),
}
REFUSED: Final = {
    "another image under a listed name": LocalImage(
        _digest("other"), (f"{REGISTRY}/team/app5000:1",), (f"{REGISTRY}/team/app5001@{_digest('other')}",)
    ),
    "an image without a name": LocalImage(_digest("other")),
}


def judging(images: dict[str, LocalImage]) -> dict[str, Callable[[], object]]:
    """Return a call for each image that judges it by a list of ``ENTRIES`` entries."""
    judge = image_list().judge_now
    return {name: partial(judge, image) for name, image in images.items()}


def reading_us() -> float:
    """Return the microseconds from the bytes of the policy to a list that judges."""
    return min(timeit.repeat(image_list, number=1, repeat=3)) * 1e6
