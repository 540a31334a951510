"""A running agent: reloads good and bad, an engine that misbehaves, and clients that must not notice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from sockwarden.demo import expected
from sockwarden.demo.child import clean_environment
from sockwarden.demo.warden import ThrowAwayWarden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker  # the agent itself wants to be root

SECONDS: Final = 20.0
PING: Final = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nOK"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

SCRIPT: Final[dict[bytes, tuple[bytes, ...]]] = {
    b"/close": (b"",),
    b"/half-a-head": (b"HTTP/1.1 200 OK\r\nContent-",),
    b"/half-a-body": (OK + b"Content-Length: 100\r\n\r\n{",),
    b"/half-a-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",),
    b"/no-last-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",),
    b"/strange-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",),
    b"/garbage": (b"\x16\x03\x01 nothing that one could read\r\n\r\n",),
    b"/endless-head": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20),),
    b"/switches": (b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nraw",),
    b"/bad-length": (OK + b"Content-Length: -1\r\n\r\n",),
    b"/until-the-end": (OK + b"Connection: close\r\n\r\n{}",),
    b"/in-pieces": (b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\nab", b"cd"),
    b"/two-answers": (OK + b"Content-Length: 2\r\n\r\n{}" + OK + b"Content-Length: 2\r\n\r\n[]",),
    b"/early-hints": (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",),
}
"""What the strange engine answers, in pieces, before it closes the connection."""


@dataclass
class StrangeEngine:
    """A server on a unix socket that answers /_ping like an engine, and other targets by the script."""

    path: Path
    asked: list[bytes] = field(default_factory=list)
    _listener: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen(256)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            buffer = b""
            while more := client.recv(65536):
                buffer += more
                while b"\r\n\r\n" in buffer:
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    target = head.split(b" ")[1]
                    self.asked.append(target)
                    pieces = SCRIPT.get(target)
                    if pieces is None:
                        client.sendall(PING)
                        continue
                    for piece in pieces:
                        client.sendall(piece)
                    return


@pytest.fixture(scope="module")
def strange() -> Iterator[tuple[StrangeEngine, ThrowAwayWarden]]:
    root = Path(tempfile.mkdtemp(prefix="strange-"))
    warden = ThrowAwayWarden(
        root / "w", engine_socket=root / "engine.sock", listen=root / "docker.sock", takeover="none"
    )
    warden.configure(expected.policy(), guard={"mode": "none"})
    with StrangeEngine(root / "engine.sock") as engine:
        try:
            warden.start()
            yield engine, warden
        finally:
            warden.stop()
    shutil.rmtree(root)


def send(path: Path, data: bytes) -> bytes:
    """Send ``data`` and read until the other side ends or breaks the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        client.connect(str(path))
        said = bytearray()
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            while more := client.recv(65536):
                said += more
        return bytes(said)


def request(target: bytes, method: bytes = b"GET", *fields: bytes) -> bytes:
    lines = b"".join(field + b"\r\n" for field in (b"Host: docker", *fields))
    return method + b" " + target + b" HTTP/1.1\r\n" + lines + b"\r\n"


LAST: Final = b"Connection: close"


@pytest.mark.parametrize(
    "target", [b"/close", b"/half-a-head", b"/garbage", b"/endless-head", b"/switches", b"/bad-length"]
)
def test_an_answer_that_is_none_becomes_a_clear_error(
    target: bytes, strange: tuple[StrangeEngine, ThrowAwayWarden]
) -> None:
    said = send(strange[1].listen, request(target, b"GET", LAST))
    assert said.startswith(b"HTTP/1.1 503 ")
    assert "cannot reach the docker engine" in json.loads(said.partition(b"\r\n\r\n")[2])["message"]


@pytest.mark.parametrize("target", [b"/half-a-body", b"/half-a-chunk", b"/no-last-chunk", b"/strange-chunk"])
def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(
    target: bytes, strange: tuple[StrangeEngine, ThrowAwayWarden]
) -> None:
    """Nothing may be appended that could be read as the rest of it."""
    said = send(strange[1].listen, request(target) + request(b"/_ping", b"GET", LAST))
    assert b"".join(SCRIPT[target]).startswith(said)


