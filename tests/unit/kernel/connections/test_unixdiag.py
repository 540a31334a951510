"""What the kernel says of this process's own sockets; other namespaces are visited in tests/integration."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sockwarden.abi import kernel_device
from sockwarden.kernel.connections import unixdiag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def inode(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "a.sock"))
        made.listen(4096)
        yield made


@pytest.fixture
def client(listener: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(listener.getsockname())
        yield made


def test_a_listener_is_told_with_the_file_that_it_is_bound_to(listener: socket.socket) -> None:
    status = os.stat(listener.getsockname())
    told = next(one for one in unixdiag.dump() if one.inode == inode(listener))
    device = kernel_device(os.major(status.st_dev), os.minor(status.st_dev))
    assert (told.listens, told.file_inode, told.device, told.peer) == (True, status.st_ino & 0xFFFFFFFF, device, 0)


def test_an_accepted_socket_has_the_listeners_file_and_names_its_client(
    listener: socket.socket, client: socket.socket
) -> None:
    with listener.accept()[0] as server:
        told = next(one for one in unixdiag.dump() if one.inode == inode(server))
        assert (told.listens, told.file_inode, told.peer) == (
            False,
            os.stat(listener.getsockname()).st_ino & 0xFFFFFFFF,
            inode(client),
        )


def test_a_client_that_nobody_has_accepted_stands_in_the_queue(listener: socket.socket, client: socket.socket) -> None:
    assert unixdiag.waiting(inode(listener)) == (inode(client),)


def test_a_listener_that_is_gone_has_an_empty_queue() -> None:
    assert unixdiag.waiting(1) == ()


def test_a_long_queue_hides_no_other_socket(listener: socket.socket, client: socket.socket) -> None:
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(900)]
    try:
        for one in crowd:
            one.connect(listener.getsockname())
        seen = {one.inode for one in unixdiag.dump()}
        assert {inode(client), inode(listener), *map(inode, crowd)} <= seen
    finally:
        for one in crowd:
            one.close()


def test_each_namespace_is_looked_at_once_and_what_is_gone_is_left_out() -> None:
    looks: list[int] = []
    hold = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        pids = (os.getpid(), os.getppid(), child.pid, 2**22 - 1)
        unixdiag.visit(pids, lambda: looks.append(os.stat("/proc/thread-self/ns/net").st_ino))
        expected = {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in (os.getpid(), child.pid)}
        child.communicate()
    assert (len(looks), set(looks)) == (2, expected)


def test_a_refusal_of_the_kernel_in_ones_own_namespace_is_raised() -> None:
    def look() -> None:
        raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        unixdiag.visit((os.getpid(),), look)
