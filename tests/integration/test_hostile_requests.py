"""Whatever bytes a client sends, dockerd runs no operation that the policy denies; and legal requests lose nothing.

The oracle is the engine itself: with ``debug`` on, dockerd logs ``Calling METHOD URI`` for each request that it
routes, before it does anything about it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.integration.corpus_requests import (
    ATTACKS,
    CARRIERS,
    HOST,
    LEGAL,
    LEGAL_BODIES,
    MARKER,
    NOWHERE,
    PUSH,
    Attack,
    body,
    carried,
)

from sockwarden.demo import expected
from sockwarden.gateway.intake import HEAD_SECONDS, LINGER_SECONDS
from sockwarden.gateway.judging import COLLECT_SECONDS
from sockwarden.http1.request import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

QUIET_SECONDS: Final = 0.06
"""A peer that says nothing for so long has understood nothing more; then we end our half and read to the end."""

END_SECONDS: Final = 20.0
AT_ONCE: Final = 24

DENIED: Final = ("push", "exec", "tag", "build", "pull", "commit", "cp")
CALLING: Final = re.compile(r'msg="Calling (?P<method>[A-Z]+) (?P<uri>[^"]*)"')
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
OUR_FAULT: Final = re.compile(rb"HTTP/1\.1 5\d\d [^\r]*\r\nContent-Type: application/json\r\nServer: sockwarden\r\n")

STARTING_NOTHING = "starting no container"


def talk(path: Path, data: bytes) -> tuple[bytes, bool]:
    """Send ``data``, end our half once the peer is quiet, return all that it said and whether it ended its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(END_SECONDS)
        client.connect(str(path))
        said = bytearray()
        try:
            client.sendall(data)
            client.settimeout(QUIET_SECONDS)
            while more := client.recv(65536):
                said += more
            return bytes(said), True
        except TimeoutError:
            pass
        except OSError:
            return bytes(said), True
        try:
            client.shutdown(socket.SHUT_WR)
            client.settimeout(END_SECONDS)
            while more := client.recv(65536):
                said += more
        except TimeoutError:
            return bytes(said), False
        except OSError:
            pass
        return bytes(said), True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attack: the answer's bytes, whether the connection ended, and what the engine ran."""

    said: bytes
    ended: bool
    ran: tuple[str, ...]


def play(path: Path, log: Path, letter: str, attacks: tuple[Attack, ...] = ATTACKS) -> dict[str, Outcome]:
    """Send every attack over a connection of its own, and find in the engine's log what it ran."""
    names = {f"{letter}{number:04}z": attack for number, attack in enumerate(attacks)}
    begin = log.stat().st_size
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(
            zip(names, pool.map(lambda item: talk(path, item[1].named(item[0].encode())), names.items()), strict=True)
        )
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode("utf-8", "replace")
    ran: dict[str, list[str]] = {}
    for found in CALLING.finditer(text):
        for name in re.findall(rf"{letter}\d{{4}}z", found["uri"]):
            if found["method"] == "POST":
                ran.setdefault(name, []).append(found["uri"])
    return {attack.name: Outcome(*answers[name], tuple(ran.get(name, ()))) for name, attack in names.items()}


@pytest.fixture(scope="module")
def engine_log(engine: Any, eventually: Callable[..., Any]) -> Iterator[Path]:
    """The log of the engine, which tells every request that it runs."""
    settings = engine.root / "daemon.json"

    def says_all(wanted: bool) -> None:
        settings.write_text(json.dumps({"debug": wanted}), "utf-8")
        os.kill(engine.pid, signal.SIGHUP)
        eventually(lambda: json.loads(engine.docker("info", "--format", "{{json .Debug}}").stdout) is wanted)

    says_all(True)
    yield engine.log
    says_all(False)


def policy(kind: str, *commands: str) -> dict[str, Any]:
    document = expected.policy()
    document["enhancedContainerIsolation"]["dockerSocketMount"]["commandList"] = {
        "type": kind,
        "commands": list(commands),
    }
    return document


@pytest.fixture(scope="module")
def denying(new_gateway: Callable[..., Any], images: Any) -> Iterator[Any]:
    """A deny list; the tests are its clients, judged as if they were in a container."""
    assert images.cli
    gateway = new_gateway(policy("deny", *DENIED), clients={"host": "enforce"})
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def allowing(new_gateway: Callable[..., Any], images: Any) -> Iterator[Any]:
    """An allow list that opens hijacks and long answers, and nothing that the attacks want."""
    assert images.cli
    commands = ("ps", "images", "logs", "attach", "events", "stop", "wait", "info")
    gateway = new_gateway(policy("allow", *commands), clients={"host": "enforce"})
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def unguarded(engine: Any, engine_log: Path) -> dict[str, Outcome]:
    """What the engine itself makes of the attacks whose outcome is a known fact."""
    return play(engine.socket, engine_log, "e", tuple(attack for attack in ATTACKS if attack.runs is not None))


