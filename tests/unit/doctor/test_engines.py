"""The processes behind sockets: this test's own process plays the engine."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from sockwarden.doctor.engines import find, hosts_of, speaks_at
from sockwarden.doctor.facts import SocketFact, Speaks, Told
from sockwarden.kernel.connections.sockets import identify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NONE = "--config-file=/nonexistent/daemon.json"
API = b"HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nContent-Length: 2\r\n\r\nOK"
OLD_API = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
METRICS = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        ([], ()),
        (["-H", "fd://"], ("fd://",)),
        (["-H=tcp://:2375"], ("tcp://:2375",)),
        (["-Htcp://:2375"], ("tcp://:2375",)),
        (["--host", "tcp://:2375", "--host=unix:///x.sock"], ("tcp://:2375", "unix:///x.sock")),
        (["-H"], ()),
        (["--hostname", "x", "--debug"], ()),
    ],
)
def test_the_ways_in_are_read_from_options_in_every_spelling(arguments: list[str], hosts: tuple[str, ...]) -> None:
    assert hosts_of(["dockerd", NONE, *arguments]) == hosts


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        (json.dumps({"hosts": ["tcp://:2375", 1]}), ("fd://", "tcp://:2375")),
        (json.dumps({"hosts": "tcp://:2375"}), ("fd://",)),
        ("[]", ("fd://",)),
        ("{", ("fd://",)),
    ],
)
def test_the_ways_in_are_read_from_the_file_too(tmp_path: Path, text: str, hosts: tuple[str, ...]) -> None:
    (tmp_path / "daemon.json").write_text(text)
    assert hosts_of(["dockerd", "-H", "fd://", "--config-file", str(tmp_path / "daemon.json")]) == hosts


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port of this host that gives one answer, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(request.param)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("answering", "speaks"),
    [
        (API, Speaks.ENGINE_API),
        (OLD_API, Speaks.ENGINE_API),
        (TLS, Speaks.TLS),
        (ALERT, Speaks.TLS),
        (METRICS, Speaks.OTHER),
    ],
    indirect=["answering"],
)
def test_a_port_is_known_by_its_answer(answering: int, speaks: Speaks) -> None:
    assert speaks_at("0.0.0.0", answering) is speaks


def test_a_port_that_does_not_answer_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert speaks_at("127.0.0.1", port) is Speaks.SILENT


@pytest.fixture
def fact(tmp_path: Path) -> Iterator[SocketFact]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()
        identity = identify(tmp_path / "docker.sock")
        yield SocketFact(str(tmp_path / "docker.sock"), "engine", identity.device, identity.inode, guarded=True)


def test_who_listens_on_a_socket_is_found_by_the_object(fact: SocketFact) -> None:
    found = find([fact], own_pid=0)
    assert isinstance(found, Told)
    assert [(engine.pid, engine.sockets) for engine in found.values] == [(os.getpid(), (fact.path,))]


def test_the_agent_itself_is_no_engine(fact: SocketFact) -> None:
    assert find([fact], own_pid=os.getpid()) == Told(())


def test_a_port_of_an_engine_is_told_by_the_kernel(fact: SocketFact) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        found = find([fact], own_pid=0)
        port = server.getsockname()[1]
    assert isinstance(found, Told)
    assert port in [listener.port for engine in found.values for listener in engine.listeners]
