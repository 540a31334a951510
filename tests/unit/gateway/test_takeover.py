"""The public path on a real file system: taken, lost, and given back."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from sockwarden.config import Takeover
from sockwarden.errors import TakeoverError
from sockwarden.gateway.takeover import SocketTakeover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Host:
    """A directory with an engine's socket in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.public = directory / "docker.sock"
        self.run = directory / "run"
        self.parked = self.run / "engine.sock"
        self.open: list[socket.socket] = []

    def listen(self, path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self.open.append(listener)
        return listener

    def leave_dead(self, path: Path) -> None:
        self.listen(path).close()

    def take(self, takeover: SocketTakeover) -> socket.socket:
        listener = takeover.take()
        self.open.append(listener)
        return listener

    def swap(self, second: Path | None = None) -> SocketTakeover:
        return SocketTakeover(
            str(self.public), str(self.public), str(self.run), Takeover.SWAP, str(second) if second else None
        )

    def beside(self) -> SocketTakeover:
        return SocketTakeover(str(self.directory / "gateway.sock"), str(self.public), str(self.run), Takeover.NONE)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for listener in made.open:
        listener.close()


def reaches(path: Path, listener: socket.socket) -> bool:
    """Whether a connection to ``path`` arrives at ``listener``."""
    listener.setblocking(False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return False
    return True


def drain(listener: socket.socket) -> None:
    """Accept what a probe left in the queue."""
    listener.setblocking(False)
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return


def test_a_swap_puts_the_gateway_before_the_engine_and_back(host: Host) -> None:
    engine = host.listen(host.public)
    takeover = host.swap()
    ours = host.take(takeover)
    drain(engine)
    assert reaches(host.public, ours)
    assert reaches(host.parked, engine)
    assert takeover.engine_path == str(host.parked)
    takeover.give_back()
    drain(engine)
    assert reaches(host.public, engine)
    assert not host.parked.exists()


def test_mode_and_owner_of_the_path_stay(host: Host) -> None:
    host.listen(host.public)
    host.public.chmod(0o660)
    if os.geteuid() == 0:
        os.chown(host.public, 0, 12345)
    before = host.public.stat()
    takeover = host.swap()
    host.take(takeover)
    after = host.public.stat()
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert before.st_ino != after.st_ino
    takeover.give_back()


def test_a_crash_after_the_exchange_is_taken_up(host: Host) -> None:
    engine = host.listen(host.public)
    crashed = host.swap()
    host.take(crashed).close()
    os.close(crashed._lock)
    takeover = host.swap()
    ours = host.take(takeover)
    drain(engine)
    assert reaches(host.public, ours)
    takeover.give_back()
    drain(engine)
    assert reaches(host.public, engine)


def test_a_crash_before_the_exchange_is_taken_up(host: Host) -> None:
    host.listen(host.public)
    host.run.mkdir(mode=0o700)
    host.leave_dead(host.parked)
    takeover = host.swap()
    assert reaches(host.public, host.take(takeover))
    takeover.give_back()


def test_an_engine_that_came_back_on_the_path_is_swapped_again(host: Host) -> None:
    host.listen(host.public).close()
    host.public.unlink()
    first = host.listen(host.public)
    takeover = host.swap()
    host.take(takeover)
    first.close()
    host.public.unlink()
    second = host.listen(host.public)
    assert not takeover.holds()
    ours = takeover.restore()
    assert ours is not None
    host.open.append(ours)
    drain(second)
    assert reaches(host.public, ours)
    assert takeover.restore() is None
    takeover.give_back()


@pytest.mark.parametrize("dead", [True, False])
def test_a_path_without_an_engine_is_not_taken(host: Host, dead: bool) -> None:
    if dead:
        host.leave_dead(host.public)
    with pytest.raises(TakeoverError, match="no engine listens"):
        host.swap().take()


def test_a_plain_file_is_not_taken(host: Host) -> None:
    host.public.write_text("precious")
    with pytest.raises(TakeoverError, match="is not a socket"):
        host.swap().take()
    assert host.public.read_text() == "precious"


def test_two_gateways_do_not_take_one_path(host: Host) -> None:
    host.listen(host.public)
    first = host.swap()
    host.take(first)
    with pytest.raises(TakeoverError, match=f"another sockwarden \\(pid {os.getpid()}\\)"):
        host.swap().take()
    assert first.holds()
    first.give_back()


def test_a_takeover_that_fails_can_be_tried_again(host: Host) -> None:
    with pytest.raises(TakeoverError):
        host.swap().take()
    host.listen(host.public)
    takeover = host.swap()
    host.take(takeover)
    takeover.give_back()


def test_a_lock_that_is_a_link_is_refused(host: Host) -> None:
    host.listen(host.public)
    host.run.mkdir(mode=0o700)
    (host.run / "lock").symlink_to(host.directory / "elsewhere")
    with pytest.raises(TakeoverError, match="lock"):
        host.swap().take()
    assert not (host.directory / "elsewhere").exists()


def test_a_run_directory_that_is_a_link_is_refused(host: Host) -> None:
    (host.directory / "other").mkdir()
    host.run.symlink_to(host.directory / "other")
    with pytest.raises(TakeoverError, match="not a directory of our own"):
        host.swap().take()


def test_a_second_path_leads_to_the_gateway_and_goes_with_it(host: Host) -> None:
    engine = host.listen(host.public)
    second = host.directory / "second.sock"
    takeover = host.swap(second)
    ours = host.take(takeover)
    assert reaches(second, ours)
    takeover.give_back()
    assert not second.exists()
    drain(engine)
    assert reaches(host.public, engine)


def test_a_second_path_follows_when_the_public_one_is_taken_again(host: Host) -> None:
    engine = host.listen(host.public)
    second = host.directory / "second.sock"
    takeover = host.swap(second)
    host.take(takeover)  # it goes on listening until the new one is served
    engine.close()
    host.public.unlink()
    host.listen(host.public)
    ours = takeover.restore()
    assert ours is not None
    host.open.append(ours)
    assert reaches(second, ours)
    takeover.give_back()


def test_a_second_path_that_cannot_be_made_undoes_the_swap(host: Host) -> None:
    engine = host.listen(host.public)
    takeover = host.swap(host.directory / "missing" / "second.sock")
    with pytest.raises(TakeoverError, match="cannot be made"):
        takeover.take()
    drain(engine)
    assert reaches(host.public, engine)
    assert not host.parked.exists()


def test_a_link_to_the_public_path_stays_a_link(host: Host) -> None:
    real = host.directory / "real.sock"
    engine = host.listen(real)
    host.public.symlink_to(real)
    takeover = host.swap()
    ours = host.take(takeover)
    assert host.public.is_symlink()
    drain(engine)
    assert reaches(host.public, ours)
    takeover.give_back()
    drain(engine)
    assert reaches(host.public, engine)


def test_a_path_of_its_own_is_made_and_removed(host: Host) -> None:
    host.listen(host.public)
    takeover = host.beside()
    path = host.directory / "gateway.sock"
    assert reaches(path, host.take(takeover))
    assert takeover.engine_path == str(host.public)
    takeover.give_back()
    assert not path.exists()
    assert host.public.exists()


def test_a_path_of_its_own_that_is_served_already_is_not_taken(host: Host) -> None:
    other = host.listen(host.directory / "gateway.sock")
    with pytest.raises(TakeoverError, match="somebody listens"):
        host.beside().take()
    drain(other)
    assert reaches(host.directory / "gateway.sock", other)


def test_a_dead_socket_at_its_own_path_is_replaced(host: Host) -> None:
    path = host.directory / "gateway.sock"
    host.leave_dead(path)
    takeover = host.beside()
    assert reaches(path, host.take(takeover))
    takeover.give_back()


def test_a_socket_of_systemd_stays_when_the_gateway_goes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path = host.directory / "gateway.sock"
    lent = host.listen(path)
    monkeypatch.setattr("sockwarden.gateway.takeover._LISTEN_FDS_START", os.dup(lent.fileno()))
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    takeover = host.beside()
    ours = host.take(takeover)
    assert ours.getsockname() == str(path)
    assert takeover.holds()
    takeover.give_back()
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_a_path_that_somebody_else_took_is_left_alone(host: Host) -> None:
    host.listen(host.public)
    takeover = host.swap()
    host.take(takeover)
    host.public.unlink()
    other = host.listen(host.public)
    takeover.give_back()
    assert reaches(host.public, other)
