"""Who holds a connection: this process, a child, and whoever hides it from /proc."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sockwarden.kernel.connections import cutter, holders
from sockwarden.kernel.connections.sockets import SocketIdentity, identify
from sockwarden.kernel.life import process
from sockwarden.kernel.life.process import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def inode(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        yield made


@pytest.fixture
def client(listener: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(listener.getsockname())
        yield made


@pytest.fixture
def server(listener: socket.socket, client: socket.socket) -> Iterator[socket.socket]:
    with listener.accept()[0] as made:
        assert made.getpeername() == client.getsockname()
        yield made


def test_a_holder_is_named_with_both_ends(client: socket.socket, server: socket.socket, path: Path) -> None:
    (holder,) = holders.scan([identify(path)]).holders
    start = process.start_ticks(os.getpid())
    assert start is not None
    assert (holder.inode, holder.hidden, holder.ends) == (
        inode(client),
        False,
        (cutter.End(os.getpid(), start, inode(client)), cutter.End(os.getpid(), start, inode(server))),
    )


def test_a_waiting_connection_has_no_servers_end(client: socket.socket, path: Path) -> None:
    (holder,) = holders.scan([identify(path)]).holders
    assert (holder.inode, holder.server) == (inode(client), None)


def test_a_socket_that_nobody_listens_on_is_silent(listener: socket.socket, path: Path) -> None:
    identity, nowhere = identify(path), SocketIdentity(1, 1)
    before = holders.scan([identity, nowhere]).silent
    listener.close()
    assert [set(before), set(holders.scan([identity]).silent)] == [{nowhere}, {identity}]


def test_the_other_end_of_an_accepted_socket_is_named(server: socket.socket) -> None:
    (passed,) = holders.scan([], [inode(server)]).passed
    assert (passed.pid, passed.start_ticks, passed.accepted) == (
        os.getpid(),
        process.start_ticks(os.getpid()),
        inode(server),
    )


def test_a_look_at_one_process_finds_its_connections_only(client: socket.socket, path: Path) -> None:
    own = holders.look_at(os.getpid(), [identify(path)])
    assert ([holder.inode for holder in own], holders.look_at(1, [identify(path)])) == ([inode(client)], ())


@pytest.mark.usefixtures("client")
def test_a_look_at_a_process_that_is_gone_finds_nothing(path: Path) -> None:
    assert holders.look_at(2**22 - 1, [identify(path)]) == ()


THREAD = """
import ctypes, socket, sys, threading
def hold():
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES: descriptors of its own
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    sys.stdout.write(".")
    sys.stdout.flush()
    one.recv(1)
    sys.stdout.write("cut")
thread = threading.Thread(target=hold)
thread.start()
thread.join()
"""


def test_a_thread_with_descriptors_of_its_own_is_named_by_the_servers_end_and_cut(
    listener: socket.socket, path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", THREAD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        with listener.accept()[0]:
            (holder,) = holders.scan([identify(path)]).holders
            assert (holder.pid, holder.hidden, cutter.cut(holder.ends)) == (child.pid, True, Outcome.DONE)
            assert child.stdout.read() == b"cut"


def test_a_connection_in_a_message_that_nobody_has_received_is_found(listener: socket.socket, path: Path) -> None:
    here, there = socket.socketpair()
    with here, there:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [client.fileno()]))])
        with listener.accept()[0]:
            (holder,) = holders.scan([identify(path)]).holders
            assert (holder.pid, holder.hidden) == (os.getpid(), True)


@pytest.mark.usefixtures("server")
def test_a_closed_connection_has_no_hidden_holder(client: socket.socket, path: Path) -> None:
    client.close()
    assert holders.scan([identify(path)]).holders == ()
