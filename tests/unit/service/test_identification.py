from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from sockwarden.config import Config, GuardConfig, GuardMode
from sockwarden.identity import peer
from sockwarden.kernel.life.lifefeed import Life
from sockwarden.kernel.life.tracker import Tracker
from sockwarden.model import IdentitySource
from sockwarden.service import identification
from sockwarden.service.identification import identity_of, life_of


@dataclass
class Guard:
    knows_connectors: bool = True
    life: Life = field(default_factory=lambda: Life(Tracker(), print))


@dataclass
class Agent:
    config: Config = field(default_factory=Config.default)
    guard: Guard = field(default_factory=Guard)


NO_GUARD = Agent(replace(Config.default(), guard=GuardConfig(GuardMode.NONE)))


@pytest.fixture(params=[IdentitySource.PIDFD, IdentitySource.CRED], autouse=True)
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> IdentitySource:
    found: IdentitySource = request.param
    monkeypatch.setattr(identification, "socket_step", lambda: found)
    return found


def test_where_the_guard_writes_connectors_down_that_is_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "knows_v1", lambda: False)
    assert identity_of(Agent()) == {"source": "kernel", "why": "the guard writes down who connects"}


def test_where_v1_is_mounted_too_the_step_of_the_others_is_said(
    monkeypatch: pytest.MonkeyPatch, step: IdentitySource
) -> None:
    monkeypatch.setattr(identification, "knows_v1", lambda: True)
    told = identity_of(Agent())
    assert (told["source"], told["why"].endswith(f"is known by {step.value}")) == ("kernel", True)


def test_a_rung_without_connectors_leaves_the_step_of_the_kernel(step: IdentitySource) -> None:
    told = identity_of(Agent(guard=Guard(knows_connectors=False)))
    assert (told["source"], "does not write down" in told["why"]) == (step.value, True)


def test_without_a_guard_the_step_of_the_kernel_is_left(step: IdentitySource) -> None:
    told = identity_of(NO_GUARD)
    assert (told["source"], told["why"].startswith("guard.mode is none; ")) == (step.value, True)


def test_life_is_told_with_its_reason() -> None:
    assert life_of(Agent()) == {"source": "none", "why": "the guard has not begun"}


def test_without_a_guard_there_is_no_life() -> None:
    assert life_of(NO_GUARD) == {"source": "none", "why": "guard.mode is none"}


def test_whether_v1_is_mounted_is_what_our_own_cgroups_say() -> None:
    with open("/proc/self/cgroup", encoding="utf-8") as text:
        assert peer.knows_v1() == (len(text.read().splitlines()) > 1)
