"""The walk in a foreign root, on this process's own files; foreign roots are walked in tests/integration."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sockwarden.abi import Actor
from sockwarden.errors import KernelError
from sockwarden.kernel.connections.sockets import MAX_LINKS, SocketIdentity, Unresolved, identify, resolve
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from collections.abc import Iterator


def actor(*, start_offset: int = 0) -> Actor:
    start = process.start_ticks(os.getpid())
    assert start is not None
    start_ns = (start + start_offset) * process.TICK_NS
    return Actor(1, start_ns, 0, os.getpid(), os.getpid(), 0, 0, 1, 1, os.getpid(), 0, "pytest")


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        yield path


def test_a_socket_is_known_by_device_and_inode(bound: Path) -> None:
    assert identify(bound) == SocketIdentity.of(bound.stat())


def test_a_path_without_a_socket_is_named() -> None:
    with pytest.raises(KernelError, match="No such file or directory"):
        identify(Path("/nowhere/a.sock"))


def test_a_plain_file_is_not_guarded(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with pytest.raises(KernelError, match="it is not a socket"):
        identify(tmp_path / "plain")


def test_a_path_is_found_through_dots_doubled_slashes_and_links(bound: Path) -> None:
    (bound.parent / "sub").mkdir()
    (bound.parent / "link").symlink_to("sub/../a.sock")
    assert resolve(actor(), os.fsencode(f"{bound.parent}/sub/.././/link")) == identify(bound)


def test_a_path_above_the_root_stays_in_the_root(bound: Path) -> None:
    assert resolve(actor(), b"/../../.." + os.fsencode(bound)) == identify(bound)


def test_a_descriptor_in_proc_is_the_object_and_not_its_name(bound: Path) -> None:
    held = os.open(bound, os.O_PATH)
    identity = identify(bound)
    bound.unlink()
    try:
        assert resolve(actor(), f"/proc/{os.getpid()}/fd/{held}".encode()) == identity
    finally:
        os.close(held)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert resolve(actor(), os.fsencode(tmp_path / "loop")) == Unresolved(
        "the path cannot be walked: too many levels of links"
    )


def test_as_many_links_as_the_kernel_follows_are_followed(bound: Path) -> None:
    for number in range(MAX_LINKS):
        (bound.parent / f"{number}").symlink_to("a.sock" if number == 0 else f"{number - 1}")
    assert resolve(actor(), os.fsencode(bound.parent / f"{MAX_LINKS - 1}")) == identify(bound)


def test_a_path_to_nowhere_is_no_answer(tmp_path: Path) -> None:
    assert resolve(actor(), os.fsencode(tmp_path / "none")) == Unresolved("the path leads nowhere")


def test_a_process_that_is_gone_gives_no_answer() -> None:
    nobody = Actor(1, 1, 0, 2**22 + 1, 2**22 + 1, 0, 0, 1, 1, 1, 0, "gone")
    assert resolve(nobody, b"/run/a.sock") == Unresolved("the process is gone", gone=True)


def test_a_number_that_belongs_to_another_process_by_now_gives_no_answer(bound: Path) -> None:
    assert resolve(actor(start_offset=1), os.fsencode(bound)) == Unresolved("the process is gone", gone=True)
