"""Who is at the other end: real containers of a real engine connect to a socket of ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.engine.client import EngineClient
from sockwarden.identity.container import ContainerResolver
from sockwarden.identity.peer import PeerSnapshot, identify
from sockwarden.identity.procfs import Procfs
from sockwarden.model import ContainerClient, HostClient, Rule, UnknownClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
