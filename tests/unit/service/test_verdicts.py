"""The kernel answers a container that was told often enough; and never anybody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.stage import HOST, generation

from sockwarden.model import (
    Container,
    ContainerClient,
    IdentitySource,
    Mode,
    Peer,
    Rule,
    UnknownClient,
    Verdict,
    deny,
)
from sockwarden.observe.audit import AuditLog
from sockwarden.observe.process import ProcessCache
from sockwarden.observe.sink import AuditSink
from sockwarden.policy.patience import TOLD_ENOUGH
from sockwarden.service.verdicts import KernelVerdicts

if TYPE_CHECKING:
    from pathlib import Path

    from sockwarden.model import Client

ID = "a" * 64
PEER = Peer(1, 0, 0, 1, IdentitySource.PIDFD)
CLIENT = ContainerClient(PEER, Container(ID, f"sha256:{'1' * 64}", "img"))
REFUSAL = deny(Rule.IMAGE_LIST, "not this image", "add it")


class FakeWall:
    def __init__(self) -> None:
        self.denied: list[int] = []
        self.cleared = 0
        self.works = True

    def deny_cgroup(self, cgroup_id: int) -> bool:
        if self.works:
            self.denied.append(cgroup_id)
        return self.works

    def forget_cgroup(self, cgroup_id: int) -> None:
        self.denied.remove(cgroup_id)

    def forget_cgroups(self) -> None:
        self.denied.clear()
        self.cleared += 1


class Stage:
    def __init__(self, folder: Path) -> None:
        self.top = folder / "cgroup"
        self.cgroup = self.top / "docker" / ID
        (self.cgroup / "init").mkdir(parents=True)
        self.lines: str | None = f"1:cpu:/docker/{ID}\n0::/docker/{ID}/init\n"
        self.wall = FakeWall()
        self.file = folder / "audit"
        self.sink = AuditSink(str(self.file))
        log = AuditLog(self.sink, ProcessCache(lambda _pid: None), "/run/engine.sock")
        self.verdicts = KernelVerdicts(self.wall, lambda _id: self.lines, log, "/run/docker.sock", lambda: self.top)

    def ask(self, client: Client = CLIENT, verdict: Verdict = REFUSAL, mode: Mode = Mode.ENFORCE) -> list[int]:
        for _ in range(TOLD_ENOUGH):
            self.verdicts.turned_away(generation(mode), client, verdict)
        return self.wall.denied

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_the_containers_own_cgroup_is_denied_not_the_one_of_its_init(stage: Stage) -> None:
    assert stage.ask() == [stage.cgroup.stat().st_ino]


def test_it_is_recorded_once_with_the_rule_to_add(stage: Stage) -> None:
    stage.ask()
    stage.ask()
    (record,) = stage.records()
    assert (record["container"]["id"], record["rule"], "add it" in record["message"]) == (ID, "image-list", True)


@pytest.mark.parametrize(
    ("client", "verdict", "mode"),
    [
        (HOST, REFUSAL, Mode.ENFORCE),
        (UnknownClient(PEER, Rule.UNKNOWN_CONTAINER, "x"), REFUSAL, Mode.ENFORCE),
        (CLIENT, deny(Rule.COMMAND_LIST, "not this command"), Mode.ENFORCE),
        (CLIENT, REFUSAL, Mode.AUDIT),
    ],
    ids=["host", "unknown", "command", "audit mode"],
)
def test_nobody_else_is_denied(stage: Stage, client: Client, verdict: Verdict, mode: Mode) -> None:
    assert stage.ask(client, verdict, mode) == []


def test_a_container_that_has_no_cgroup_of_its_own_in_the_v2_tree_is_left_alone(stage: Stage) -> None:
    stage.lines = f"1:cpu:/docker/{ID}\n0::/\n"
    assert stage.ask() == []


def test_a_container_that_ended_meanwhile_is_left_alone(stage: Stage) -> None:
    stage.lines = None
    assert stage.ask() == []


def test_a_cgroup_that_is_gone_is_left_alone(stage: Stage) -> None:
    (stage.cgroup / "init").rmdir()
    stage.cgroup.rmdir()
    assert stage.ask() == []


def test_where_the_rung_cannot_nothing_is_recorded(stage: Stage) -> None:
    stage.wall.works = False
    stage.ask()
    assert (len(stage.verdicts), stage.records()) == (0, [])


def test_it_goes_on_while_the_container_does(stage: Stage) -> None:
    stage.ask()
    stage.verdicts.beat()
    assert (stage.wall.denied, len(stage.verdicts)) == ([stage.cgroup.stat().st_ino], 1)


def test_it_ends_with_the_container(stage: Stage) -> None:
    stage.ask()
    (stage.cgroup / "init").rmdir()
    stage.cgroup.rmdir()
    stage.verdicts.beat()
    assert (stage.wall.denied, len(stage.verdicts)) == ([], 0)


def test_it_ends_after_a_while(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.ask()
    monkeypatch.setattr("time.monotonic", lambda: float("inf"))
    stage.verdicts.beat()
    assert stage.wall.denied == []


def test_another_policy_ends_it_and_what_an_earlier_agent_left(stage: Stage) -> None:
    stage.ask()
    stage.verdicts.clear()
    assert (stage.wall.denied, stage.wall.cleared, len(stage.verdicts)) == ([], 1, 0)
    assert stage.ask() != []
