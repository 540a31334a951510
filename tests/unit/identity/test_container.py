"""Peers become clients: a fake engine and a fake /proc that can change between questions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from sockwarden.errors import EngineError
from sockwarden.identity import container as module
from sockwarden.identity.container import MAX_KNOWN, ContainerResolver
from sockwarden.identity.peer import PeerSnapshot
from sockwarden.model import ContainerClient, HostClient, IdentitySource, Peer, Rule, UnknownClient

GOOD = "a" * 64
EVIL = "b" * 64
IMAGE = f"sha256:{'1' * 64}"
MANIFEST = f"sha256:{'2' * 64}"
PEER = Peer(4242, 0, 0, 99, IdentitySource.PIDFD)


def at(path: str) -> PeerSnapshot:
    return PeerSnapshot(PEER, f"0::{path}\n")


def described(container_id: str, pid: int = 100, **more: Any) -> dict[str, Any]:
    state = {"Running": pid > 0, "Pid": pid}
    return {"Id": container_id, "Image": IMAGE, "Config": {"Image": "img:1"}, "State": state, **more}


@dataclass
class FakeEngine:
    """Answers from a table; a list is answered one by one, the last one for ever."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def inspect_container(self, id_or_name: str, /) -> Any:
        self.asked.append(id_or_name)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.get(id_or_name)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class FakeProc:
    """Processes by pid: start ticks and cgroup path."""

    processes: dict[int, tuple[int, str]] = field(default_factory=dict)
    error: OSError | None = None

    def start_ticks(self, pid: int, /) -> int | None:
        if self.error is not None:
            raise self.error
        found = self.processes.get(pid)
        return None if found is None else found[0]

    def cgroup(self, pid: int, /) -> str | None:
        found = self.processes.get(pid)
        return None if found is None else f"0::{found[1]}\n"


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def engine():
    return FakeEngine({GOOD: described(GOOD)})


@pytest.fixture
def proc():
    return FakeProc({100: (7, f"/docker/{GOOD}")})


@pytest.fixture
def resolver(engine, proc):
    return ContainerResolver(engine, proc, start_delays=(0, 0))


def resolve(resolver: ContainerResolver, snapshot: PeerSnapshot) -> Any:
    return asyncio.run(resolver.resolve(snapshot))


def test_a_peer_without_identity_is_unknown_for_its_reason(resolver):
    assert resolver.resolve_now(PeerSnapshot(None, reason="gone")) == UnknownClient(None, Rule.IDENTITY, "gone")


def test_a_host_peer_needs_no_engine(resolver, engine):
    assert (resolver.resolve_now(at("/user.slice")), engine.asked) == (HostClient(PEER), [])


def test_a_foreign_peer_needs_no_engine(resolver):
    client = resolver.resolve_now(at("/lxc/web"))
    assert (type(client), client.rule, client.peer) == (UnknownClient, Rule.UNKNOWN_CONTAINER, PEER)


def test_a_container_that_was_not_asked_about_needs_the_engine(resolver):
    assert resolver.resolve_now(at(f"/docker/{GOOD}")) is None


def test_a_container_is_what_the_engine_says(resolver):
    client = resolve(resolver, at(f"/docker/{GOOD}/app"))
    assert isinstance(client, ContainerClient)
    assert (client.container.id, client.container.image_id, client.container.image_name) == (GOOD, IMAGE, "img:1")


def test_the_manifest_digest_is_taken_where_the_engine_gives_it(resolver, engine):
    engine.answers[GOOD] = described(GOOD, ImageManifestDescriptor={"digest": MANIFEST})
    assert resolve(resolver, at(f"/docker/{GOOD}")).container.manifest_digest == MANIFEST


def test_a_resolved_container_needs_no_engine_the_next_time(resolver, engine):
    first = resolve(resolver, at(f"/docker/{GOOD}"))
    assert (resolver.resolve_now(at(f"/docker/{GOOD}/x")), engine.asked) == (first, [GOOD])


def test_a_long_path_is_resolved_like_a_short_one(resolver):
    assert isinstance(resolve(resolver, at(f"/docker/{GOOD}" + "/x" * 4096)), ContainerClient)


def test_a_restarted_container_is_asked_about_again(resolver, engine, proc):
    resolve(resolver, at(f"/docker/{GOOD}"))
    proc.processes[100] = (8, f"/docker/{GOOD}")
    assert resolver.resolve_now(at(f"/docker/{GOOD}")) is None


def test_an_init_that_cannot_be_read_is_asked_about_again(resolver, proc):
    resolve(resolver, at(f"/docker/{GOOD}"))
    proc.error = PermissionError()
    assert resolver.resolve_now(at(f"/docker/{GOOD}")) is None


def test_a_forgotten_container_is_asked_about_again(resolver):
    resolve(resolver, at(f"/docker/{GOOD}"))
    resolver.forget(GOOD)
    resolver.forget(EVIL)
    assert resolver.resolve_now(at(f"/docker/{GOOD}")) is None


@pytest.mark.parametrize(("pid", "remembered"), [(100, 0), (101, 1)])
def test_a_container_is_forgotten_with_its_init_and_no_other_process(resolver, pid, remembered):
    resolve(resolver, at(f"/docker/{GOOD}"))
    resolver.init_ended(GOOD, pid)
    resolver.init_ended(EVIL, pid)
    assert len(resolver) == remembered


def test_after_a_restart_of_the_engine_nothing_is_remembered(resolver):
    resolve(resolver, at(f"/docker/{GOOD}"))
    resolver.clear()
    assert len(resolver) == 0


