"""The transcripts of Docker Desktop's documentation, byte for byte, with the real docker CLI and a real engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.demo import expected
from sockwarden.demo.engine import CGROUPS, engine_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker

INSIDE: Final = "/var/run/docker.sock"
NAME: Final = "seed"


@pytest.fixture
def clear(direct: Any) -> Iterator[None]:
    """Remove the container that a test leaves."""
    yield
    direct("rm", "-f", "-v", NAME)


def run_words(gateway: Any, image: str, *command: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """``docker run`` with the guarded socket at its usual place in the container."""
    mount = f"{gateway.socket}:{INSIDE}"
    return ("run", "--rm", *options, "--network", "none", "-v", mount, image, *command)


def first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


@pytest.fixture(scope="module")
def closed(new_gateway: Callable[..., Any], images: Any) -> Iterator[Any]:
    """A sockwarden whose image list lacks docker:cli."""
    assert images.cli
    gateway = new_gateway(expected.policy(without="docker:cli"))
    yield gateway
    gateway.stop()


def test_a_socket_mount_of_an_image_that_is_not_listed_is_denied_with_the_documented_text(
    closed: Any, images: Any
) -> None:
    done = closed.docker(*run_words(closed, images.cli))
    assert first_line(done.stderr) == expected.RUN_DENIED_LINE
    assert done.returncode == 125


def test_the_same_on_a_terminal(closed: Any, images: Any) -> None:
    with closed.docker.terminal(*run_words(closed, images.cli, options=("-it",))) as terminal:
        assert first_line(terminal.rest()) == expected.RUN_DENIED_LINE


def test_a_denied_run_leaves_no_container(closed: Any, images: Any, direct: Any) -> None:
    closed.docker(*run_words(closed, images.cli, options=("--name", NAME)))
    assert direct("inspect", NAME).returncode == 1


def test_the_mount_option_is_denied_as_the_volume_option_is(closed: Any, images: Any) -> None:
    mount = f"type=bind,src={closed.socket},dst=/anything"
    done = closed.docker("run", "--rm", "--network", "none", "--mount", mount, images.cli)
    assert first_line(done.stderr) == expected.RUN_DENIED_LINE


def test_a_denied_mount_is_counted_and_recorded(closed: Any, images: Any) -> None:
    before, records = total_denials(closed), len(closed.denials())
    closed.docker(*run_words(closed, images.cli))
    assert total_denials(closed) == before + 1
    assert len(closed.denials()) == records + 1


def total_denials(gateway: Any) -> float:
    samples: dict[str, float] = gateway.metrics()
    return sum(value for name, value in samples.items() if name.startswith("sockwarden_denials_total"))


def test_a_listed_image_uses_the_socket(gateway: Any, images: Any) -> None:
    shown = gateway.docker.right(*run_words(gateway, images.cli, "docker", "ps", "--format", "{{.Image}}"))
    assert images.cli in shown.split()


def test_a_container_without_the_socket_runs_whatever_its_image(closed: Any, images: Any) -> None:
    assert closed.docker.right("run", "--rm", "--network", "none", images.other, "echo", "ran") == "ran\n"


def test_push_from_a_container_is_blocked_with_the_documented_text(gateway: Any, images: Any) -> None:
    done = gateway.docker(*run_words(gateway, images.cli, "docker", "push", "myimage"))
    assert expected.as_documented(done.stderr.splitlines()[-1]) == expected.PUSH_BLOCKED_LINE


def test_a_raw_push_request_from_a_container_is_blocked_with_the_documented_text(gateway: Any, images: Any) -> None:
    done = gateway.docker(*run_words(gateway, images.cli, "sh", "-c", f"{expected.CURL_COMMAND} -s -i"))
    head, body = done.stdout.replace("\r", "").split("\n\n", 1)
    assert json.loads(body) == {"message": expected.PUSH_BLOCKED}
    assert head.startswith("HTTP/1.1 403 ")
    assert re.search(r"^content-type: application/json$", head, re.MULTILINE | re.IGNORECASE)


def test_push_from_the_host_is_not_the_command_lists_business(gateway: Any) -> None:
    done = gateway.docker("push", "myimage-that-is-not-there")
    assert "enhanced container isolation" not in done.stderr


def test_an_image_retagged_as_an_allowed_one_is_denied(gateway: Any, images: Any, direct: Any) -> None:
    try:
        gateway.docker.right("image", "rm", images.cli)
        gateway.docker.right("tag", images.other, images.cli)
        done = gateway.docker(*run_words(gateway, images.cli))
        assert first_line(done.stderr) == expected.RUN_DENIED_LINE
    finally:
        direct("image", "rm", images.cli)
        direct.right("pull", images.cli)


@pytest.mark.usefixtures("clear")
def test_a_container_that_got_the_socket_by_another_road_is_refused_when_it_connects(
    gateway: Any, images: Any, direct: Any
) -> None:
    words = run_words(gateway, images.other, "sleep", "600", options=("-d", "--name", NAME))
    direct.right(*words)  # not through the gateway: what it never saw
    done = direct("exec", NAME, "docker", "ps")
    assert done.returncode != 0
    assert "enhanced container isolation: " in done.stderr


@pytest.mark.usefixtures("clear")
def test_a_container_that_retags_its_way_in_is_refused_when_it_connects(gateway: Any, images: Any, direct: Any) -> None:
    try:
        direct.right("image", "rm", images.cli)
        direct.right("tag", images.other, images.cli)
        direct.right(*run_words(gateway, images.cli, "sleep", "600", options=("-d", "--name", NAME)))
        done = direct("exec", NAME, "docker", "ps")
        assert "enhanced container isolation: " in done.stderr
    finally:
        direct("rm", "-f", NAME)
        direct("image", "rm", images.cli)
        direct.right("pull", images.cli)


def test_the_policy_changes_without_a_restart(gateway_factory: Callable[..., Any], images: Any) -> None:
    gateway = gateway_factory(expected.policy(without="docker:cli"))
    assert gateway.docker(*run_words(gateway, images.cli, "true")).returncode == 125
    gateway.reload(expected.ADMIN_SETTINGS)
    assert gateway.docker(*run_words(gateway, images.cli, "true")).returncode == 0


# The demonstration itself.


@dataclass
class Demo:
    """One run of it, below a directory of our own."""

    below: Path
    names: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)
    status: int = -1

    def run(self, *, interrupt_at: str = "") -> None:
        command = [sys.executable, "-m", "sockwarden", "demo"]
        environment = {**os.environ, "TMPDIR": str(self.below)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.names |= set(os.listdir(self.below))
                self.shown.append(line.rstrip("\n"))
                if interrupt_at and interrupt_at in line:
                    process.send_signal(signal.SIGTERM)
            self.status = process.wait(60)

    def run_unread(self) -> None:
        """Close its output after the first line, as ``| head -1`` does."""
        command = [sys.executable, "-m", "sockwarden", "demo"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(self.below)}
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            self.names |= set(os.listdir(self.below))
            process.stdout.close()
            self.status = process.wait(120)

    def traces(self) -> list[str]:
        """What is left of it: files, cgroups, processes that name its directory."""
        assert self.names, "it never had a directory"
        tops = [CGROUPS, *(each for each in CGROUPS.iterdir() if each.is_dir())]
        cgroups = [str(top / name) for top in tops for name in self.names if (top / name).exists()]
        processes = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdecimal()
                    and os.fsencode(self.below / "sockwarden-demo") in (entry / "cmdline").read_bytes()
                ):
                    processes.append(entry.name)
        return [*os.listdir(self.below), *cgroups, *processes]


@pytest.fixture
def demo() -> Iterator[Demo]:
    """A demonstration that was not run yet."""
    below = Path(tempfile.mkdtemp(prefix="d-"))  # short: sockets live below it
    yield Demo(below)
    shutil.rmtree(below)


def test_the_demonstration_shows_every_transcript_and_leaves_no_trace(demo: Demo, direct: Any) -> None:
    containers = direct.right("ps", "-aq")
    demo.run()
    assert demo.status == 0, "\n".join(demo.shown)
    assert demo.shown.count(expected.RUN_DENIED_LINE) == 2
    assert [expected.as_documented(line) for line in demo.shown].count(expected.PUSH_BLOCKED_LINE) == 1
    assert "\x1b" not in "".join(demo.shown)
    assert demo.traces() == []
    assert direct.right("ps", "-aq") == containers


def test_the_demonstration_interrupted_leaves_no_trace(demo: Demo, engine: Any) -> None:
    demo.run(interrupt_at="3/3")
    assert demo.status == 1
    assert "interrupted" in demo.shown
    assert demo.traces() == []
    assert engine_answers(engine.socket)


def test_the_demonstration_that_nobody_reads_leaves_no_trace(demo: Demo) -> None:
    demo.run_unread()
    assert demo.status == 0
    assert demo.traces() == []
