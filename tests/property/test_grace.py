"""What a tag allows over time, against a model that is one line: now, or moved away from less than the grace ago."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Repository
from sockwarden.images.registry import NotInRegistryError
from sockwarden.images.resolver import MAX_EARLIER, Resolver, Target

pytestmark = pytest.mark.property

TAG = Target(Repository("reg.example", "app"), "1")
DIGESTS = [f"sha256:{number:064x}" for number in range(5)]
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 5000)),
    st.tuples(st.just("move"), st.sampled_from(DIGESTS)),
    st.tuples(st.sampled_from(["delete", "silence", "refresh", "expire", "policy"]), st.none()),
)


class Registry:
    """One tag, which is somewhere, nowhere (""), or cannot be asked (None)."""

    def __init__(self) -> None:
        self.digest: str | None = DIGESTS[0]

    async def head(self, _repository: Any, _reference: str) -> str:
        if self.digest is None:
            raise RegistryError("silence")
        if not self.digest:
            raise NotInRegistryError("gone")
        return self.digest

    async def close(self) -> None:
        pass


class OneDigest(Resolver):
    async def closure(self, _repository: Any, digest: str) -> frozenset[str]:
        return frozenset({digest})


class Model:
    """The digest that was seen last, and when each earlier one was left."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.current = ""
        self.left: dict[str, float] = {}

    def see(self, digest: str | None, now: float) -> None:
        if digest is None:
            return
        if not digest:
            self.left = {}
        elif self.current and digest != self.current:
            self.left[self.current] = now
        self.left.pop(digest, None)
        self.current = digest

    def allowed(self, now: float) -> set[str]:
        young = [digest for digest, since in self.left.items() if now - since < self.grace]
        return {self.current, *young} - {""}


@given(st.lists(STEPS, max_size=40), st.sampled_from([0.0, 3600.0]))
@settings(max_examples=300, deadline=None)
def test_a_digest_counts_while_the_tag_points_there_and_for_the_grace_time_after(steps, grace):
    assert len(DIGESTS) <= MAX_EARLIER

    async def run() -> None:
        now = 0.0
        registry, model = Registry(), Model(grace)
        resolver = OneDigest(registry, grace_seconds=grace, clock=lambda: now)  # type: ignore[arg-type]
        resolver.add([TAG])
        for what, value in steps:
            if what == "wait":
                now += value
            elif what == "move":
                registry.digest = value
            elif what == "delete":
                registry.digest = ""
            elif what == "silence":
                registry.digest = None
            elif what == "expire":
                resolver.expire()
            elif what == "policy":
                resolver.add([TAG])
                resolver.retain([TAG])
            else:
                await resolver.refresh(TAG)
                model.see(registry.digest, now)
            found = {digest for digest in DIGESTS if resolver.owners(digest)}
            assert found == model.allowed(now)
        resolver.retain([])
        assert not any(resolver.owners(digest) for digest in DIGESTS)
        assert len(resolver._index) == 0

    asyncio.run(run())
