"""What passes through a running sockwarden arrives whole, whoever ends first, and leaves nothing behind.

A body that is longer than SPLICE_BYTES, and a hijacked stream that has moved as much, passes by a thread; a shorter
one by the event loop; and one goes over to the other in the middle.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest
from tests.integration.raw_line import EndedError, Head, Line, chunked
from tests.integration.scripted_engine import ScriptedEngine, content, digest

from sockwarden.demo.warden import ThrowAwayWarden
from sockwarden.gateway.splice import SPLICE_BYTES
from sockwarden.gateway.upstream import SPARE_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the agent must run as root")

POLICY: Final = {"enhancedContainerIsolation": {"value": True, "dockerSocketMount": {"commandList": {"type": "deny"}}}}
SIZES: Final = (10, SPLICE_BYTES - 1, SPLICE_BYTES + 1, 9 * SPLICE_BYTES + 7)
LARGE: Final = 9 * SPLICE_BYTES + 7
HUGE: Final = 64 * SPLICE_BYTES
"""More than all buffers between two ends can hold."""

CROWD: Final = 16
"""Twice as many as the gateway keeps spare connections; half as many as it has threads."""


def get(script: str, seed: int = 0, size: int = 0) -> bytes:
    target = f"/v1.41/containers/json?script={script}&seed={seed}&size={size}"
    return f"GET {target} HTTP/1.1\r\nHost: d\r\n\r\n".encode()


def load(script: str = "read", *, size: int = 0, length: int | None = None) -> bytes:
    """Return the head of an upload; without a length its body is chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    target = f"/v1.41/images/load?script={script}&size={size}"
    return f"POST {target} HTTP/1.1\r\nHost: d\r\n{framing}\r\n\r\n".encode()


def start_exec(script: str, seed: int = 0, size: int = 0) -> bytes:
    body = '{"Detach":false,"Tty":false}'
    target = f"/v1.41/exec/{'a' * 64}/start?script={script}&seed={seed}&size={size}"
    fields = "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json"
    return f"POST {target} HTTP/1.1\r\nHost: d\r\n{fields}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture(scope="module")
def engine(workshop: Path) -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine(workshop / "scripted.sock")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def daemon(engine: ScriptedEngine, workshop: Path) -> Iterator[ThrowAwayWarden]:
    root = workshop / "streams"
    warden = ThrowAwayWarden(root, engine_socket=engine.path, listen=root / "docker.sock", takeover="none")
    warden.configure(POLICY, guard={"mode": "none"})
    warden.start()
    yield warden
    assert warden.stop() == 0


POOLED_THREADS = 1


class AtRest:
    """The daemon's threads and descriptors: how many there are now, and when it has nothing to do."""

    def __init__(self, pid: int) -> None:
        self._process = f"/proc/{pid}"
        self.threads = self.threads_now()
        self.descriptors = self.descriptors_now()

    def threads_now(self) -> int:
        return len(os.listdir(f"{self._process}/task"))

    def descriptors_now(self) -> int:
        return len(os.listdir(f"{self._process}/fd"))


@pytest.fixture(scope="module")
def at_rest(daemon: ThrowAwayWarden) -> AtRest:
    """Taken before any client but the one that asked whether the daemon answers."""
    return AtRest(daemon.pid)


@pytest.fixture(autouse=True)
def nothing_is_left(daemon: ThrowAwayWarden, at_rest: AtRest, eventually: Callable[..., object]) -> Iterator[None]:
    """After each test the same process answers, with no thread more than at rest, nor any descriptor."""
    yield
    assert daemon.alive(), daemon.tail()
    with Line.to(daemon.listen, random.Random(0)) as line:
        line.send(get("length", seed=1, size=100))
        assert line.body(line.head()) == content(1, 100)
    # The loop's pool keeps the thread that wrote down what registries answered.
    eventually(lambda: at_rest.threads_now() <= at_rest.threads + POOLED_THREADS)
    # The spare connections may all be there or not; what every test left would soon be more than those.
    eventually(lambda: at_rest.descriptors_now() <= at_rest.descriptors + SPARE_CONNECTIONS)


@pytest.fixture
def connect(daemon: ThrowAwayWarden, request: pytest.FixtureRequest) -> Iterator[Callable[[], Line]]:
    """Connect a client; its pieces are cut as the test's name and the number of the client say."""
    lines: list[Line] = []

    def connect() -> Line:
        lines.append(Line.to(daemon.listen, random.Random(f"{request.node.name} {len(lines)}")))
        return lines[-1]

    yield connect
    for line in lines:
        line.close()


