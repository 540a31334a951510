"""``sockwarden doctor`` and ``status`` on a host with a real engine, real containers and a running agent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sockwarden.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Docker, Gateway, Images

    from sockwarden.demo.engine import ThrowAwayEngine

pytestmark = pytest.mark.docker

COMMAND_SECONDS = 60.0
SLEEP = ("/bin/busybox", "sleep", "600")


def sockwarden(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sockwarden", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS)


def doctor(config: Path) -> dict[str, Any]:
    done = sockwarden("doctor", "--json", "--config", str(config))
    assert done.returncode == ExitCode.FAILURE, done.stderr
    sections: dict[str, Any] = json.loads(done.stdout)["sections"]
    return sections


def subjects(lines: list[dict[str, str]], mark: str) -> set[str]:
    return {line["subject"] for line in lines if line["mark"] == mark}


@pytest.fixture
def run(direct: Docker, images: Images) -> Iterator[Callable[..., str]]:
    """Start containers with the engine itself, behind the gateway's back; they are removed at the end."""
    made = []

    def start(name: str, *options: str, image: str = images.busybox, command: tuple[str, ...] = SLEEP) -> str:
        made.append(name)
        return direct.right("run", "--detach", "--name", name, "--network", "none", *options, image, *command).strip()

    yield start
    for name in made:
        direct("rm", "--force", name)


@pytest.fixture
def lonely(tmp_path: Path, engine: ThrowAwayEngine) -> Path:
    """The configuration of a host on which no agent runs."""
    text = f'[engine]\nsocket = "{engine.socket}"\n[guard]\npin_dir = ""\n[daemon]\nrun_dir = "{tmp_path}/run"\n'
    (tmp_path / "c.toml").write_text(text)
    return tmp_path / "c.toml"


@pytest.fixture
def gateway(gateway_factory: Callable[..., Gateway]) -> Gateway:
    """An agent with a kernel guard; the shared one has none."""
    return gateway_factory(guard={"mode": "tracepoint", "pin_dir": ""})


def test_a_container_with_host_power_is_named_and_another_is_not(lonely: Path, run: Callable[..., str]) -> None:
    run("plain")
    run("powerful", "--pid", "host")
    roads = doctor(lonely)["roads"]
    assert {"container powerful"} == {one for one in subjects(roads, "open") if one.startswith("container")}


def test_a_container_that_shows_the_engines_socket_is_named(
    lonely: Path, run: Callable[..., str], engine: ThrowAwayEngine
) -> None:
    run("shown", "--volume", f"{engine.socket}:/d.sock")
    assert "container shown" in subjects(doctor(lonely)["roads"], "open")


def test_who_holds_a_connection_in_a_container_is_named(
    lonely: Path, run: Callable[..., str], engine: ThrowAwayEngine, images: Images, eventually: Callable[..., Any]
) -> None:
    watch = ("docker", "--host", "unix:///d.sock", "events")
    run("holder", "--volume", f"{engine.socket}:/d.sock", image=images.other, command=watch)

    def held() -> list[str]:
        return [one["text"] for one in doctor(lonely)["roads"] if one["subject"].startswith("pid ")]

    (text,) = eventually(held)
    assert str(engine.socket) in text


def test_the_engine_is_found_behind_its_socket_and_has_no_port(lonely: Path, engine: ThrowAwayEngine) -> None:
    about = [line for line in doctor(lonely)["roads"] if f"dockerd (pid {engine.pid})" in line["text"]]
    assert [(line["subject"], line["mark"]) for line in about] == [("TCP", "ok")]


def test_the_engines_own_containerd_is_a_road_until_it_is_guarded(
    gateway_factory: Callable[..., Gateway], engine: ThrowAwayEngine
) -> None:
    path = str(engine.root / "exec/containerd/containerd.sock")
    for globs, mark in ((["default"], "open"), ([f"{path}*"], "ok")):
        gateway = gateway_factory(guard={"mode": "tracepoint", "pin_dir": "", "host_only": globs})
        found = doctor(gateway.warden.files.config)
        assert path in subjects(found["sockets" if mark == "ok" else "roads"], mark)
        gateway.stop()


def test_a_running_agent_is_asked_for_its_rungs_and_its_sockets(gateway: Gateway, engine: ThrowAwayEngine) -> None:
    found = doctor(gateway.warden.files.config)
    assert str(engine.socket) in subjects(found["sockets"], "ok")
    in_force = [line["subject"] for line in found["guard"] if line["text"].startswith("in force: ")]
    status = json.loads(sockwarden("status", "--json", "--config", str(gateway.warden.files.config)).stdout)
    assert in_force == [status["guard"]["rung"]]
    assert {"mark": "open", "subject": "agent", "text": status["problems"][0]}.items() <= found["agent"][1].items()


def test_a_status_for_people_has_the_guard_and_its_sockets(gateway: Gateway, engine: ThrowAwayEngine) -> None:
    text = sockwarden("status", "--config", str(gateway.warden.files.config)).stdout
    assert f"guarded   {engine.socket} (engine)" in text
    assert "\nguard     " in text
    assert "\nidentity  " in text
