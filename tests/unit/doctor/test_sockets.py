"""Sockets with an engine's power, under guard and not, on this machine and below a folder."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from sockwarden.doctor.facts import SocketFact, Told
from sockwarden.doctor.sockets import bound_paths, find, held_by_containers
from sockwarden.kernel.connections.sockets import identify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def listening() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def listen(stack: contextlib.ExitStack, path: Path) -> SocketFact:
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()
    identity = identify(path)
    return SocketFact(str(path), "engine", identity.device, identity.inode, guarded=True)


def below(found: tuple[SocketFact, ...], folder: Path) -> dict[str, SocketFact]:
    """What a test has made; the machine may have engines of its own."""
    return {fact.path.removeprefix(f"{folder}/"): fact for fact in found if fact.path.startswith(f"{folder}/")}


def test_sockets_at_their_usual_places_are_found(tmp_path: Path, listening: contextlib.ExitStack) -> None:
    listen(listening, tmp_path / "run/containerd/containerd.sock")
    listen(listening, tmp_path / "run/user/1000/podman/podman.sock")
    (tmp_path / "run/crio").mkdir()
    (tmp_path / "run/crio/crio.sock").touch()  # no socket
    found = below(find((), str(tmp_path / "none"), tmp_path), tmp_path)
    assert set(found) == {"run/containerd/containerd.sock", "run/user/1000/podman/podman.sock"}
    assert not any(fact.guarded for fact in found.values())


def test_a_socket_that_the_agent_guards_is_told_once(tmp_path: Path, listening: contextlib.ExitStack) -> None:
    own = listen(listening, tmp_path / "run/containerd/containerd.sock")
    assert below(find((own,), own.path, tmp_path), tmp_path) == {"run/containerd/containerd.sock": own}


def test_a_socket_that_was_made_anew_is_no_longer_the_guarded_one(
    tmp_path: Path, listening: contextlib.ExitStack
) -> None:
    own = listen(listening, tmp_path / "run/containerd/containerd.sock")
    before = replace(own, inode=own.inode + 1)
    found = find((before,), str(tmp_path / "none"), tmp_path)
    assert [fact.guarded for fact in found if fact.path == own.path] == [True, False]


def test_the_configured_socket_is_looked_at_wherever_it_is(tmp_path: Path, listening: contextlib.ExitStack) -> None:
    fact = listen(listening, tmp_path / "odd.sock")
    assert set(below(find((), fact.path, tmp_path / "root"), tmp_path)) == {"odd.sock"}


def test_the_paths_that_a_process_listens_at_are_known(tmp_path: Path, listening: contextlib.ExitStack) -> None:
    fact = listen(listening, tmp_path / "own.sock")
    assert fact.path in bound_paths(psutil.Process())


def test_a_connection_of_a_host_process_is_no_containers(tmp_path: Path, listening: contextlib.ExitStack) -> None:
    fact = listen(listening, tmp_path / "docker.sock")
    client = listening.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(fact.path)
    assert held_by_containers([fact]) == Told(())
