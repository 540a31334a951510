import asyncio
import logging

import pytest

from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.holdings import Holdings, Question
from sockwarden.images.keeper import FUTURE_SECONDS, Keeper
from sockwarden.images.resolver import Resolver, Source, Target
from sockwarden.images.store import AnswerStore

REG = "reg.example"
APP = Repository(REG, "app")
ONE = Target(APP, "1")
GRACE = 3600.0


class Host:
    """One host: its wall clock, its disk, and as many runs of the agent as a test wants."""

    def __init__(self, bench, directory):
        self.bench = bench
        self.wall = 1_000_000.0
        self.store = AnswerStore(directory / "state", RegistrySettings())

    def run(self, scenario, *, targets=(ONE,)):
        """Start an agent, let ``scenario(resolver, holdings, keeper)`` run, and stop it in good order."""

        async def whole():
            resolver = Resolver(self.bench.client(), grace_seconds=GRACE, clock=self.bench.clock)
            holdings = Holdings(resolver)
            keeper = Keeper(self.store, resolver, holdings, wall=lambda: self.wall)
            keeper.recall()
            resolver.add(targets)
            resolver.retain(targets)
            keeper.start()
            try:
                return await scenario(resolver, holdings, keeper)
            finally:
                await keeper.close()
                await holdings.close()
                await resolver.close()

        return asyncio.run(whole())

    def reboot(self, seconds=60.0):
        """The wall clock goes on, the monotonic one begins anew."""
        self.wall += seconds
        self.bench.clock.now = 5.0


@pytest.fixture
def host(bench, tmp_path):
    return Host(bench, tmp_path)


async def refresh(resolver, _holdings, _keeper):
    await resolver.refresh(ONE)


async def look(resolver, _holdings, _keeper):
    return resolver.record(ONE)


def test_an_answer_survives_a_reboot_with_its_age_while_the_registry_is_down(host, world, bench):
    _, config = world.image(REG, "app", "1", "app")
    host.run(refresh)
    host.reboot(60.0)
    world.down.add(REG)

    async def scenario(resolver, _holdings, _keeper):
        await resolver.refresh(ONE)
        record = resolver.record(ONE)
        return resolver.owners(config), record.source, bench.clock() - record.answered_at, str(record.error)

    owners, source, age, error = host.run(scenario)
    assert (owners, source, age) == ({ONE}, Source.CACHE, 60.0)
    assert REG in error


def test_a_fresh_answer_is_not_asked_for_again_after_a_restart(host, world, bench):
    world.image(REG, "app", "1", "app")
    host.run(refresh)
    host.reboot(60.0)
    assert host.run(look).asked_at == bench.clock() - 60.0


def test_an_answer_from_the_future_serves_and_is_asked_again(host, world):
    _, config = world.image(REG, "app", "1", "app")
    host.run(refresh)
    host.reboot(-FUTURE_SECONDS - 1)

    async def scenario(resolver, _holdings, _keeper):
        return resolver.owners(config), resolver.record(ONE).asked_at

    assert host.run(scenario) == ({ONE}, None)


def test_a_small_difference_of_clocks_is_no_reason_to_ask(host, world, bench):
    world.image(REG, "app", "1", "app")
    host.run(refresh)
    host.reboot(-FUTURE_SECONDS + 1)
    assert host.run(look).asked_at == bench.clock()


def move(world):
    world.image(REG, "app", "1", "other")


def test_grace_goes_on_after_a_reboot_and_ends_when_it_would_have_ended(host, world, bench):
    _, before = world.image(REG, "app", "1", "app")
    host.run(refresh)
    move(world)
    host.run(refresh)
    host.reboot(GRACE - 100)

    async def scenario(resolver, _holdings, _keeper):
        first = resolver.owners(before)
        bench.clock.now += 101
        return first, resolver.owners(before)

    assert host.run(scenario) == ({ONE}, set())


@pytest.mark.parametrize("seconds", [GRACE + 1, 10 * GRACE])
def test_grace_that_ended_while_the_host_was_down_is_over(host, world, seconds):
    _, before = world.image(REG, "app", "1", "app")
    host.run(refresh)
    move(world)
    host.run(refresh)
    host.reboot(seconds)

    async def scenario(resolver, _holdings, _keeper):
        return resolver.owners(before), resolver.record(ONE).earlier

    assert host.run(scenario) == (set(), ())


