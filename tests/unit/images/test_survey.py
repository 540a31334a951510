import asyncio

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import Repository
from sockwarden.images.patience import LimitedError
from sockwarden.images.resolver import Resolver, Target
from sockwarden.images.survey import PATIENCE_SECONDS, digest_of, parts_of, survey

TARGETS = [Target(Repository("reg.example", f"app{number}"), "1") for number in range(10)]


def run(ask, parallel=4, targets=TARGETS, **options):
    landed = []
    answers = asyncio.run(survey(targets, ask, parallel, lambda *row: landed.append(row), **options))
    return answers, landed


async def name_of(target):
    await asyncio.sleep(0)
    return str(target)


def test_every_target_is_asked_once_and_answered_in_its_order():
    answers, landed = run(name_of, targets=[*TARGETS, *TARGETS])
    assert answers == {target: str(target) for target in TARGETS}
    assert list(answers) == TARGETS
    assert [(done, of) for done, of, _ in landed] == [(number, 10) for number in range(1, 11)]


def test_no_more_are_asked_at_once_than_was_ordered():
    at_once, most = 0, 0

    async def ask(target):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    run(ask, parallel=3)
    assert most == 3


def test_one_failure_leaves_the_others_their_answers():
    async def ask(target):
        if target is TARGETS[3]:
            raise RegistryError("no")
        return str(target)

    answers, _ = run(ask)
    assert [target for target, answer in answers.items() if isinstance(answer, RegistryError)] == [TARGETS[3]]


def test_a_registry_that_asks_for_a_pause_is_waited_for(monkeypatch):
    monkeypatch.setattr("sockwarden.images.survey.PAUSE_SECONDS", 0.0)
    asked = []

    async def ask(target):
        asked.append(target)
        if len(asked) < 3:
            raise LimitedError("wait")
        return "here"

    answers, _ = run(ask, targets=TARGETS[:1])
    assert answers == {TARGETS[0]: "here"}


def test_patience_ends():
    times = iter([0.0, PATIENCE_SECONDS])

    async def ask(_):
        raise LimitedError("wait")

    answers, _ = run(ask, targets=TARGETS[:1], clock=lambda: next(times))
    assert isinstance(answers[TARGETS[0]], LimitedError)


def test_nothing_to_ask_is_no_fault():
    assert run(name_of, targets=[]) == ({}, [])


def test_a_digest_costs_one_head_and_the_parts_are_the_whole_image(bench, world):
    index, platforms = world.index("reg.example", "app", "1", "amd64")
    target = Target(Repository("reg.example", "app"), "1")

    async def scenario(client):
        resolver = Resolver(client)
        digest = await digest_of(resolver, target)
        heads = [request.method for request in world.seen]
        return digest, heads, await parts_of(resolver, target)

    digest, heads, parts = bench.run(scenario)
    assert (digest, heads) == (index, ["HEAD"])
    assert parts.members == {index, *platforms[0]}