@pytest.fixture(scope="module", params=["denying", "allowing"])
def guarded(request: pytest.FixtureRequest, engine_log: Path) -> tuple[Any, dict[str, Outcome]]:
    """All attacks, played against one list."""
    gateway = request.getfixturevalue(request.param)
    return gateway, play(gateway.socket, engine_log, request.param[0])


# -- attacks ---------------------------------------------------------------


def test_the_corpus_is_large_and_has_no_name_twice() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) > 1000


def test_without_sockwarden_the_engine_runs_what_the_corpus_says_that_it_runs(unguarded: dict[str, Outcome]) -> None:
    known = [attack for attack in ATTACKS if attack.runs is not None]
    wrong = {attack.name: attack.runs for attack in known if bool(unguarded[attack.name].ran) is not attack.runs}
    assert wrong == {}


def test_the_engine_runs_nothing_that_is_denied(guarded: tuple[Any, dict[str, Outcome]]) -> None:
    listed = {attack.name for attack in ATTACKS if attack.operation in (*DENIED, "a form")}
    assert {name: found.ran for name, found in guarded[1].items() if found.ran and name in listed} == {}


def test_every_connection_of_an_attack_ends(guarded: tuple[Any, dict[str, Outcome]]) -> None:
    assert [name for name, found in guarded[1].items() if not found.ended] == []


def test_every_attack_is_answered_with_whole_responses(guarded: tuple[Any, dict[str, Outcome]]) -> None:
    started = {name: found.said for name, found in guarded[1].items() if found.said}
    assert {name: said[:80] for name, said in started.items() if not STATUS.match(said)} == {}


def test_no_attack_makes_sockwarden_fail(guarded: tuple[Any, dict[str, Outcome]]) -> None:
    assert {name: found.said for name, found in guarded[1].items() if OUR_FAULT.search(found.said)} == {}
    log = guarded[0].warden.log()
    assert [word for word in ("Traceback", "decision failed", "exception") if word in log] == []


def test_a_command_is_refused_in_the_documented_words_however_its_path_is_spelled(denying: Any) -> None:
    said, _ = talk(denying.socket, PUSH.replace(b"/push", b"/%70ush"))
    assert b'docker command \\"/v1.41/images/mmmmmm/%70ush\\" is blocked' in said
    assert b"HTTP/1.1 403 Forbidden\r\n" in said


def test_what_is_in_front_of_a_refused_request_is_still_answered(denying: Any) -> None:
    said, _ = talk(denying.socket, carried(CARRIERS[0], b"X: y", PUSH + carried(CARRIERS[0], b"X: y", b"")))
    assert STATUS.findall(said) == [b"200", b"403", b"200"]


# -- legal requests --------------------------------------------------------


def unvarying(said: bytes) -> bytes:
    return re.sub(rb"(?m)^Date: [^\r]*\r\n", b"", said)


@pytest.mark.parametrize("name", [name for name in LEGAL if name != STARTING_NOTHING])
def test_a_legal_request_gets_the_answer_that_the_engine_gives(name: str, denying: Any, engine: Any) -> None:
    data = carried(LEGAL[name], b"Connection: close", b"")
    assert unvarying(talk(denying.socket, data)[0]) == unvarying(talk(engine.socket, data)[0])


def test_who_starts_no_container_reads_what_the_engine_says(denying: Any, engine: Any) -> None:
    """The gateway answers itself: what is asked for by name may be another container when the engine looks."""
    data = carried(LEGAL[STARTING_NOTHING], b"Connection: close", b"")
    ours, theirs = (talk(path, data)[0] for path in (denying.socket, engine.socket))
    assert ours.split(b"\r\n")[0] == theirs.split(b"\r\n")[0]
    assert ours.partition(b"\r\n\r\n")[2] == theirs.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", NOWHERE)
def test_what_the_engine_does_not_know_is_not_found_as_the_engine_says_it(name: str, denying: Any, engine: Any) -> None:
    data = carried(NOWHERE[name], b"Connection: close", b"")
    ours, theirs = (talk(path, data)[0] for path in (denying.socket, engine.socket))
    assert ours.split(b"\r\n")[:2] == theirs.split(b"\r\n")[:2]
    assert ours.partition(b"\r\n\r\n")[2] == theirs.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", LEGAL_BODIES)
@pytest.mark.parametrize("how", ["with a length", "in chunks", "in chunks of one byte", "with an expectation"])
def test_a_legal_body_reaches_the_engine_however_it_is_framed(name: str, how: str, denying: Any, engine: Any) -> None:
    line, content = LEGAL_BODIES[name]
    fields = b"Content-Type: application/json\r\nConnection: close\r\n"
    if how == "in chunks":
        data = carried(line, fields + b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))
    elif how == "in chunks of one byte":
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content)
        data = carried(line, fields + b"Transfer-Encoding: chunked", chunks + b"0\r\n\r\n")
    else:
        expect = b"Expect: 100-continue\r\n" if how == "with an expectation" else b""
        data = carried(line, fields + expect + b"Content-Length: %d" % len(content), content)
    interim = re.compile(rb"HTTP/1\.1 100 Continue\r\n\r\n")
    ours, theirs = (interim.sub(b"", unvarying(talk(path, data)[0])) for path in (denying.socket, engine.socket))
    assert ours == theirs


