import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sockwarden.dockerapi.manifest import OCI_INDEX
from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Repository
from sockwarden.images.resolver import MAX_DEPTH, Resolver, Target

REG = "reg.example"
APP = Repository(REG, "app")
ONE = Target(APP, "1")


def run(bench: Any, scenario: Callable[[Resolver], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        resolver = Resolver(bench.client(), clock=bench.clock)
        try:
            return await scenario(resolver)
        finally:
            await resolver.close()

    return asyncio.run(whole())


def index_of(*digests: str) -> dict[str, Any]:
    listed = [{"mediaType": OCI_INDEX, "digest": digest, "size": 1} for digest in digests]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}


def test_a_target_reads_as_the_reference_it_is():
    digest = "sha256:" + "a" * 64
    assert (str(ONE), str(Target(APP, digest))) == (f"{REG}/app:1", f"{REG}/app@{digest}")


def test_what_a_target_holds_is_found_by_digest(bench, world):
    digest, config = world.image(REG, "app", "1", "app")

    async def scenario(resolver):
        resolver.add([ONE])
        await resolver.refresh(ONE)
        return resolver.owners(digest), resolver.owners(config), resolver.unresolved

    assert run(bench, scenario) == ({ONE}, {ONE}, set())


def test_two_tags_of_one_image_are_both_found(bench, world):
    _, config = world.image(REG, "app", "1", "app")
    world.image(REG, "app", "2", "app")
    two = Target(APP, "2")

    async def scenario(resolver):
        resolver.add([ONE, two])
        await resolver.refresh(ONE)
        await resolver.refresh(two)
        both = set(resolver.owners(config))
        resolver.retain([two])
        return both, resolver.owners(config)

    assert run(bench, scenario) == ({ONE, two}, {two})


def test_what_no_policy_names_is_forgotten(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(resolver):
        resolver.add([ONE])
        await resolver.refresh(ONE)
        resolver.retain([])
        return resolver.owners(config), resolver.record(ONE).members

    assert run(bench, scenario) == (set(), frozenset())


def test_an_answer_survives_that_the_next_policy_names_it_again(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(resolver):
        resolver.add([ONE])
        await resolver.refresh(ONE)
        resolver.add([ONE])
        resolver.retain([ONE])
        return resolver.owners(config)

    assert run(bench, scenario) == {ONE}


def test_an_answer_for_what_was_forgotten_meanwhile_is_dropped(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(resolver):
        await resolver.refresh(ONE)
        return resolver.owners(config)

    assert run(bench, scenario) == set()


def test_an_unchanged_tag_costs_one_head(bench, world):
    world.index(REG, "app", "1", "amd64", "arm64")

    async def scenario(resolver):
        resolver.add([ONE])
        await resolver.refresh(ONE)
        world.seen.clear()
        await resolver.refresh(ONE)

    run(bench, scenario)
    assert [request.method for request in world.seen] == ["HEAD"]


def test_a_platform_that_the_registry_dropped_leaves_the_others(bench, world):
    index, platforms = world.index(REG, "app", "1", "amd64", "arm64")
    del world.stored[REG, "app", platforms[1][0]]

    async def scenario(resolver):
        return await resolver.closure(APP, index)

    assert run(bench, scenario) == {index, *platforms[0], platforms[1][0]}


def test_a_platform_that_cannot_be_verified_spoils_the_whole(bench, world):
    index, platforms = world.index(REG, "app", "1", "amd64", "arm64")
    world.stored[REG, "app", platforms[1][0]] = ("x", b"{}")

    async def scenario(resolver):
        with pytest.raises(RegistryError, match="bytes that hash to"):
            await resolver.closure(APP, index)

    run(bench, scenario)


def test_a_root_that_is_gone_is_an_error(bench):
    async def scenario(resolver):
        with pytest.raises(RegistryError, match="has no app"):
            await resolver.closure(APP, "sha256:" + "0" * 64)

    run(bench, scenario)


def test_an_index_of_indexes_is_followed(bench, world):
    inner, platforms = world.index(REG, "app", "inner", "amd64")
    outer = world.put(REG, "app", "1", index_of(inner))

    async def scenario(resolver):
        return await resolver.closure(APP, outer)

    assert run(bench, scenario) == {outer, inner, *platforms[0]}


def test_indexes_deeper_than_the_limit_are_refused(bench, world):
    digest = world.put(REG, "app", "0", index_of())
    for level in range(MAX_DEPTH):
        digest = world.put(REG, "app", str(level), index_of(digest))

    async def scenario(resolver):
        with pytest.raises(RegistryError, match="levels or too wide"):
            await resolver.closure(APP, digest)

    run(bench, scenario)


def test_an_image_of_too_many_parts_is_refused(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.resolver.MAX_MANIFESTS", 2)
    index, _ = world.index(REG, "app", "1", "amd64", "arm64")

    async def scenario(resolver):
        with pytest.raises(RegistryError, match="levels or too wide"):
            await resolver.closure(APP, index)

    run(bench, scenario)


def test_a_fault_of_our_own_shows_in_the_record(bench, world):
    def fault(_):
        raise LookupError("boom")

    world.rules.append(fault)

    async def scenario(resolver):
        resolver.add([ONE])
        await resolver.refresh(ONE)
        return str(resolver.record(ONE).error), resolver.unresolved

    assert run(bench, scenario) == ("the agent failed while it asked: LookupError('boom')", {ONE})
