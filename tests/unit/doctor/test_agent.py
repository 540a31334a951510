"""What a status of the agent is read as."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.config import parse_config
from sockwarden.doctor.agent import ask, read_status
from sockwarden.doctor.facts import AgentFact, SocketFact, Untold
from sockwarden.kernel.ladder import Row, State

if TYPE_CHECKING:
    from pathlib import Path


def status() -> dict[str, Any]:
    return {
        "pid": 42,
        "version": "1.0",
        "mode": "enforce",
        "problems": ["the engine does not answer"],
        "engine": {"socket": "/run/sockwarden/engine.sock"},
        "gateway": {"listen": "/run/docker.sock"},
        "identity": {"source": "kernel", "why": "the guard writes down who connects"},
        "guard": {
            "rung": "lsm",
            "blocking": True,
            "pinned": "2-lsm-0123456789ab",
            "identity": {"peerpidfd": 3},
            "sockets": [{"path": "/run/docker.sock", "class": "public", "device": 25, "inode": 7}],
            "waiting": ["/run/later.sock"],
            "rungs": [{"name": "lsm", "state": "in force", "in_force": True, "reason": "EPERM", "remedy": ""}],
        },
    }


def test_a_status_is_read_whole() -> None:
    assert read_status(status()) == AgentFact(
        pid=42,
        version="1.0",
        mode="enforce",
        rung="lsm",
        blocking=True,
        identity="kernel: the guard writes down who connects; so far by peerpidfd 3 times",
        pinned="2-lsm-0123456789ab",
        engine_socket="/run/sockwarden/engine.sock",
        public_socket="/run/docker.sock",
        problems=("the engine does not answer",),
        rows=(Row("lsm", State.IN_FORCE, "EPERM"),),
        sockets=(SocketFact("/run/docker.sock", "public", 25, 7, guarded=True),),
        waiting=("/run/later.sock",),
    )


@pytest.mark.parametrize(
    ("told", "used", "identity"),
    [
        (None, {"peercred": 1}, "peercred 1 times"),
        (None, {}, ""),
        ({"source": "peerpidfd", "why": "no guard"}, {}, "peerpidfd: no guard"),
    ],
)
def test_the_source_of_identity_is_told_as_far_as_the_agent_tells_it(
    told: dict[str, str] | None, used: dict[str, int], identity: str
) -> None:
    found = read_status(status() | {"identity": told, "guard": {**status()["guard"], "identity": used}})
    assert isinstance(found, AgentFact)
    assert found.identity == identity


@pytest.mark.parametrize(
    "change",
    [
        {"guard": None},
        {"pid": "many"},
        {"engine": {}},
        {"guard": {**status()["guard"], "identity": "peercred"}},
        {"guard": {**status()["guard"], "rungs": [{"name": "lsm", "state": "flying", "reason": "", "remedy": ""}]}},
    ],
)
def test_a_status_of_another_version_is_said_to_be_unreadable(change: dict[str, Any]) -> None:
    found = read_status(status() | change)
    assert isinstance(found, Untold)
    assert found.remedy


def test_an_agent_that_does_not_run_is_told_with_its_remedy(tmp_path: Path) -> None:
    config = parse_config(f'[daemon]\nrun_dir = "{tmp_path}"\n'.encode(), "c.toml")
    found = asyncio.run(ask(config))
    assert isinstance(found, Untold)
    assert "no sockwarden answers" in found.reason
    assert found.remedy