def test_a_request_that_comes_byte_by_byte_is_understood(denying: Any) -> None:
    data = carried(b"GET /v1.41/containers/json", b"Connection: close", b"")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(END_SECONDS)
        client.connect(str(denying.socket))
        for byte in data:
            client.send(bytes([byte]))
        assert client.recv(17) == b"HTTP/1.1 200 OK\r\n"


def test_legal_requests_on_one_connection_are_answered_in_their_order(denying: Any) -> None:
    lines = [line for line in LEGAL.values() if b"attach" not in line]
    data = b"".join(carried(line, b"X: y", b"") for line in lines)
    said, ended = talk(denying.socket, data + carried(b"GET /_ping", b"Connection: close", b""))
    alone = [STATUS.findall(talk(denying.socket, carried(line, b"Connection: close", b""))[0])[0] for line in lines]
    assert STATUS.findall(said) == [*alone, b"200"]
    assert ended


# -- loads -----------------------------------------------------------------


def test_the_deadlines_for_slow_clients_are_short() -> None:
    assert HEAD_SECONDS <= 30
    assert COLLECT_SECONDS <= 60
    assert LINGER_SECONDS <= 30


def test_a_head_without_an_end_is_refused_before_it_fills_the_memory(denying: Any) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(END_SECONDS)
        client.connect(str(denying.socket))
        client.sendall(b"GET /_ping HTTP/1.1\r\n" + HOST)
        line, sent = b"X: " + b"a" * 65_000 + b"\r\n", 0
        while sent < 1 << 30 and not _readable(client):
            sent += client.send(line)
        said = client.recv(65536)
    assert STATUS.findall(said) == [b"431"]
    assert sent < 64 * MAX_HEAD_BYTES


def _readable(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return bool(client.recv(1, socket.MSG_PEEK)) or True
    except BlockingIOError:
        return False
    finally:
        client.settimeout(END_SECONDS)


def test_an_upload_behind_a_refusal_is_dropped_and_the_refusal_is_read(denying: Any) -> None:
    content = b"x" * (8 << 20)
    said, _ = talk(denying.socket, body(b"/v1.41/build?t=mmmmmm", content, b"Content-Type: application/x-tar"))
    assert STATUS.findall(said) == [b"403"]


def test_blanks_in_a_field_do_not_hold_up_other_clients(denying: Any) -> None:
    """One field of blanks took half a minute to read, and nobody else was served meanwhile."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(END_SECONDS)
        client.connect(str(denying.socket))
        client.sendall(b"GET /_ping HTTP/1.1\r\n" + HOST + b"X:" + b" " * (MAX_HEAD_BYTES - 200))
        began = time.monotonic()
        said, _ = talk(denying.socket, carried(b"GET /_ping", b"Connection: close", b""))
    assert STATUS.findall(said) == [b"200"]
    assert time.monotonic() - began < 5


def test_two_hundred_clients_at_once_are_all_answered(denying: Any) -> None:
    """Half of them ask for what is denied; every one reads its own answer."""
    start = threading.Barrier(200)

    def ask(number: int) -> list[bytes]:
        data = PUSH if number % 2 else carried(b"GET /version", b"Connection: close", b"")
        start.wait(END_SECONDS)
        return STATUS.findall(talk(denying.socket, data)[0])

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == [[b"200"], [b"403"]] * 100


def test_a_client_that_does_not_read_holds_up_nobody(denying: Any) -> None:
    many = carried(b"GET /v1.41/images/json", b"X: y", b"") * 2000
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy:
        lazy.settimeout(0.5)
        lazy.connect(str(denying.socket))
        with pytest.raises(TimeoutError):
            while True:
                lazy.sendall(many)  # until its own answers, which nobody reads, stop the reading of more
        said, _ = talk(denying.socket, carried(b"GET /_ping", b"Connection: close", b""))
    assert STATUS.findall(said) == [b"200"]


def test_empty_connections_cost_nobody_an_answer(denying: Any) -> None:
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(300)]
    try:
        for each in idle:
            each.connect(str(denying.socket))
        said, _ = talk(denying.socket, carried(b"GET /_ping", b"Connection: close", b""))
    finally:
        for each in idle:
            each.close()
    assert STATUS.findall(said) == [b"200"]


def test_connections_of_the_attacks_are_all_gone(denying: Any, eventually: Callable[..., Any]) -> None:
    eventually(lambda: denying.metrics()["sockwarden_open_connections"] == 0)


def test_the_marker_is_as_long_as_the_names_that_replace_it() -> None:
    assert len(MARKER) == len("e0000z")


def test_an_engine_that_answers_and_closes_without_reading_a_body_is_heard(denying: Any) -> None:
    """Head and body went in two writes; where the second one failed, the client got a 503 in place of the answer."""
    data = body(b"/v1.41/_ping", b"hello", b"Connection: close").replace(b"POST", b"GET", 1)
    answers = [STATUS.findall(talk(denying.socket, data)[0]) for _ in range(500)]
    assert answers == [[b"200"]] * 500
