"""Who is at the other end: real containers of a real engine connect to a socket of ours."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden import abi
from sockwarden.engine.client import EngineClient
from sockwarden.identity.cgroup import hierarchies
from sockwarden.identity.container import ContainerResolver
from sockwarden.identity.peer import PeerSnapshot, identify
from sockwarden.identity.procfs import Procfs
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.connections.connectors import Connectors
from sockwarden.kernel.life import cgrouptree, process
from sockwarden.kernel.life.tracker import Tracker
from sockwarden.model import ContainerClient, HostClient, IdentitySource, Rule, UnknownClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockwarden.model import Client

pytestmark = pytest.mark.docker

ACCEPT_SECONDS: Final = 60.0
CONNECT: Final = "exec curl -s --unix-socket /meet/d.sock http://d/"
STAY: Final = "exec sleep 600"


@dataclass
class Meeting:
    """A place where containers connect and wait until they have been looked at."""

    docker: Any
    engine: EngineClient
    image: str
    folder: Path
    listener: socket.socket
    made: list[str] = field(default_factory=list)

    def run(self, *options: str, command: str = CONNECT) -> str:
        """Start a container and return its id."""
        container_id: str = self.docker.right(
            *("run", "-d", "--network=none", "-v", f"{self.folder}:/meet", *options, self.image, "sh", "-c", command)
        ).strip()
        self.made.append(container_id)
        return container_id

    def snapshot(self, *, pidfd: bool = True) -> PeerSnapshot:
        """Identify the next one who connects; the connection is closed."""
        connection, _ = self.listener.accept()
        with connection:
            return identify(connection, pidfd=pidfd)

    def next(self, *, pidfd: bool = True) -> Client:
        """Place the next one who connects, while it waits for an answer."""
        connection, _ = self.listener.accept()
        with connection:
            return self.resolve(identify(connection, pidfd=pidfd))

    def resolve(self, snapshot: PeerSnapshot) -> Client:
        async def ask() -> Client:
            try:
                return await ContainerResolver(self.engine).resolve(snapshot)
            finally:
                await self.engine.close()

        return asyncio.run(ask())


_numbers: Final = itertools.count(1)


@pytest.fixture
def meeting(direct: Any, engine: Any, images: Any, workshop: Path) -> Iterator[Meeting]:
    folder = workshop / f"meeting{next(_numbers)}"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "d.sock"))
        (folder / "d.sock").chmod(0o666)
        listener.listen()
        listener.settimeout(ACCEPT_SECONDS)
        meeting = Meeting(direct, EngineClient(str(engine.socket)), images.cli, folder, listener)
        try:
            yield meeting
        finally:
            for container_id in meeting.made:
                direct("rm", "-f", "-v", container_id)


def placed(client: Client) -> tuple[str, str]:
    assert isinstance(client, ContainerClient), client
    return client.container.id, client.container.image_name


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "credentials"])
def test_a_container_is_known_by_its_id_and_image(meeting, pidfd):
    container_id = meeting.run()
    assert placed(meeting.next(pidfd=pidfd)) == (container_id, meeting.image)


@pytest.mark.parametrize(
    "options",
    [
        ["--pid=host"],
        ["--cgroupns=host"],
        ["--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"],
        ["--pid=host", "--ipc=host", "--uts=host", "--cgroupns=host"],
        ["--user=1000:1000"],
        ["--cgroup-parent={engine}/jobs/of-mine"],
        ["--init"],
        ["--name=web", "--hostname=other"],
    ],
    ids=" ".join,
)
def test_no_option_of_a_container_hides_it(meeting, engine, options):
    container_id = meeting.run(*(option.format(engine=engine.cgroup_parent) for option in options))
    assert placed(meeting.next())[0] == container_id


def test_a_process_that_joined_by_exec_is_in_the_container(meeting):
    container_id = meeting.run(command=STAY)
    process = meeting.docker.start("exec", container_id, "sh", "-c", CONNECT)
    with process:
        assert placed(meeting.next())[0] == container_id


def test_a_restarted_container_is_the_same_with_another_init(meeting):
    container_id = meeting.run()
    first = meeting.next()
    meeting.docker.right("restart", "-t", "0", container_id)
    again = meeting.next()
    assert (placed(again), first.peer == again.peer) == (placed(first), False)


def test_a_container_below_anothers_cgroup_is_itself(meeting):
    good = meeting.run(command=STAY)
    pid = int(meeting.docker.right("inspect", "-f", "{{.State.Pid}}", good))
    lines = Procfs().cgroup(pid) or ""
    parent = next(line.split(":", 2)[2] for line in lines.splitlines() if good in line)
    evil = meeting.run(f"--cgroup-parent={parent}")
    snapshot = meeting.snapshot()
    meeting.docker.right("restart", "-t", "0", evil)
    assert good in snapshot.cgroup_lines
    assert placed(meeting.next())[0] == evil


def test_a_cgroup_named_like_another_container_does_not_make_it_that_one(meeting):
    good = meeting.run(command=STAY)
    own = "$(find /cgroups -type d -name $(hostname)'*')"
    move = f"for d in {own}; do mkdir $d/{good} && echo $$ >$d/{good}/cgroup.procs; done"
    evil = meeting.run("-v/sys/fs/cgroup:/cgroups", command=f"{{ {move}; }} 2>/dev/null; {CONNECT}")
    connection, _ = meeting.listener.accept()
    with connection:
        snapshot = identify(connection)
        client = meeting.resolve(snapshot)
    assert f"/{evil}/{good}\n" in snapshot.cgroup_lines
    assert placed(client)[0] == evil


def test_a_host_process_is_in_no_container(meeting):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(meeting.folder / "d.sock"))
        assert isinstance(meeting.next(), HostClient)


def test_a_container_that_has_gone_is_refused(meeting):
    container_id = meeting.run()
    snapshot = meeting.snapshot()
    meeting.docker.right("rm", "-f", container_id)
    client = meeting.resolve(snapshot)
    assert isinstance(client, UnknownClient)
    assert client.rule is Rule.UNKNOWN_CONTAINER


def test_without_the_engine_a_container_is_refused_for_that_reason(meeting, tmp_path):
    meeting.run()
    snapshot = meeting.snapshot()
    meeting.engine = EngineClient(str(tmp_path / "nobody.sock"))
    client = meeting.resolve(snapshot)
    assert isinstance(client, UnknownClient)
    assert client.rule is Rule.ENGINE


def test_a_resolved_container_is_answered_without_waiting(meeting):
    meeting.run(command=f"{CONNECT.removeprefix('exec ')}; {CONNECT}")

    async def scenario() -> tuple[Client | None, Client, Client | None]:
        resolver = ContainerResolver(meeting.engine)
        with contextlib.closing(meeting.listener.accept()[0]) as connection:
            snapshot = identify(connection)
            before = resolver.resolve_now(snapshot)
            resolved = await resolver.resolve(snapshot)
        with contextlib.closing(meeting.listener.accept()[0]) as connection:
            after = resolver.resolve_now(identify(connection))
        await meeting.engine.close()
        return before, resolved, after

    before, resolved, after = asyncio.run(scenario())
    assert before is None
    assert isinstance(resolved, ContainerClient)
    assert isinstance(after, ContainerClient)
    assert after.container == resolved.container


def test_the_real_engine_answers_every_question_of_the_client(meeting):
    container_id = meeting.run(command=STAY)

    async def scenario() -> tuple[Any, ...]:
        engine = meeting.engine
        try:
            ping = await engine.ping()
            info = await engine.info()
            image = await engine.inspect_image(meeting.image)
            missing = await engine.inspect_image("no/such:image"), await engine.inspect_volume("no-such")
            removed = [await engine.remove_container(container_id, force=True) for _ in range(2)]
        finally:
            await engine.close()
        return ping.api_version, info["ServerVersion"], image, missing, removed

    version, server, image, missing, removed = asyncio.run(scenario())
    assert (version[:2], bool(server), missing, removed) == ("1.", True, (None, None), [True, False])
    assert image.layers


_LRU_HASH: Final = 9  # enum bpf_map_type

LEAVE: Final = "timeout -s KILL 0.2 curl -s --unix-socket /meet/d.sock http://d/"
"""Connect, and be dead before anybody accepts."""


class WrittenDown:
    """The map that the guard's programs fill, filled by the test: this machine's kernel runs none of them.

    tests/vm/guest/identity.py holds the programs to the same.
    """

    def __init__(self) -> None:
        create = libbpf.library().bpf_map_create
        create.argtypes = [ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint32] * 3, ctypes.c_void_p]
        self._map: int = create(_LRU_HASH, b"test_identity", 8, ctypes.sizeof(abi.RawActor), 64, None)
        assert self._map >= 0, "the kernel gives no BPF map"
        top = cgrouptree.mount_point()
        assert top is not None, "no cgroup v2 tree is mounted"
        self._top = top
        self.tracker = Tracker(look_up=cgrouptree.Handles(top).path_of)
        self.connectors = Connectors(self._map, self.tracker.path)

    def connected(self, accepted: socket.socket, v2_path: str) -> None:
        """Write down that the peer was in this cgroup when it connected."""
        pid, uid, gid = struct.unpack("iII", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        start_ns = (Procfs().start_ticks(pid) or 1) * process.TICK_NS
        cgroup_id = os.stat(f"{self._top}{v2_path}").st_ino
        raw = abi.RawActor(cgroup_id=cgroup_id, start_ns=start_ns, tgid=pid, pid=pid, uid=uid, gid=gid)
        key = ctypes.c_uint64(os.fstat(accepted.fileno()).st_ino)
        libbpf.library().bpf_map_update_elem(self._map, ctypes.byref(key), ctypes.byref(raw), 0)

    def close(self) -> None:
        os.close(self._map)


@pytest.fixture
def written() -> Iterator[WrittenDown]:
    made = WrittenDown()
    yield made
    made.close()


def v2_path(meeting: Meeting, container_id: str) -> str:
    """Return the cgroup of a container's init in the v2 tree."""
    pid = int(meeting.docker.right("inspect", "-f", "{{.State.Pid}}", container_id))
    path = hierarchies(Procfs().cgroup(pid) or "").get("", "")
    assert container_id in path, "this engine puts no container into the v2 tree"
    return path


