"""Connections in the wrong hands, on a rung that does not block: what a whole agent finds, cuts and tells.

Each actor is a process in the cgroups of a real container, which is what makes it the container's.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Docker, Gateway, Images

    from sockwarden.demo.engine import ThrowAwayEngine

pytestmark = [pytest.mark.docker, pytest.mark.bpf]

ACTOR: Final = r"""
import array, os, socket, sys
for folder in sys.argv[1:]:
    with open(folder + "/cgroup.procs", "w") as procs:
        procs.write("0")
print("ready", flush=True)
held = meeting = None
for line in sys.stdin:
    word, _, rest = line.rstrip("\n").partition(" ")
    answer = "done"
    if word == "connect":
        held = socket.socket(socket.AF_UNIX)
        held.connect(rest)
    elif word == "ask":
        held.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        answer = held.recv(65536)[:15].decode()
    elif word == "open":
        meeting = socket.socket(socket.AF_UNIX)
        meeting.bind(rest)
        meeting.listen()
    elif word == "give":
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(rest)
            other.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [held.fileno()]))])
    elif word == "take":
        with meeting.accept()[0] as other:
            _, [(_, _, data)], _, _ = other.recvmsg(1, 64)
        held = socket.socket(fileno=int.from_bytes(data[:4], sys.byteorder))
    elif word == "fork" and os.fork():
        os.wait()  # the child goes on in its place
        break
    elif word == "end":
        try:
            answer = "ended" if held.recv(1) == b"" else "data"
        except ConnectionResetError:
            answer = "ended"
    print(answer, flush=True)