@pytest.mark.parametrize("target", [b"/until-the-end", b"/in-pieces", b"/early-hints"])
def test_an_unusual_answer_is_relayed_as_it_came(target: bytes, strange: tuple[StrangeEngine, ThrowAwayWarden]) -> None:
    assert send(strange[1].listen, request(target, b"GET", LAST)) == b"".join(SCRIPT[target])


def test_a_second_answer_is_not_taken_for_the_answer_to_the_next_request(
    strange: tuple[StrangeEngine, ThrowAwayWarden],
) -> None:
    """A request that waited behind the first one got the engine's surplus bytes for its answer."""
    said = send(strange[1].listen, request(b"/two-answers") + request(b"/_ping", b"GET", LAST))
    assert b"[]" not in said


def test_a_request_that_changes_something_is_not_sent_twice(strange: tuple[StrangeEngine, ThrowAwayWarden]) -> None:
    engine, warden = strange
    before = engine.asked.count(b"/close")
    said = send(warden.listen, request(b"/close", b"POST", LAST, b"Content-Length: 0"))
    assert said.startswith(b"HTTP/1.1 503 ")
    assert engine.asked.count(b"/close") == before + 1


def test_the_gateway_still_serves_after_a_strange_engine(strange: tuple[StrangeEngine, ThrowAwayWarden]) -> None:
    said = send(strange[1].listen, request(b"/_ping") * 3 + request(b"/_ping", b"GET", LAST))
    assert said == PING * 4
    assert "Traceback" not in strange[1].log()


# -- reloads ---------------------------------------------------------------


@pytest.fixture(scope="module")
def living(new_gateway: Callable[..., Any], images: Any) -> Iterator[Any]:
    """A sockwarden whose policy these tests change; they are judged as if they were in a container."""
    assert images.cli
    gateway = new_gateway(clients={"host": "enforce"})
    yield gateway
    gateway.stop()


PUSH: Final = request(b"/v1.41/images/x/push", b"POST", LAST, b"Content-Length: 0")