def upload(line: Line, body: bytes, *, behind: bytes = b"", by_length: bool = True) -> None:
    """Send a whole upload and what is pipelined behind it."""
    if by_length:
        line.send(load(length=len(body)) + body + behind)
    else:
        line.send(load() + chunked(body, random.Random(len(body))) + behind)


def stream(line: Line, request: bytes) -> Head:
    """Ask for a hijacked connection."""
    line.send(request)
    head = line.head()
    assert head.status == 101
    return head


# -- bodies ---------------------------------------------------------------


@pytest.mark.parametrize("script", ["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_an_answer_arrives_whole(connect: Callable[[], Line], script: str, size: int) -> None:
    client = connect()
    for seed in range(3):
        client.send(get(script, seed, size))
        assert client.body(client.head()) == content(seed, size)


@pytest.mark.parametrize("size", SIZES)
def test_an_answer_that_ends_with_its_connection_arrives_whole(connect: Callable[[], Line], size: int) -> None:
    client = connect()
    client.send(get("close", 1, size))
    client.head()
    assert client.rest() == content(1, size)


@pytest.mark.parametrize("by_length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_an_upload_arrives_whole(connect: Callable[[], Line], size: int, by_length: bool) -> None:
    client = connect()
    for seed in range(3):
        body = content(seed, size)
        upload(client, body, by_length=by_length)
        assert client.body(client.head()) == digest(body).encode()


@pytest.mark.parametrize("by_length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_a_request_behind_an_upload_is_the_next_one(connect: Callable[[], Line], size: int, by_length: bool) -> None:
    client = connect()
    body = content(1, size)
    upload(client, body, behind=get("length", 2, LARGE) + get("chunked", 3, LARGE), by_length=by_length)
    answers = [client.body(client.head()) for _ in range(3)]
    assert answers == [digest(body).encode(), content(2, LARGE), content(3, LARGE)]


def test_a_client_that_ends_its_half_behind_an_upload_reads_every_answer(connect: Callable[[], Line]) -> None:
    client = connect()
    body = content(1, LARGE)
    upload(client, body, behind=get("length", 2, LARGE))
    client.end()
    answers = [client.body(client.head()), client.body(client.head()), client.rest()]
    assert answers == [digest(body).encode(), content(2, LARGE), b""]


def test_an_answer_that_outruns_the_thread_of_its_upload_is_no_early_one(connect: Callable[[], Line]) -> None:
    # The engine may answer before the thread has told the loop that the body is done.
    client = connect()
    bodies = [content(seed, SPLICE_BYTES + 300_000 + seed) for seed in range(100)]
    answers = []
    for body in bodies:
        upload(client, body)
        answers.append(client.body(client.head()))
    assert answers == [digest(body).encode() for body in bodies]


def test_bodies_that_stand_still_in_the_middle_arrive_whole(
    connect: Callable[[], Line], at_rest: AtRest, eventually: Callable[..., object]
) -> None:
    def thread_is_back() -> bool:
        return at_rest.threads_now() <= at_rest.threads

    client = connect()
    body = content(1, LARGE)
    client.send(load(length=LARGE) + body[: LARGE // 2])
    eventually(lambda: not thread_is_back())
    eventually(thread_is_back)
    client.send(body[LARGE // 2 :] + get("length", 2, HUGE))
    uploaded = client.body(client.head())
    head = client.head()
    # Whether a thread has this answer is a matter of time: none begins while the client has not read what was written.
    eventually(thread_is_back)
    assert (uploaded, client.body(head)) == (digest(body).encode(), content(2, HUGE))


def test_many_clients_at_once_get_what_is_theirs(connect: Callable[[], Line]) -> None:
    def one(client: Line, seed: int) -> bool:
        body = content(seed, LARGE)
        upload(client, body, by_length=bool(seed % 2))
        uploaded = client.body(client.head())
        client.send(get("length", seed + 1, LARGE))
        return uploaded == digest(body).encode() and client.body(client.head()) == content(seed + 1, LARGE)

    clients = [connect() for _ in range(CROWD)]
    with ThreadPoolExecutor(CROWD) as crowd:
        assert all(crowd.map(one, clients, range(CROWD)))


# -- hijacked streams -----------------------------------------------------


@pytest.mark.parametrize("size", [0, *SIZES])
def test_a_stream_whose_client_ends_first_arrives_whole_both_ways(connect: Callable[[], Line], size: int) -> None:
    client = connect()
    data = content(1, size)
    stream(client, start_exec("echo"))

    def send() -> None:
        client.send(data)
        client.end()

    with ThreadPoolExecutor(1) as other:
        sending = other.submit(send)
        echoed = client.rest()
        sending.result()
    assert echoed == data + digest(data).encode()


@pytest.mark.parametrize("size", [0, *SIZES])
def test_a_stream_whose_engine_ends_first_arrives_whole_both_ways(
    connect: Callable[[], Line], engine: ScriptedEngine, size: int
) -> None:
    client = connect()
    stream(client, start_exec("first", 1, size))
    received = client.rest()
    client.send(content(2, size))
    client.end()
    told = engine.received.get(timeout=20)
    assert (received, told) == (content(1, size), digest(content(2, size)))


def test_a_stream_whose_both_ends_send_before_they_read_arrives_whole(
    connect: Callable[[], Line], engine: ScriptedEngine
) -> None:
    client = connect()
    stream(client, start_exec("first", 1, LARGE))
    with ThreadPoolExecutor(1) as other:
        sending = other.submit(client.send, content(2, LARGE))
        received = client.rest()
        sending.result()
    client.end()
    told = engine.received.get(timeout=20)
    assert (received, told) == (content(1, LARGE), digest(content(2, LARGE)))


# -- odd ends -------------------------------------------------------------


@pytest.mark.parametrize("script", ["early", "early-close"])
@pytest.mark.parametrize("by_length", [True, False], ids=["length", "chunked"])
def test_an_early_answer_reaches_a_client_that_reads_while_it_sends(
    connect: Callable[[], Line],
    script: str,
    by_length: bool,
) -> None:
    client = connect()
    body = bytes(HUGE)

    def send() -> None:
        client.send(load(script, length=HUGE) + body if by_length else load(script) + chunked(body, random.Random(1)))

    with ThreadPoolExecutor(1) as other:
        sending = other.submit(send)
        head = client.head()
        answer = client.body(head)
        sending.result()
    assert (head.status, answer) == (413, b"big")


@pytest.mark.parametrize("size", SIZES)
def test_an_engine_that_dies_in_an_answer_cuts_it_short_for_the_client_too(
    connect: Callable[[], Line], size: int
) -> None:
    client = connect()
    client.send(get("half", 1, size))
    client.head()
    with pytest.raises((EndedError, ConnectionError)):
        client.exactly(size)


@pytest.mark.parametrize("size", SIZES)
def test_an_engine_that_dies_in_an_upload_is_reported(connect: Callable[[], Line], size: int) -> None:
    client = connect()
    client.send(load("deaf", size=size // 2, length=size) + content(1, size // 2))
    assert client.head().status == 503


@pytest.mark.parametrize("script", ["length", "chunked", "close"])
def test_a_client_that_leaves_in_an_answer_leaves_nothing(connect: Callable[[], Line], script: str) -> None:
    for read in (1, SPLICE_BYTES // 2, 3 * SPLICE_BYTES):
        client = connect()
        client.send(get(script, 1, HUGE))
        client.head()
        client.exactly(read)
        client.close()


@pytest.mark.parametrize("by_length", [True, False], ids=["length", "chunked"])
def test_a_client_that_leaves_in_an_upload_leaves_nothing(connect: Callable[[], Line], by_length: bool) -> None:
    body = bytes(HUGE)
    message = load(length=HUGE) + body if by_length else load() + chunked(body, random.Random(1))
    for sent in (300, SPLICE_BYTES // 2, 3 * SPLICE_BYTES, HUGE - 1):
        client = connect()
        client.send(message[:sent])
        client.close()


@pytest.mark.parametrize("sent", [0, SPLICE_BYTES // 2, LARGE])
def test_a_client_that_leaves_a_stream_leaves_nothing(connect: Callable[[], Line], sent: int) -> None:
    client = connect()
    stream(client, start_exec("echo"))
    with ThreadPoolExecutor(1) as other:
        sending = other.submit(client.send, bytes(sent))
        client.exactly(sent)
        sending.result()
    client.close()
