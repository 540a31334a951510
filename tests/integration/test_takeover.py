"""The public path: taken from a live engine, given back, and found again after every kind of sudden end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from sockwarden.demo.child import clean_environment
from sockwarden.demo.engine import ThrowAwayEngine, engine_answers
from sockwarden.demo.warden import ThrowAwayWarden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

POLICY: Final = {"configurationFileVersion": 2, "enhancedContainerIsolation": {"locked": True, "value": True}}
START_SECONDS: Final = 60.0
LOADED_CLIENTS: Final = 16


@pytest.fixture(scope="module")
def own(workshop: Path) -> Iterator[ThrowAwayEngine]:
    """An engine that these tests may stop and kill."""
    root = workshop / "own"
    root.mkdir()
    engine = ThrowAwayEngine(root)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        assert engine.traces() == []


@pytest.fixture
def warden(own: ThrowAwayEngine) -> Iterator[ThrowAwayWarden]:
    """A sockwarden that swaps itself in; after it, the engine must be back at its path."""
    warden = swapping(own.root / "agent", own.socket)
    yield warden
    if warden.alive():
        warden.stop()
    if not engine_answers(own.socket):
        warden.start()
        warden.stop()
    assert engine_answers(own.socket), warden.tail()


def swapping(root: Path, path: Path) -> ThrowAwayWarden:
    warden = ThrowAwayWarden(root, engine_socket=path, listen=path, takeover="swap")
    warden.configure(POLICY, guard={"mode": "none"})
    return warden


def identity(path: Path) -> tuple[int, int, int, int]:
    """Which socket lies at ``path``, and who may use it."""
    found = os.lstat(path)
    assert stat.S_ISSOCK(found.st_mode)
    return found.st_ino, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def ask(path: Path, target: str = "/_ping", timeout: float = 20.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("docker", timeout=timeout)
    with contextlib.closing(connection):
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(path))
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()


def listener(path: Path) -> int:
    """The process that answers at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(str(path))
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")


