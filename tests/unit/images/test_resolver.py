import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sockwarden.dockerapi.manifest import OCI_INDEX
from sockwarden.errors import RegistryError
from sockwarden.images.answers import pack
from sockwarden.images.endpoints import Repository
from sockwarden.images.resolver import MAX_DEPTH, MAX_EARLIER, Resolver, Source, Target

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
        with pytest.raises(RegistryError, match=r"has no reg\.example/app"):
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


def graceful(bench: Any, scenario: Callable[[Resolver], Awaitable[Any]], grace_seconds: float = 3600.0) -> Any:
    async def whole() -> Any:
        resolver = Resolver(bench.client(), grace_seconds=grace_seconds, clock=bench.clock)
        resolver.add([ONE])
        try:
            return await scenario(resolver)
        finally:
            await resolver.close()

    return asyncio.run(whole())


async def moved(resolver, world, names=("old", "new")):
    """Let the tag point to each image in turn, and return their ids."""
    configs = []
    for name in names:
        configs.append(world.image(REG, "app", "1", name)[1])
        await resolver.refresh(ONE)
    return configs


def test_after_a_move_the_digests_of_before_count_until_the_grace_time_ends(bench, world):
    async def scenario(resolver):
        old, new = await moved(resolver, world)
        bench.clock.now += 3599
        during = resolver.owners(old), resolver.owners(new)
        bench.clock.now += 1
        return during, (resolver.owners(old), resolver.owners(new))

    assert graceful(bench, scenario) == (({ONE}, {ONE}), (set(), {ONE}))


def test_without_grace_the_digests_of_before_end_with_the_move(bench, world):
    async def scenario(resolver):
        old, new = await moved(resolver, world)
        return resolver.owners(old), resolver.owners(new), resolver.record(ONE).earlier

    assert graceful(bench, scenario, 0.0) == (set(), {ONE}, ())


def test_a_refresh_that_shows_no_further_move_makes_no_grace_longer(bench, world):
    async def scenario(resolver):
        old, _ = await moved(resolver, world)
        bench.clock.now += 1800
        await resolver.refresh(ONE)
        bench.clock.now += 1800
        return resolver.owners(old)

    assert graceful(bench, scenario) == set()


def test_a_silent_registry_makes_no_grace_longer(bench, world):
    async def scenario(resolver):
        old, new = await moved(resolver, world)
        world.down.add(REG)
        bench.clock.now += 3600
        await resolver.refresh(ONE)
        return resolver.owners(old), resolver.owners(new)

    assert graceful(bench, scenario) == (set(), {ONE})


def test_a_tag_that_is_deleted_ends_at_once_with_the_grace_of_what_was_there_before(bench, world):
    async def scenario(resolver):
        old, new = await moved(resolver, world)
        world.stored.clear()
        await resolver.refresh(ONE)
        return resolver.owners(old), resolver.owners(new)

    assert graceful(bench, scenario) == (set(), set())


def test_a_tag_that_moves_back_is_what_it_was_and_the_other_one_has_grace(bench, world):
    async def scenario(resolver):
        old, new, again = await moved(resolver, world, ("old", "new", "old"))
        assert old == again
        bench.clock.now += 3600
        return resolver.owners(old), resolver.owners(new)

    assert graceful(bench, scenario) == ({ONE}, set())


def test_each_answer_has_its_own_grace(bench, world):
    async def scenario(resolver):
        (first,) = await moved(resolver, world, ("first",))
        bench.clock.now += 600
        (second,) = await moved(resolver, world, ("second",))
        bench.clock.now += 1800
        await moved(resolver, world, ("third",))
        bench.clock.now += 1800
        return resolver.owners(first), resolver.owners(second)

    assert graceful(bench, scenario) == (set(), {ONE})


def test_a_tag_that_never_rests_keeps_few_answers(bench, world):
    async def scenario(resolver):
        configs = await moved(resolver, world, [str(number) for number in range(MAX_EARLIER + 3)])
        return [bool(resolver.owners(config)) for config in configs]

    assert graceful(bench, scenario) == [False, False, *[True] * (MAX_EARLIER + 1)]


def test_what_is_over_gives_its_memory_back(bench, world):
    async def scenario(resolver):
        await moved(resolver, world)
        before = len(resolver._index)
        bench.clock.now += 3600
        resolver.expire()
        return before, len(resolver._index), resolver.record(ONE).earlier

    assert graceful(bench, scenario) == (4, 2, ())


def test_a_change_is_told_apart_from_a_confirmation(bench, world):
    async def scenario(resolver):
        told: list[bool] = []
        resolver.on_change = told.append
        await moved(resolver, world, ("old", "old", "new"))
        return told

    assert graceful(bench, scenario) == [True, False, True]


def test_an_answer_for_a_target_that_was_forgotten_and_named_anew_is_asked_again(bench, world):
    world.image(REG, "app", "1", "app")
    world.gate = asyncio.Event()

    async def scenario(resolver):
        asking = asyncio.create_task(resolver.refresh(ONE))
        await world.arrived.wait()
        resolver.retain([])
        resolver.add([ONE])
        world.gate.set()
        await asking
        return resolver.record(ONE).answered_at, resolver.unresolved

    assert graceful(bench, scenario) == (None, {ONE})


def locked(resolver, *digests):
    resolver.lock({ONE: pack(digests[0], digests)} if digests else {}, "digests.lock.json")


def test_with_a_lock_its_digests_decide_and_no_registry_is_asked(bench, world):
    digest, config = world.image(REG, "app", "1", "app")

    async def scenario(resolver):
        locked(resolver, digest, config)
        await resolver.refresh(ONE)
        return resolver.owners(config), resolver.unresolved, resolver.record(ONE).source, world.seen

    assert graceful(bench, scenario) == ({ONE}, set(), Source.LOCK, [])


def test_the_next_lock_replaces_the_digests_without_grace(bench, world):
    async def scenario(resolver):
        one, two = (world.image(REG, "app", "1", name)[0] for name in ("one", "two"))
        locked(resolver, one)
        locked(resolver, two)
        return resolver.owners(one), resolver.owners(two)

    assert graceful(bench, scenario) == (set(), {ONE})


def test_what_a_lock_does_not_hold_allows_nothing_and_says_why(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(resolver):
        await resolver.refresh(ONE)
        locked(resolver)
        return resolver.owners(config), str(resolver.record(ONE).error), resolver.unresolved

    owners, error, unresolved = graceful(bench, scenario)
    assert (owners, unresolved) == (set(), {ONE})
    assert "the lock file digests.lock.json does not hold it" in error


def test_the_parts_of_an_image_are_told_by_kind(bench, world):
    index, platforms = world.index(REG, "app", "1", "amd64", "arm64")

    async def scenario(resolver):
        return await resolver.parts(APP, index)

    parts = graceful(bench, scenario)
    assert (parts.root, parts.indexes) == (index, {index})
    assert (parts.manifests, parts.configs) == ({one for one, _ in platforms}, {two for _, two in platforms})
