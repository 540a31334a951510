"""Cutting a connection of this process and of a child; foreign namespaces are cut in tests/integration."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sockwarden.kernel.connections import cutter
from sockwarden.kernel.connections.cutter import End
from sockwarden.kernel.life import process
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GONE = 2**22 - 1

HOLD = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"


def end_of(one: socket.socket, pid: int = 0, *, later: int = 0) -> End:
    pid = pid or os.getpid()
    start = process.start_ticks(pid)
    assert start is not None
    return End(pid, start + later, os.fstat(one.fileno()).st_ino)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the socket that was accepted for it."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "a.sock"))
        listener.listen()
        client.connect(str(tmp_path / "a.sock"))
        with listener.accept()[0] as server:
            yield client, server


def test_a_cut_ends_the_connection_for_both_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    assert cutter.cut([end_of(client)]) is Outcome.DONE
    assert (client.recv(1), server.recv(1)) == (b"", b"")
    with pytest.raises(BrokenPipeError):
        client.send(b"x")


def test_a_cut_takes_away_what_was_answered_already(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    server.send(b"secret")
    cutter.cut([end_of(client)])
    assert client.recv(6) == b""


def test_the_servers_end_cuts_as_well(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    assert cutter.cut([End(GONE, 1, 1), end_of(server)]) is Outcome.DONE
    assert client.recv(1) == b""


def test_a_cut_by_one_process_is_one_for_every_process_that_has_the_socket(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], pass_fds=[client.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        assert cutter.cut([end_of(client, child.pid)]) is Outcome.DONE
        assert (client.recv(1), server.recv(1)) == (b"", b"")
        child.communicate()


def test_the_later_owner_of_a_process_number_is_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    assert cutter.cut([end_of(client, later=1)]) is Outcome.GONE
    client.send(b"x")
    assert server.recv(1) == b"x"


def test_a_socket_that_the_process_does_not_have_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert cutter.cut([end_of(client, child.pid)]) is Outcome.GONE
        child.communicate()


def test_nothing_to_cut_is_gone() -> None:
    assert cutter.cut([]) is Outcome.GONE


def test_the_servers_end_names_who_connected(pair: tuple[socket.socket, socket.socket]) -> None:
    assert cutter.connector(end_of(pair[1])) == os.getpid()


def test_nobody_connected_to_a_socket_that_is_gone() -> None:
    assert cutter.connector(End(GONE, 1, 1)) == 0


def test_without_the_capability_a_cut_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    client, _ = pair
    end = end_of(client)
    code = (
        "from sockwarden.kernel.connections.cutter import End, cut;"
        f"print(cut([End({end.pid}, {end.start_ticks}, {end.inode})]).value)"
    )
    bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-sys_ptrace", sys.executable, "-c", code]
    assert subprocess.run(bare, check=True, capture_output=True, text=True).stdout == "refused\n"


def test_only_sockets_are_listed() -> None:
    with socket.socket() as one, open(os.devnull) as other:
        found = cutter.sockets_of(os.getpid())
        assert (found[os.fstat(one.fileno()).st_ino], other.fileno() in found.values()) == (one.fileno(), False)