@contextlib.contextmanager
def left(meeting: Meeting, script: str) -> Iterator[tuple[str, socket.socket]]:
    """Start a container whose client is dead by now, and yield its id and the accepted connection."""
    with socket.socket(socket.AF_UNIX) as told:
        told.bind(str(meeting.folder / "told.sock"))
        (meeting.folder / "told.sock").chmod(0o666)
        told.listen()
        told.settimeout(ACCEPT_SECONDS)
        container_id = meeting.run(command=f"{script}; {CONNECT.replace('d.sock', 'told.sock')}")
        with told.accept()[0], meeting.listener.accept()[0] as one:
            yield container_id, one


def test_a_client_by_what_was_written_down_is_in_its_container(meeting, written):
    container_id = meeting.run()
    connection, _ = meeting.listener.accept()
    with connection:
        written.connected(connection, v2_path(meeting, container_id))
        snapshot = identify(connection, connectors=written.connectors)
        client = meeting.resolve(snapshot)
        assert snapshot.cgroup_lines == identify(connection).cgroup_lines
    assert (placed(client), client.peer.source) == ((container_id, meeting.image), IdentitySource.KERNEL)


def test_a_client_that_is_dead_is_in_the_container_that_it_was_in(meeting, written):
    with left(meeting, LEAVE) as (container_id, one):
        assert identify(one).peer is None
        written.connected(one, v2_path(meeting, container_id))
        assert placed(meeting.resolve(identify(one, connectors=written.connectors))) == (container_id, meeting.image)