def refused_start(warden: ThrowAwayWarden) -> str:
    """Start it where it cannot start, and return what it says; nothing but an exit status may follow."""
    command = [sys.executable, "-m", "sockwarden", "run", "--config", str(warden.files.config)]
    environment = clean_environment(warden.files.root, PYTHONUNBUFFERED="1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=START_SECONDS)
    said = done.stdout + done.stderr
    assert done.returncode > 0, said
    assert "Traceback" not in said
    return said


# -- taking and giving back ------------------------------------------------


def test_a_stop_puts_the_engines_own_socket_back(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    before = identity(own.socket)
    warden.start()
    assert identity(own.socket)[0] != before[0]
    assert identity(own.socket)[1:] == before[1:]
    assert listener(own.socket) == warden.pid
    assert warden.stop() == 0
    assert identity(own.socket) == before
    assert listener(own.socket) == own.pid
    assert not (own.root / "sockwarden" / "engine.sock").exists()


def test_the_owner_and_the_mode_of_the_path_stay_as_they_were(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    before = os.lstat(own.socket)
    os.chown(own.socket, 0, 4242)
    own.socket.chmod(0o620)
    try:
        warden.start()
        assert identity(own.socket)[1:] == (0o620, 0, 4242)
        warden.stop()
        assert identity(own.socket)[1:] == (0o620, 0, 4242)
    finally:
        os.chown(own.socket, before.st_uid, before.st_gid)
        own.socket.chmod(stat.S_IMODE(before.st_mode))


def test_no_client_meets_a_path_without_a_listener(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    """Connections are made without a pause while an agent comes and goes."""
    with Load(own.socket, clients=4) as load:
        for _ in range(2):
            warden.start()
            load.wait_for(50)
            warden.stop()
            load.wait_for(50)
    assert load.failures == []


@dataclass
class Load:
    """Clients that ask without a pause; what goes wrong is kept."""

    path: Path
    clients: int = LOADED_CLIENTS
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._client) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            if thread.is_alive():
                self.hung.append(thread.name)

    def wait_for(self, more: int) -> None:
        enough, deadline = self.answered + more, time.monotonic() + START_SECONDS
        while self.answered < enough:
            assert time.monotonic() < deadline, f"{self.answered} answers; {self.failures[-3:]}"
            self._over.wait(0.01)

    def _client(self) -> None:
        while not self._over.is_set():
            try:
                status, content = ask(self.path)
                if (status, content) == (200, b"OK"):
                    self.answered += 1
                else:
                    self.failures.append(f"{status} {content!r}")
            except TimeoutError:
                self.hung.append("an answer")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(type(error).__name__)
                self._over.wait(0.01)


# -- sudden ends of the agent ----------------------------------------------


def test_a_kill_under_load_hangs_nobody_and_the_next_start_is_in_front_of_the_engine_again(
    own: ThrowAwayEngine, warden: ThrowAwayWarden
) -> None:
    before = identity(own.socket)
    warden.start()
    with Load(own.socket) as load:
        load.wait_for(100)
        warden.kill9()
        warden.start()
        load.wait_for(100)
    assert load.hung == []
    assert set(load.failures) <= {
        "ConnectionRefusedError",
        "ConnectionResetError",
        "RemoteDisconnected",
        "BrokenPipeError",
    }
    assert listener(own.socket) == warden.pid
    assert warden.stop() == 0
    assert identity(own.socket) == before


def test_a_stream_of_a_killed_agent_ends(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    warden.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(own.socket))
        client.sendall(b"GET /v1.41/events HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        warden.kill9()
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass


def test_the_kills_of_several_agents_in_a_row_lose_nothing(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    before = identity(own.socket)
    for _ in range(3):
        warden.start()
        warden.kill9()
    warden.start()
    assert ask(own.socket) == (200, b"OK")
    assert warden.stop() == 0
    assert identity(own.socket) == before


# -- the engine's life -----------------------------------------------------


def test_an_engine_that_restarts_is_guarded_again(
    own: ThrowAwayEngine, warden: ThrowAwayWarden, eventually: Callable[..., Any]
) -> None:
    warden.start()
    own.stop()
    own.start()
    eventually(lambda: listener(own.socket) == warden.pid)
    assert ask(own.socket, "/v1.41/info")[0] == 200
    assert warden.stop() == 0
    assert listener(own.socket) == own.pid


def test_a_killed_engine_ends_its_streams_is_told_of_and_is_guarded_again(
    own: ThrowAwayEngine, warden: ThrowAwayWarden, eventually: Callable[..., Any]
) -> None:
    warden.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(own.socket))
        client.sendall(b"GET /v1.41/events HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        os.kill(own.pid, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass
    status, content = ask(own.socket)
    assert status == 503
    assert "cannot reach the docker engine" in json.loads(content)["message"]
    eventually(lambda: warden.metrics()["sockwarden_engine_up"] == 0)
    own.stop()
    (own.root / "exec/containerd/containerd.pid").unlink()  # it names a process that nobody has reaped yet
    own.start()
    eventually(lambda: listener(own.socket) == warden.pid)
    assert ask(own.socket) == (200, b"OK")
    eventually(lambda: warden.metrics()["sockwarden_engine_up"] == 1)


def test_an_agent_whose_engine_is_gone_stops_in_order(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    warden.start()
    own.stop()
    try:
        assert warden.stop() == 0
    finally:
        own.start()


# -- what lies at the path -------------------------------------------------


@pytest.fixture
def elsewhere(own: ThrowAwayEngine) -> Iterator[Path]:
    path = own.root / "elsewhere.sock"
    yield path
    path.unlink(missing_ok=True)


def test_a_path_where_nothing_is_cannot_be_taken(own: ThrowAwayEngine, elsewhere: Path) -> None:
    said = refused_start(swapping(own.root / "missing", elsewhere))
    assert f"no engine listens on {elsewhere}" in said
    assert not elsewhere.exists()


def test_a_plain_file_at_the_path_is_left_alone(own: ThrowAwayEngine, elsewhere: Path) -> None:
    elsewhere.write_text("precious", "utf-8")
    assert "is not a socket" in refused_start(swapping(own.root / "plain", elsewhere))
    assert elsewhere.read_text("utf-8") == "precious"


def test_a_directory_at_the_path_is_left_alone(own: ThrowAwayEngine) -> None:
    path = own.root / "a-directory"
    path.mkdir()
    assert "is not a socket" in refused_start(swapping(own.root / "folder", path))
    path.rmdir()


def test_a_socket_that_nobody_answers_is_left_alone(own: ThrowAwayEngine, elsewhere: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(elsewhere))
    before = identity(elsewhere)
    assert "nobody answers there" in refused_start(swapping(own.root / "dead", elsewhere))
    assert identity(elsewhere) == before


def test_a_link_at_the_path_stays_a_link(own: ThrowAwayEngine, elsewhere: Path) -> None:
    elsewhere.symlink_to(own.socket)
    warden = swapping(own.root / "linked", elsewhere)
    before = identity(own.socket)
    warden.start()
    assert listener(own.socket) == listener(elsewhere) == warden.pid
    warden.stop()
    assert elsewhere.is_symlink()
    assert identity(own.socket) == before


def test_a_second_agent_is_refused_and_the_first_goes_on(own: ThrowAwayEngine, warden: ThrowAwayWarden) -> None:
    warden.start()
    said = refused_start(swapping(own.root / "second", own.socket))
    assert f"another sockwarden (pid {warden.pid})" in said
    assert listener(own.socket) == warden.pid
    assert ask(own.socket) == (200, b"OK")


def test_a_listener_is_not_pushed_aside_without_a_swap(own: ThrowAwayEngine) -> None:
    warden = ThrowAwayWarden(own.root / "pushy", engine_socket=own.socket, listen=own.socket, takeover="none")
    warden.configure(POLICY, guard={"mode": "none"})
    before = identity(own.socket)
    refused_start(warden)
    assert identity(own.socket) == before
    assert listener(own.socket) == own.pid