"""


class Actor:
    """A process in some cgroups that does what it is told, one step at a time."""

    def __init__(self, folders: list[Path]) -> None:
        command = ["unshare", "--mount", sys.executable, "-I", "-S", "-c", ACTOR, *map(str, folders)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        assert self._hears() == "ready"

    def does(self, what: str) -> str:
        self.begins(what)
        return self._hears()

    def begins(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def leave(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _hears(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


class Cast:
    """Containers, and actors in them or on the host."""

    def __init__(self, docker: Docker, stack: contextlib.ExitStack) -> None:
        self._docker = docker
        self._stack = stack

    def container(self, image: str) -> str:
        name = self._docker.right("run", "-d", "--network", "none", image, "sleep", "600").strip()
        self._stack.callback(self._docker, "rm", "-f", "-v", name)
        return name

    def actor(self, container: str = "") -> Actor:
        actor = Actor(self._folders(container) if container else [])
        self._stack.callback(actor.leave)
        return actor

    def _folders(self, container: str) -> list[Path]:
        pid = self._docker.right("inspect", "-f", "{{.State.Pid}}", container).strip()
        folders = []
        for line in (process.PROC / pid / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            tree = controllers.removeprefix("name=") or "unified"
            top = Path("/sys/fs/cgroup") / tree
            folders.append((top if top.exists() else top.parent) / path.lstrip("/"))
        return folders


@pytest.fixture
def cast(direct: Docker) -> Iterator[Cast]:
    with contextlib.ExitStack() as stack:
        yield Cast(direct, stack)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("g")


def of_guard(gateway: Gateway) -> list[dict[str, Any]]:
    return [record for record in gateway.audit() if record["rule"] == "guard"]


def sweeps(gateway: Gateway) -> float:
    return gateway.metrics()['sockwarden_guard_sweeps_total{result="done"}']


@pytest.fixture
def gateway(gateway_factory: Callable[..., Gateway]) -> Gateway:
    return gateway_factory(guard={"mode": "tracepoint"})


def test_a_connection_to_the_engine_itself_is_cut_and_its_process_lives(
    gateway: Gateway, cast: Cast, images: Images, engine: ThrowAwayEngine, eventually: Callable[..., Any]
) -> None:
    container = cast.container(images.cli)
    actor = cast.actor(container)
    actor.does(f"connect {engine.socket}")
    assert actor.does("end") == "ended"
    (record,) = eventually(lambda: of_guard(gateway))
    assert (record["decision"], record["process"]["pid"], record["container"]["id"], record["target"]) == (
        "deny",
        actor.pid,
        container,
        str(engine.socket),
    )
    assert record["message"].startswith("connected to the engine's own socket: the connection was cut; ")


def test_a_connection_from_before_the_agent_is_cut(
    gateway_factory: Callable[..., Gateway],
    cast: Cast,
    images: Images,
    engine: ThrowAwayEngine,
    eventually: Callable[..., Any],
) -> None:
    actor = cast.actor(cast.container(images.cli))
    actor.does(f"connect {engine.socket}")
    before = actor.does("ask")
    gateway = gateway_factory(guard={"mode": "tracepoint"})
    assert (before, actor.does("end")) == ("HTTP/1.1 200 OK", "ended")
    (record,) = eventually(lambda: of_guard(gateway))
    assert record["message"].startswith("holds a connection to the engine's own socket: the connection was cut; ")


def test_in_audit_mode_a_connection_to_the_engine_goes_on_and_is_told_apart_from_denials(
    gateway_factory: Callable[..., Gateway],
    cast: Cast,
    images: Images,
    engine: ThrowAwayEngine,
    eventually: Callable[..., Any],
) -> None:
    gateway = gateway_factory(guard={"mode": "tracepoint"}, policy={"mode": "audit"})
    actor = cast.actor(cast.container(images.cli))
    actor.does(f"connect {engine.socket}")
    (record,) = eventually(lambda: of_guard(gateway))
    assert (record["decision"], actor.does("ask")) == ("would_deny", "HTTP/1.1 200 OK")
    assert gateway.metrics()['sockwarden_denials_total{rule="guard"}'] == 0


def test_a_host_only_socket_that_appears_later_is_guarded(
    gateway_factory: Callable[..., Gateway], cast: Cast, images: Images, folder: Path, eventually: Callable[..., Any]
) -> None:
    gateway = gateway_factory(guard={"mode": "tracepoint", "host_only": [f"{folder}/*/only.sock"]})
    (folder / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "run" / "only.sock"))
        listener.listen()
        eventually(lambda: gateway.metrics().get('sockwarden_guard_sockets{class="host_only"}', 0))
        actor = cast.actor(cast.container(images.cli))
        actor.does(f"connect {folder}/run/only.sock")
        assert actor.does("end") == "ended"
    (record,) = eventually(lambda: of_guard(gateway))
    assert record["message"].startswith("connected to a socket of the host alone: the connection was cut; ")


def test_a_connection_that_is_handed_to_another_container_is_cut_and_told(
    gateway: Gateway, cast: Cast, images: Images, folder: Path, eventually: Callable[..., Any]
) -> None:
    opener, taker = cast.actor(cast.container(images.cli)), cast.actor(other := cast.container(images.other))
    opener.does(f"connect {gateway.socket}")
    assert opener.does("ask") == "HTTP/1.1 200 OK"
    taker.does(f"open {folder}/meet")
    opener.does(f"give {folder}/meet")
    taker.does("take")
    assert taker.does("end") == "ended"
    (record,) = eventually(lambda: of_guard(gateway))
    assert (record["decision"], record["container"]["id"], record["process"]["pid"]) == ("deny", other, taker.pid)
    assert record["message"].startswith("the connection was handed over")


def test_a_connection_that_the_host_hands_to_a_container_is_cut(
    gateway: Gateway, cast: Cast, images: Images, folder: Path
) -> None:
    opener, taker = cast.actor(), cast.actor(cast.container(images.other))
    bystander = cast.actor(cast.container(images.cli))
    bystander.does(f"connect {gateway.socket}")  # while a container is connected, is looked
    assert bystander.does("ask") == "HTTP/1.1 200 OK"
    opener.does(f"connect {gateway.socket}")
    assert opener.does("ask") == "HTTP/1.1 200 OK"
    taker.does(f"open {folder}/meet")
    opener.does(f"give {folder}/meet")
    taker.does("take")
    assert (taker.does("end"), bystander.does("ask")) == ("ended", "HTTP/1.1 200 OK")


def test_other_processes_of_the_same_container_and_heirs_may_use_a_connection(
    gateway: Gateway, cast: Cast, images: Images, folder: Path, eventually: Callable[..., Any]
) -> None:
    container = cast.container(images.cli)
    opener, taker = cast.actor(container), cast.actor(container)
    opener.does(f"connect {gateway.socket}")
    taker.does(f"open {folder}/meet")
    opener.does(f"give {folder}/meet")
    taker.does("take")
    taker.does("fork")
    before = sweeps(gateway)
    eventually(lambda: sweeps(gateway) >= before + 2)
    assert (taker.does("ask"), of_guard(gateway)) == ("HTTP/1.1 200 OK", [])
