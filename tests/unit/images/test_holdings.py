import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Repository
from sockwarden.images.holdings import Holdings, Question
from sockwarden.images.resolver import Resolver

REG = "reg.example"
APP = Repository(REG, "app")


def run(bench: Any, scenario: Callable[[Holdings], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        resolver = Resolver(bench.client(), clock=bench.clock)
        holdings = Holdings(resolver)
        try:
            return await scenario(holdings)
        finally:
            await holdings.close()
            await resolver.close()

    return asyncio.run(whole())


def question(digest: str, *references: str) -> Question:
    return Question(APP, frozenset({digest}), references)


def test_one_silent_hint_does_not_hide_another_that_leads_there(bench, world):
    digest, config = world.image(REG, "app", "1", "app")
    world.stored[REG, "app", "broken"] = ("x", b"{}")

    async def scenario(holdings):
        await holdings.ask(question(config, "broken", digest))
        return holdings.holders(config)

    assert run(bench, scenario) == {APP}


def test_found_digests_beyond_the_limit_push_out_the_oldest(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.holdings.MAX_HELD", 2)
    configs = [world.image(REG, "app", tag, tag)[1] for tag in ("1", "2", "3")]

    async def scenario(holdings):
        for tag, config in zip(("1", "2", "3"), configs, strict=True):
            await holdings.ask(question(config, tag))
        return [bool(holdings.holders(config)) for config in configs]

    assert run(bench, scenario) == [False, True, True]


def test_negative_answers_beyond_the_limit_push_out_the_oldest(bench, monkeypatch):
    monkeypatch.setattr("sockwarden.images.holdings.MAX_ABSENT", 2)
    asked = [question("sha256:x", tag) for tag in ("1", "2", "3")]

    async def scenario(holdings):
        for one in asked:
            await holdings.ask(one)
        return [holdings.is_answered(one) for one in asked]

    assert run(bench, scenario) == [False, True, True]


def test_a_fault_of_our_own_is_not_taken_for_an_answer(bench, world):
    def fault(_):
        raise LookupError("boom")

    world.rules.append(fault)

    async def scenario(holdings):
        await holdings.ask(question("sha256:x", "1"))
        return str(holdings.fault(question("sha256:x", "1")))

    assert run(bench, scenario) == "the agent failed while it asked: LookupError('boom')"


def test_closing_gives_up_a_question_under_way(bench, world):
    world.gate = asyncio.Event()

    async def scenario(holdings):
        asking = asyncio.create_task(holdings.ask(question("sha256:x", "1")))
        await world.arrived.wait()
        await holdings.close()
        with pytest.raises(RegistryError, match="stops"):
            await asking

    run(bench, scenario)


def test_with_a_lock_file_no_repository_is_asked(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(holdings):
        holdings._resolver.lock({}, "x.lock.json")
        await holdings.ask(question(config, "1"))
        return holdings.holders(config), str(holdings.fault(question(config, "1"))), world.seen

    holders, fault, seen = run(bench, scenario)
    assert (holders, seen) == (frozenset(), [])
    assert "no registry is asked" in fault
