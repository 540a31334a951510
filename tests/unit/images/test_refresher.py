import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sockwarden.images.endpoints import Repository
from sockwarden.images.refresher import FIRST_RETRY_SECONDS, JITTER, TICK_SECONDS, WORKERS, Refresher
from sockwarden.images.resolver import Resolver, Target

REG = "reg.example"
APP = Repository(REG, "app")
ONE = Target(APP, "1")


def run(bench: Any, targets: tuple[Target, ...], scenario: Callable[[Refresher], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        resolver = Resolver(bench.client(), clock=bench.clock)
        resolver.add(targets)
        refresher = Refresher(resolver, targets, 3600.0)
        try:
            return await scenario(refresher)
        finally:
            await refresher.close()
            await resolver.close()

    return asyncio.run(whole())


def test_a_target_is_due_again_after_the_interval(bench, world):
    world.image(REG, "app", "1", "app")

    async def scenario(refresher):
        before = refresher.due_at(ONE)
        await refresher.sweep([ONE], lambda _: None)
        return before, refresher.due_at(ONE)

    first, second = run(bench, (ONE,), scenario)
    assert first == 0.0
    assert 1000 + 3600 * (1 - JITTER) <= second <= 1000 + 3600 * (1 + JITTER)


def test_failures_stretch_the_wait_up_to_the_interval(bench, world):
    world.down.add(REG)

    async def scenario(refresher):
        waits = []
        for _ in range(10):
            await refresher.sweep([ONE], lambda _: None)
            waits.append(refresher.due_at(ONE) - bench.clock.now)
            bench.clock.now += 10
        return waits

    waits = run(bench, (ONE,), scenario)
    assert waits[:3] == pytest.approx(
        [FIRST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2, FIRST_RETRY_SECONDS * 4], rel=JITTER
    )
    assert waits[-1] == pytest.approx(3600.0, rel=JITTER)


def test_the_timetable_says_the_same_each_time_that_it_is_read(bench, world):
    world.image(REG, "app", "1", "app")

    async def scenario(refresher):
        await refresher.sweep([ONE], lambda _: None)
        return refresher.due_at(ONE) == refresher.due_at(ONE)

    assert run(bench, (ONE,), scenario)


def test_with_a_lock_file_nothing_is_asked_in_the_background(bench):
    async def scenario(refresher):
        refresher._resolver.lock({}, "x.lock.json")
        refresher.start()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert run(bench, (ONE,), scenario) == set()


def test_a_resolved_digest_is_never_due(bench, world):
    pinned = Target(APP, world.image(REG, "app", "1", "app")[0])

    async def scenario(refresher):
        await refresher.sweep([pinned], lambda _: None)
        return refresher.due_at(pinned)

    assert run(bench, (pinned,), scenario) == float("inf")


def test_the_background_task_asks_again_when_due(bench, world, monkeypatch):
    world.image(REG, "app", "1", "app")
    waits = []
    asked_twice = asyncio.Event()

    async def nap(seconds):
        waits.append(seconds)
        bench.clock.now += seconds
        if len(waits) == 3:
            asked_twice.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("sockwarden.images.refresher.asyncio.sleep", nap)

    async def scenario(refresher):
        refresher.start()
        await asked_twice.wait()

    run(bench, (ONE,), scenario)
    assert all(TICK_SECONDS <= wait <= 3600 * (1 + JITTER) for wait in waits)
    assert sum(request.method == "HEAD" for request in world.seen) >= 2


def test_few_targets_are_asked_at_once(bench, world):
    targets = tuple(Target(Repository(f"reg{number}.example", "app"), "1") for number in range(WORKERS * 2))
    world.gate = asyncio.Event()

    async def scenario(refresher):
        sweep = asyncio.create_task(refresher.sweep(targets, lambda _: None))
        await world.arrived.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        at_once = len(world.seen)
        world.gate.set()
        await sweep
        return at_once

    assert run(bench, targets, scenario) == WORKERS


def test_without_targets_there_is_no_task(bench):
    async def scenario(refresher):
        refresher.start()
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert run(bench, (), scenario) == set()