def test_a_clock_that_was_set_back_makes_no_grace_longer_than_grace(host, world, bench):
    _, before = world.image(REG, "app", "1", "app")
    host.run(refresh)
    move(world)
    host.run(refresh)
    host.reboot(-1_000_000.0)

    async def scenario(resolver, _holdings, _keeper):
        bench.clock.now += GRACE
        return resolver.owners(before)

    assert host.run(scenario) == set()


def test_a_tag_that_was_deleted_is_not_remembered(host, world):
    world.image(REG, "app", "1", "app")
    host.run(refresh)
    world.stored.clear()
    host.run(refresh)
    assert host.run(look).members == frozenset()


def test_what_no_policy_names_any_more_is_not_kept(host, world):
    world.image(REG, "app", "1", "app")
    host.run(refresh)

    async def forget(resolver, _holdings, _keeper):
        resolver.retain([])

    host.run(forget)
    assert host.run(look).members == frozenset()


def test_what_a_repository_was_found_to_hold_is_known_without_a_question(host, world):
    digest, config = world.image(REG, "app", "1", "app")
    question = Question(APP, frozenset({config}), (digest,))

    async def ask(_resolver, holdings, _keeper):
        await holdings.ask(question)

    host.run(ask, targets=())
    host.reboot()
    world.down.add(REG)

    async def holders(_resolver, holdings, _keeper):
        return holdings.holders(config)

    assert host.run(holders, targets=()) == {APP}


def test_a_damaged_file_is_said_and_the_agent_starts_without_it(host, world, caplog):
    world.image(REG, "app", "1", "app")
    host.run(refresh)
    host.store.path.write_bytes(host.store.path.read_bytes().replace(b"app", b"abb", 1))
    with caplog.at_level(logging.WARNING):

        async def scenario(resolver, _holdings, keeper):
            return resolver.record(ONE).members, keeper.fault

        members, fault = host.run(scenario)
    assert members == frozenset()
    assert str(host.store.path) in fault
    assert fault in caplog.text


def test_answers_are_written_together_some_seconds_after_the_first(host, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.keeper.CHANGED_SECONDS", 0.02)
    world.image(REG, "app", "1", "app")
    saved = []
    save = host.store.save

    async def scenario(resolver, _holdings, _keeper):
        written = asyncio.Event()
        loop = asyncio.get_running_loop()

        def note(snapshot):
            saved.append(len(snapshot.answers))
            loop.call_soon_threadsafe(written.set)
            return save(snapshot)

        monkeypatch.setattr(AnswerStore, "save", lambda _, snapshot: note(snapshot))
        for _ in range(5):
            await resolver.refresh(ONE)
        await asyncio.wait_for(written.wait(), 10)

    host.run(scenario)
    assert saved[0] == 1
    assert len(saved) <= 2  # once for all five, and once more for what came while it was written


def test_a_disk_that_is_full_is_said_once_and_in_the_status(host, world, monkeypatch, caplog):
    world.image(REG, "app", "1", "app")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sockwarden.images.store.os.fsync", full)

    async def scenario(resolver, _holdings, keeper):
        await resolver.refresh(ONE)
        await keeper._save()
        await keeper._save()
        return keeper.status()

    with caplog.at_level(logging.WARNING):
        status = host.run(scenario)
    assert "No space left" in status["error"]
    assert status["written_at"] is None
    assert caplog.text.count("No space left") == 1


def test_a_slow_disk_is_given_one_file_at_a_time(host, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.keeper.CHANGED_SECONDS", 0.0)
    world.image(REG, "app", "1", "app")

    async def scenario(resolver, _holdings, keeper):
        release, begun, at_once = asyncio.Event(), asyncio.Event(), []
        running = 0

        async def slow(_save, _snapshot):
            nonlocal running
            running += 1
            at_once.append(running)
            begun.set()
            await release.wait()
            running -= 1
            return 0

        monkeypatch.setattr("sockwarden.images.keeper.asyncio.to_thread", slow)
        await resolver.refresh(ONE)
        await begun.wait()
        move(world)
        await resolver.refresh(ONE)
        for _ in range(20):
            await asyncio.sleep(0)
        release.set()
        await keeper.close()
        return at_once

    assert set(host.run(scenario)) == {1}
