"""What ten thousand entries of the image list cost: the figure of docs/performance.md."""

import asyncio
import dataclasses
import gc
import hashlib
import json
import tracemalloc

from sockwarden.images.holdings import Holdings
from sockwarden.images.imagelist import ImageList
from sockwarden.images.resolver import Resolver
from sockwarden.policy.document import parse_policy

ENTRIES = 10_000
MAX_BYTES_PER_ENTRY = 1024


def sha(*parts):
    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


class TwoPlatforms(Resolver):
    """Every reference is an index of two platforms: five digests."""

    async def closure(self, repository, digest):
        return frozenset((digest, *(sha(kind, number, digest) for kind in "mc" for number in range(2))))


class Registry:
    async def head(self, repository, reference):
        return sha(str(repository), reference)

    async def close(self):
        pass


def policy_of(count):
    images = [f"registry.example.com/team{number % 100}/service-{number}:1.{number % 7}.0" for number in range(count)]
    mount = {"imageList": {"images": images}}
    isolation = {"value": True, "dockerSocketMount": mount}
    return json.dumps({"configurationFileVersion": 2, "enhancedContainerIsolation": isolation}).encode()


async def load(count):
    """Do what the agent does with a policy, and return what it keeps."""
    document = parse_policy(policy_of(count), "policy")
    resolver = TwoPlatforms(Registry(), grace_seconds=3600.0)  # type: ignore[arg-type]
    images = ImageList([entry.pattern for entry in document.images], resolver, Holdings(resolver))
    await images.refresh_all()
    return resolver, images, dataclasses.replace(document, images=())


def test_ten_thousand_entries_of_two_platforms_cost_less_than_a_kibibyte_each():
    async def measure():
        await load(10)  # what is made once for all
        gc.collect()
        tracemalloc.start()
        try:
            kept = await load(ENTRIES)
            gc.collect()
            size = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert len(kept[0]._index) == 5 * ENTRIES
        return size

    assert asyncio.run(measure()) <= ENTRIES * MAX_BYTES_PER_ENTRY
