import asyncio

import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Repository

APP = Repository("reg.example", "team/app")


def test_questions_asked_together_fly_once(bench, world):
    world.image("reg.example", "team/app", "1", "app")

    async def both(client):
        return await asyncio.gather(client.head(APP, "1"), client.head(APP, "1"))

    first, second = bench.run(both)
    assert (first, len(world.seen)) == (second, 1)


def test_a_waiter_that_leaves_does_not_take_the_answer_from_others(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    world.gate = asyncio.Event()

    async def one_leaves(client):
        leaves = asyncio.create_task(client.head(APP, "1"))
        stays = asyncio.create_task(client.head(APP, "1"))
        await world.arrived.wait()
        leaves.cancel()
        world.gate.set()
        return await stays

    assert bench.run(one_leaves) == digest


def test_closing_ends_a_question_with_a_registry_error(bench, world):
    world.gate = asyncio.Event()

    async def closed(client):
        waits = asyncio.create_task(client.head(APP, "1"))
        await world.arrived.wait()
        await client.close()
        await waits

    with pytest.raises(RegistryError, match="stops"):
        bench.run(closed)
