"""Who may touch a guarded socket, and what the trail, the metrics and the log say of who tried."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.stage import generation

from sockwarden.abi import KernelVerdict, SocketClass
from sockwarden.identity.container import ContainerResolver
from sockwarden.kernel.events import ConnectEvent, GuardEvent, LossEvent, Sighting, Taken
from sockwarden.kernel.life import process
from sockwarden.model import Client, Container, ContainerClient, IdentitySource, Mode, Peer, Rule, UnknownClient
from sockwarden.observe.audit import AuditLog
from sockwarden.observe.metrics import Metrics, registry_of
from sockwarden.observe.process import ProcessCache
from sockwarden.observe.sink import AuditSink
from sockwarden.service import sentry as module
from sockwarden.service.sentry import GUARD_KINDS, Sentry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sockwarden.identity.peer import PeerSnapshot

ID = "a" * 64
GONE = 2**22 - 1

EVENT = ConnectEvent(
    Sighting.CONNECT, GONE, 5, 0, 0, 1, 1, "evil", 9, f"/docker/{ID}", Path("/run/engine.sock"), SocketClass.ENGINE,
    KernelVerdict.NONE,
)  # fmt: skip


class Resolver(ContainerResolver):
    """Knows one container: at once, only when asked, or not at all."""

    def __init__(self) -> None:
        super().__init__(self)
        self.at_once = self.known = True

    async def inspect_container(self, id_or_name: str, /) -> Mapping[str, Any] | None:
        raise AssertionError(id_or_name)

    def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
        return self._answer(snapshot) if self.at_once else None

    async def resolve(self, snapshot: PeerSnapshot) -> Client:
        return self._answer(snapshot)

    def _answer(self, snapshot: PeerSnapshot) -> Client:
        assert snapshot.peer is not None
        if not self.known:
            return UnknownClient(snapshot.peer, Rule.UNKNOWN_CONTAINER, "none")
        return ContainerClient(snapshot.peer, Container(ID, f"sha256:{'1' * 64}", "img"))


class Post:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "audit"
        self.metrics = Metrics("1", (), GUARD_KINDS)
        self.resolver = Resolver()
        processes = ProcessCache(process.start_ticks)
        log = AuditLog(AuditSink(str(self.file)), processes, "/run/engine.sock")
        self.sentry = Sentry(self.resolver, processes, self.metrics, log)
        self.sentry.generation = generation()

    def saw(self, taken: Taken, event: ConnectEvent = EVENT) -> None:
        async def run() -> None:
            self.sentry.saw(GuardEvent(event, taken))
            await asyncio.gather(*self.sentry._naming)

        asyncio.run(run())

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def count(self, name: str, **labels: str) -> float:
        return registry_of(self.metrics).get_sample_value(f"sockwarden_{name}_total", labels) or 0


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


@pytest.fixture
def living() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child.pid
        child.kill()


def test_a_process_of_a_container_may_not_and_one_of_the_host_may(post: Post) -> None:
    assert not post.sentry.may_touch(EVENT)
    assert post.sentry.may_touch(replace(EVENT, cgroup_path="/system.slice/cron.service"))


def test_a_process_that_lives_is_judged_by_its_cgroups_of_now(post: Post, living: int) -> None:
    start = process.start_ticks(living)
    assert start is not None
    assert post.sentry.may_touch(replace(EVENT, pid=living, start_ticks=start))


def test_the_later_owner_of_a_number_is_not_asked(post: Post, living: int) -> None:
    start = process.start_ticks(living)
    assert start is not None
    assert not post.sentry.may_touch(replace(EVENT, pid=living, start_ticks=start + 1))


def test_a_process_that_nobody_can_place_may_not(post: Post) -> None:
    assert not post.sentry.may_touch(replace(EVENT, cgroup_path=""))


def test_without_a_policy_and_with_one_that_is_off_everybody_may(post: Post) -> None:
    post.sentry.generation = None
    assert (post.sentry.may_touch(EVENT), post.sentry.enforcing) == (True, False)


@pytest.mark.parametrize(("verdict", "may"), [(KernelVerdict.ALLOW, True), (KernelVerdict.DENY, False)])
def test_the_gateways_own_socket_is_judged_as_the_kernel_was_told(
    post: Post, verdict: KernelVerdict, may: bool
) -> None:
    assert post.sentry.may_touch(replace(EVENT, socket_class=SocketClass.PUBLIC, kernel_verdict=verdict)) is may


@pytest.mark.parametrize(
    ("taken", "end"),
    [
        (Taken.BLOCKED, "blocked"),
        (Taken.CUT, "the connection was cut"),
        (Taken.KILLED, "killed"),
        (Taken.GONE, "it had ended before anything could be done"),
        (Taken.REFUSED, "the kernel refused to end it, and it goes on"),
    ],
)
def test_a_denial_is_recorded_with_what_was_done_and_counted(post: Post, taken: Taken, end: str) -> None:
    post.saw(taken)
    (record,) = post.records()
    assert (record["decision"], record["rule"], record["container"]["id"], record["process"]["pid"]) == (
        "deny",
        "guard",
        ID,
        GONE,
    )
    assert record["message"].startswith(f"connected to the engine's own socket: {end}; mount the docker socket")
    assert record["message"].endswith("; the process calls itself 'evil'")
    assert (post.count("denials", rule="guard"), post.count("guard_events", kind=taken.value)) == (1, 1)


def test_what_audit_mode_lets_pass_is_recorded_and_is_no_denial(post: Post) -> None:
    post.sentry.generation = generation(Mode.AUDIT)
    post.saw(Taken.REPORTED)
    (record,) = post.records()
    assert (record["decision"], record["mode"], post.count("denials", rule="guard")) == ("would_deny", "audit", 0)


@pytest.mark.parametrize(
    ("sighting", "socket_class", "text"),
    [
        (Sighting.HELD, SocketClass.ENGINE, "holds a connection to the engine's own socket: "),
        (Sighting.HANDED, SocketClass.ENGINE, "was handed a connection to the engine's own socket: "),
        (Sighting.CONNECT, SocketClass.HOST_ONLY, "connected to a socket of the host alone: "),
        (Sighting.HANDED, SocketClass.PUBLIC, "the connection was handed over: it is another container's: "),
    ],
)
def test_a_record_says_how_and_to_which_kind_of_socket(
    post: Post, sighting: Sighting, socket_class: SocketClass, text: str
) -> None:
    post.saw(Taken.CUT, replace(EVENT, sighting=sighting, socket_class=socket_class))
    assert post.records()[0]["message"].startswith(text)


def test_a_container_that_the_gateway_has_told_often_enough_is_counted_and_not_recorded_again(post: Post) -> None:
    post.saw(Taken.BLOCKED, replace(EVENT, socket_class=SocketClass.PUBLIC))
    assert (post.records(), post.count("denials", rule="image-list")) == ([], 1)


def test_what_is_allowed_is_only_counted(post: Post) -> None:
    post.saw(Taken.ALLOWED)
    assert (post.records(), post.count("guard_events", kind="allowed")) == ([], 1)


def test_a_dispute_is_counted_each_time_and_logged_once_for_each_cgroup(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/user.slice/a.scope", "/user.slice/a.scope", ""):
        post.saw(Taken.DISPUTED, replace(EVENT, cgroup_path=path))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert (len(told), post.count("guard_events", kind="disputed"), post.records()) == (2, 3, [])
    assert "/user.slice/a.scope is no container's" in told[0]


def test_a_kill_is_counted(post: Post) -> None:
    post.saw(Taken.KILLED)
    assert post.count("kills") == 1


def test_a_loss_is_no_denial(post: Post) -> None:
    post.sentry.saw(LossEvent(3))
    assert post.records() == []


def test_a_container_that_is_not_known_yet_is_asked_for(post: Post) -> None:
    post.resolver.at_once = False
    post.saw(Taken.CUT)
    assert post.records()[0]["container"]["id"] == ID


def test_a_container_that_the_engine_does_not_know_is_recorded_without(post: Post) -> None:
    post.resolver.known = False
    post.saw(Taken.CUT)
    assert post.records()[0]["container"] is None


def test_a_flood_is_recorded_without_asking_for_each(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMING", 0)
    post.resolver.at_once = False
    post.saw(Taken.CUT)
    assert post.records()[0]["container"] is None


def test_what_was_judged_is_remembered_for_the_record_but_not_for_ever(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    for pid in range(GONE - 3, GONE):
        post.sentry.may_touch(replace(EVENT, pid=pid))
    assert len(post.sentry._lines) == 2


def test_the_peer_of_a_record_is_the_one_of_the_event(post: Post) -> None:
    seen: list[Peer | None] = []
    post.resolver.known = False

    class Spy(Resolver):
        def resolve_now(self, snapshot: PeerSnapshot) -> Client | None:
            seen.append(snapshot.peer)
            return super().resolve_now(snapshot)

    post.sentry._resolver = Spy()
    post.saw(Taken.CUT)
    assert seen == [Peer(GONE, 0, 0, 5, IdentitySource.EVENT)]
