"""Which sockets are under guard: as they appear, move and vanish, and in which class."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from sockwarden.abi import SocketClass
from sockwarden.errors import KernelError
from sockwarden.kernel.connections.holders import Scan
from sockwarden.kernel.connections.sockets import identify
from sockwarden.service import hostonly, wards
from sockwarden.service.wards import Wards

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from pathlib import Path

    from sockwarden.kernel.connections.dealing import GuardedSocket

ENGINE, PUBLIC, HOST_ONLY = SocketClass.ENGINE, SocketClass.PUBLIC, SocketClass.HOST_ONLY

DEADLINE = 20.0


class Host:
    """A folder with sockets in it, and the wards of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listeners: dict[str, socket.socket] = {}
        self.published: list[dict[str, SocketClass]] = []
        self.refusal: KernelError | None = None
        self.changed = asyncio.Event()
        self.globs: tuple[str, ...] = (str(folder / "only" / "*.sock"),)
        self.engine, self.public = folder / "engine.sock", folder / "docker.sock"
        self.holds = True

    def bind(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        self.listeners[name] = socket.socket(socket.AF_UNIX)
        self.listeners[name].bind(str(path))
        self.listeners[name].listen()
        return path

    def wards(self) -> Wards:
        return Wards(self.globs, lambda: (str(self.engine), str(self.public)), self._publish, lambda: self.holds)

    def now(self) -> dict[str, SocketClass]:
        return self.published[-1]

    async def until(self, *names: str) -> None:
        """Wait until exactly these are under guard."""
        async with asyncio.timeout(DEADLINE):
            while not self.published or set(self.now()) != set(names):
                self.changed.clear()
                await self.changed.wait()

    def _publish(self, objects: Iterable[GuardedSocket]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.published.append({os.path.relpath(one.path, self.folder): one.socket_class for one in objects})
        self.changed.set()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for listener in made.listeners.values():
        listener.close()


def run(host: Host, story: Callable[[Wards], Coroutine[None, None, None]]) -> Wards:
    made = host.wards()

    async def play() -> None:
        made.begin()
        try:
            await story(made)
        finally:
            made.close()
            made.close()

    asyncio.run(play())
    return made


async def nothing(_wards: Wards) -> None:
    """Only begin and end."""


def test_each_class_is_told_at_the_start(host: Host) -> None:
    for name in ("engine.sock", "docker.sock", "only/a.sock"):
        host.bind(name)
    run(host, nothing)
    assert host.published == [{"engine.sock": ENGINE, "only/a.sock": HOST_ONLY, "docker.sock": PUBLIC}]


def test_a_socket_that_appears_is_guarded_though_its_folder_did_not_exist(host: Host) -> None:
    host.bind("engine.sock")

    async def story(_wards: Wards) -> None:
        host.bind("only/a.sock")
        await host.until("engine.sock", "only/a.sock")

    run(host, story)


def test_what_is_not_there_yet_waits_by_name(host: Host) -> None:
    host.bind("docker.sock")
    assert run(host, nothing).waiting == (str(host.engine), host.globs[0])


def test_a_socket_that_is_made_anew_is_guarded_beside_the_old_object(host: Host) -> None:
    path = host.bind("engine.sock")
    old = identify(path)

    async def story(made: Wards) -> None:
        path.unlink()
        kept = host.listeners["engine.sock"]
        host.bind("engine.sock")
        async with asyncio.timeout(DEADLINE):
            while len(made._told) != 2:
                host.changed.clear()
                await host.changed.wait()
        assert set(made._told) == {old, identify(path)}
        made.swept(Scan())
        assert old in made._told
        made.swept(Scan(silent=frozenset({old})))
        assert set(made._told) == {identify(path)}
        kept.close()

    run(host, story)


def test_only_so_many_objects_without_a_path_are_kept(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wards, "MAX_FORMER", 1)
    host.bind("only/a.sock")
    host.bind("only/b.sock")

    async def story(made: Wards) -> None:
        (host.folder / "only" / "a.sock").unlink()
        (host.folder / "only" / "b.sock").unlink()
        made.look()

    run(host, story)
    assert len(host.now()) == 1


def test_the_gateways_own_former_socket_is_let_go(host: Host) -> None:
    path = host.bind("docker.sock")

    async def story(made: Wards) -> None:
        path.unlink()
        made.look()

    run(host, story)
    assert host.now() == {}


def test_one_object_in_two_classes_is_guarded_as_the_stricter_and_told(host: Host) -> None:
    host.bind("docker.sock")
    host.globs = (str(host.public),)
    made = run(host, nothing)
    assert (host.now(), made.problems()) == (
        {"docker.sock": HOST_ONLY},
        [f"guard.host_only names the gateway's own socket {host.public}: no container can use it"],
    )


def test_the_engines_socket_stays_the_engines_though_a_glob_names_it(host: Host) -> None:
    host.bind("engine.sock")
    host.globs = (str(host.engine),)
    assert (run(host, nothing).problems(), host.now()) == ([], {"engine.sock": ENGINE})


def test_a_known_glob_leaves_the_gateways_own_socket_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.bind("docker.sock")
    monkeypatch.setattr(hostonly, "KNOWN", ((str(host.public), "for this test"),))
    host.globs = ("default",)
    assert (run(host, nothing).problems(), host.now()) == ([], {"docker.sock": PUBLIC})


def test_nothing_is_told_twice(host: Host) -> None:
    host.bind("engine.sock")

    async def story(made: Wards) -> None:
        made.look()

    run(host, story)
    assert len(host.published) == 1


def test_what_the_kernel_does_not_take_is_a_problem_until_it_does(host: Host) -> None:
    host.bind("engine.sock")
    host.refusal = KernelError("the map is full")

    async def story(made: Wards) -> None:
        assert made.problems() == ["the kernel guard does not know the sockets of now: the map is full"]
        host.refusal = None
        made.look()

    assert (run(host, story).problems(), host.now()) == ([], {"engine.sock": ENGINE})


def test_more_than_can_be_guarded_is_a_problem(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostonly, "MAX_SOCKETS", 0)
    host.bind("only/a.sock")
    assert run(host, nothing).problems() == [
        "guard.host_only names 1 sockets or folders more than can be guarded",
    ]


def test_without_inotify_the_paths_are_looked_at_by_and_by(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_changed: object) -> None:
        raise KernelError("no instance")

    monkeypatch.setattr(wards, "FolderWatch", refuse)
    monkeypatch.setattr(wards, "LOOK_SECONDS", 0.01)

    async def story(_wards: Wards) -> None:
        host.bind("engine.sock")
        await host.until("engine.sock")

    run(host, story)


def test_what_a_restarting_engine_puts_at_the_gateways_path_is_an_engines(host: Host) -> None:
    host.bind("docker.sock")
    host.holds = False
    run(host, nothing)
    assert host.now() == {"docker.sock": ENGINE}