BAD_POLICIES: Final[dict[str, bytes]] = {
    "empty": b"",
    "cut off": expected.ADMIN_SETTINGS.encode()[:200],
    "not UTF-8": expected.ADMIN_SETTINGS.encode().replace(b"push", b"p\xffsh"),
    "UTF-16": expected.ADMIN_SETTINGS.encode("utf-16"),
    "a list": b"[]",
    "a key twice": expected.ADMIN_SETTINGS.replace('"locked": true', '"locked": true, "locked": false').encode(),
    "a wrong type": expected.ADMIN_SETTINGS.replace('"value": true', '"value": "yes"').encode(),
    "an unknown key": expected.ADMIN_SETTINGS.replace('"commandList"', '"commandLists"').encode(),
    "an unknown command": expected.ADMIN_SETTINGS.replace('"push"', '"pusch"').encode(),
    "garbage": bytes(range(256)) * 20,
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_policy_that_cannot_be_used_leaves_the_old_one_in_force(
    name: str, living: Any, eventually: Callable[..., Any]
) -> None:
    before = living.metrics()
    living.warden.write_policy(BAD_POLICIES[name])
    living.warden.hangup()
    failures = "sockwarden_policy_reload_failures_total"
    eventually(lambda: living.metrics()[failures] > before[failures])
    assert living.metrics()["sockwarden_policy_generation"] == before["sockwarden_policy_generation"]
    assert send(living.socket, PUSH).startswith(b"HTTP/1.1 403 ")


def test_a_policy_that_is_gone_leaves_the_old_one_in_force(living: Any, eventually: Callable[..., Any]) -> None:
    before = living.metrics()["sockwarden_policy_reload_failures_total"]
    living.warden.files.policy.unlink()
    living.warden.hangup()
    eventually(lambda: living.metrics()["sockwarden_policy_reload_failures_total"] > before)
    assert send(living.socket, PUSH).startswith(b"HTTP/1.1 403 ")


def test_the_reload_command_fails_for_a_bad_policy_and_says_why(living: Any) -> None:
    living.warden.write_policy(BAD_POLICIES["an unknown command"])
    command = [sys.executable, "-m", "sockwarden", "reload", "--config", str(living.warden.files.config)]
    environment = clean_environment(living.warden.files.root)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode != 0
    assert "pusch" in done.stdout + done.stderr


def test_a_storm_of_hangups_ends_with_the_last_policy_in_force(living: Any, eventually: Callable[..., Any]) -> None:
    for number in range(200):
        living.warden.write_policy(listed("push" if number % 2 else "ps"))
        living.warden.hangup()
    living.reload(listed("images"))
    eventually(lambda: not send(living.socket, PUSH).startswith(b"HTTP/1.1 403 "))
    assert send(living.socket, request(b"/images/json", b"GET", LAST)).startswith(b"HTTP/1.1 403 ")
    assert send(living.socket, request(b"/containers/json", b"GET", LAST)).startswith(b"HTTP/1.1 200 ")


def listed(command: str) -> dict[str, Any]:
    document = expected.policy()
    document["enhancedContainerIsolation"]["dockerSocketMount"]["commandList"]["commands"] = [command]
    return document


def test_two_hundred_clients_during_reloads_are_each_judged_by_one_policy(living: Any) -> None:
    """Either list denies one of the two requests: under no mixture of them do both pass, or fail."""
    living.reload(listed("ps"))
    pair = request(b"/containers/json") + request(b"/images/json", b"GET", LAST)
    over = threading.Event()

    def storm() -> None:
        number = 0
        while not over.wait(0.01):
            number += 1
            living.warden.write_policy(listed("images" if number % 2 else "ps"))
            living.warden.hangup()

    storming = threading.Thread(target=storm)
    storming.start()
    try:
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda _: send(living.socket, pair), range(1000)))
    finally:
        over.set()
        storming.join()
    assert [each for each in answers if each.count(b"HTTP/1.1 ") != 2] == []
    assert {word for each in answers for word in (b" 500 ", b" 503 ") if word in each} == set()
    assert "Traceback" not in living.warden.log()


# -- stopping --------------------------------------------------------------


def test_a_stop_lets_a_request_in_flight_end(gateway_factory: Callable[..., Any], images: Any, direct: Any) -> None:
    gateway = gateway_factory()
    name = direct.right("run", "-d", "--network", "none", images.busybox, "sleep", "600").strip()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(SECONDS)
            client.connect(str(gateway.socket))
            client.sendall(request(b"/v1.41/containers/" + name.encode() + b"/wait", b"POST", b"Content-Length: 0"))
            assert client.recv(12) == b"HTTP/1.1 200"  # its body comes when the container ends
            os.kill(gateway.warden.pid, signal.SIGTERM)
            direct.right("kill", name)
            said = b""
            while b"StatusCode" not in said:
                more = client.recv(65536)
                assert more, said
                said += more
        assert gateway.stop() == 0
        assert not gateway.socket.exists()
    finally:
        direct("rm", "-f", name)


def test_a_stop_does_not_wait_for_clients_that_ask_nothing(gateway_factory: Callable[..., Any]) -> None:
    gateway = gateway_factory()
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(50)]
    for each in idle:
        each.settimeout(SECONDS)
        each.connect(str(gateway.socket))
    assert gateway.stop() == 0
    for each in idle:
        with contextlib.suppress(ConnectionResetError):
            assert each.recv(1) == b""
        each.close()


def test_a_start_with_a_bad_policy_takes_nothing(gateway_factory: Callable[..., Any], engine: Any) -> None:
    before = os.lstat(engine.socket).st_ino
    gateway = gateway_factory(BAD_POLICIES["an unknown command"], takeover="swap", start=False)
    command = [sys.executable, "-m", "sockwarden", "run", "--config", str(gateway.warden.files.config)]
    environment = clean_environment(gateway.warden.files.root)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode > 0
    assert "pusch" in done.stderr
    assert os.lstat(engine.socket).st_ino == before