def test_a_container_that_the_engine_does_not_know_is_unknown(resolver):
    client = resolve(resolver, at(f"/docker/{EVIL}"))
    assert (client.rule, EVIL[:12] in client.reason) == (Rule.UNKNOWN_CONTAINER, True)


def test_a_container_called_like_an_id_is_not_that_container(resolver, engine):
    engine.answers[EVIL] = described(GOOD)
    assert resolve(resolver, at(f"/docker/{EVIL}")).rule is Rule.UNKNOWN_CONTAINER


def test_a_container_below_anothers_cgroup_is_itself(resolver, engine, proc):
    engine.answers[EVIL] = described(EVIL, 200)
    proc.processes[200] = (9, f"/docker/{GOOD}/{EVIL}")
    assert resolve(resolver, at(f"/docker/{GOOD}/{EVIL}")).container.id == EVIL


def test_a_cached_container_does_not_answer_for_one_below_it(resolver):
    resolve(resolver, at(f"/docker/{GOOD}"))
    assert resolver.resolve_now(at(f"/docker/{GOOD}/{EVIL}")) is None


def test_an_init_in_another_cgroup_confirms_nothing(resolver, proc):
    proc.processes[100] = (7, "/system.slice/cron.service")
    assert resolve(resolver, at(f"/docker/{GOOD}")).rule is Rule.UNKNOWN_CONTAINER


def test_a_container_that_is_just_starting_is_waited_for(resolver, engine):
    engine.answers[GOOD] = [described(GOOD, 0), described(GOOD, 0), described(GOOD)]
    assert isinstance(resolve(resolver, at(f"/docker/{GOOD}")), ContainerClient)


def test_a_container_that_does_not_start_is_not_waited_for_for_ever(resolver, engine):
    engine.answers[GOOD] = described(GOOD, 0)
    assert (resolve(resolver, at(f"/docker/{GOOD}")).rule, len(engine.asked)) == (Rule.UNKNOWN_CONTAINER, 3)


def test_a_container_whose_init_is_gone_is_unknown(resolver, proc):
    proc.processes.clear()
    assert resolve(resolver, at(f"/docker/{GOOD}")).rule is Rule.UNKNOWN_CONTAINER


def test_a_stopped_engine_is_its_own_reason(resolver, engine):
    engine.answers[GOOD] = EngineError("no engine here")
    client = resolve(resolver, at(f"/docker/{GOOD}"))
    assert (client.rule, "no engine here" in client.reason) == (Rule.ENGINE, True)


def test_an_init_that_the_system_does_not_show_is_a_reason(resolver, proc):
    proc.error = PermissionError("no")
    assert resolve(resolver, at(f"/docker/{GOOD}")).rule is Rule.ENGINE


@pytest.mark.parametrize(
    "answer",
    [
        {"Id": GOOD},
        {"Id": GOOD, "State": {"Running": True}},
        {"Id": GOOD, "State": {"Running": True, "Pid": 100}},
        {"Id": GOOD, "State": {"Running": True, "Pid": 100}, "Image": "img:1"},
    ],
)
def test_an_answer_that_lacks_what_is_needed_is_the_engines_fault(resolver, engine, answer):
    engine.answers[GOOD] = answer
    assert resolve(resolver, at(f"/docker/{GOOD}")).rule is Rule.ENGINE


def test_an_answer_without_an_image_name_will_do(resolver, engine):
    engine.answers[GOOD] = described(GOOD, Config=None)
    assert resolve(resolver, at(f"/docker/{GOOD}")).container.image_name == ""


def test_an_engine_that_does_not_answer_is_not_waited_for_for_ever(engine, proc, monkeypatch):
    async def scenario() -> Any:
        engine.gate = asyncio.Event()
        return await ContainerResolver(engine, proc).resolve(at(f"/docker/{GOOD}"))

    monkeypatch.setattr(module, "RESOLVE_SECONDS", 0)
    assert asyncio.run(scenario()).rule is Rule.ENGINE


def test_an_error_that_nobody_waits_for_any_more_is_not_reported(engine, proc):
    async def scenario() -> Any:
        engine.gate = asyncio.Event()
        engine.answers[GOOD] = EngineError("late")
        waiting = asyncio.create_task(ContainerResolver(engine, proc).resolve(at(f"/docker/{GOOD}")))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        engine.gate.set()
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        await settle()
        return reported

    assert asyncio.run(scenario()) == []


def test_many_peers_of_one_container_ask_once(resolver, engine):
    async def scenario() -> Any:
        engine.gate = asyncio.Event()
        waiting = [asyncio.create_task(resolver.resolve(at(f"/docker/{GOOD}"))) for _ in range(200)]
        await settle()
        engine.gate.set()
        return await asyncio.gather(*waiting)

    clients = asyncio.run(scenario())
    assert (len(set(clients)), engine.asked) == (1, [GOOD])


def test_the_oldest_container_is_forgotten_first(engine, proc):
    ids = [f"{number:064x}" for number in range(MAX_KNOWN + 1)]
    for pid, container_id in enumerate(ids, start=1):
        engine.answers[container_id] = described(container_id, pid)
        proc.processes[pid] = (7, f"/docker/{container_id}")
    resolver = ContainerResolver(engine, proc)

    async def scenario() -> Any:
        for container_id in ids:
            await resolver.resolve(at(f"/docker/{container_id}"))

    asyncio.run(scenario())
    assert (len(resolver), resolver.resolve_now(at(f"/docker/{ids[0]}"))) == (MAX_KNOWN, None)