def test_a_client_that_went_with_its_container_is_refused_by_its_name(meeting, written):
    with left(meeting, LEAVE) as (container_id, one):
        path = v2_path(meeting, container_id)
        written.connected(one, path)
        written.tracker.path(os.stat(f"{cgrouptree.mount_point()}{path}").st_ino)  # as its cgroup_mkdir told
        meeting.docker.right("rm", "-f", container_id)
        client = meeting.resolve(identify(one, connectors=written.connectors))
    assert isinstance(client, UnknownClient)
    assert (client.rule, container_id[:12] in client.reason) == (Rule.UNKNOWN_CONTAINER, True)


def test_a_client_that_left_its_cgroups_after_it_connected_is_in_its_container(meeting, written):
    container_id = meeting.run(command=f"{CONNECT.removeprefix('exec ')}; {STAY}")  # not its init
    connection, _ = meeting.listener.accept()
    with connection:
        path = v2_path(meeting, container_id)
        written.connected(connection, path)
        pid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        ((cgrouptree.mount_point() or Path("/")) / "cgroup.procs").write_text(str(pid))
        snapshot = identify(connection, connectors=written.connectors)
        assert placed(meeting.resolve(snapshot))[0] == container_id
    assert (snapshot.cgroup_lines, f"0::{path}\n" in (Procfs().cgroup(pid) or "")) == (f"0::{path}\n", False)


def test_a_host_process_by_what_was_written_down_is_in_no_container(meeting, written):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(meeting.folder / "d.sock"))
        connection, _ = meeting.listener.accept()
        with connection:
            written.connected(connection, cgrouptree.own_path())
            assert isinstance(meeting.resolve(identify(connection, connectors=written.connectors)), HostClient)
