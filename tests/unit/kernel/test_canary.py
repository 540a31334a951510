"""What the end of the canary's helper means, and what it leaves behind."""

from __future__ import annotations

import errno
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel import canary
from sockwarden.kernel.canary import Expected, Flight
from sockwarden.kernel.life import cgrouptree

if TYPE_CHECKING:
    from pathlib import Path

ENDS = {"connected": 0, "refused": errno.EPERM, "killed": -signal.SIGKILL, "no listener": errno.ECONNREFUSED}


@pytest.mark.parametrize(
    ("expected", "end"),
    [(Expected.BLOCKED, "refused"), (Expected.KILLED, "killed"), (Expected.SEEN, "connected")],
    ids=str,
)
def test_each_rung_holds_the_canary_by_one_end_only(expected: Expected, end: str) -> None:
    assert {name for name, status in ENDS.items() if Flight(1, status).held(expected, met=True)} == {end}


@pytest.mark.parametrize("expected", Expected)
def test_an_end_that_the_rung_knows_nothing_of_proves_nothing(expected: Expected) -> None:
    assert not any(Flight(1, status).held(expected, met=False) for status in ENDS.values())


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "canary.sock"
    canary.listen(path).close()
    with canary.listen(path), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))


def test_only_root_may_connect(tmp_path: Path) -> None:
    with canary.listen(tmp_path / "canary.sock"):
        assert (tmp_path / "canary.sock").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_there_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"none/canary\.sock cannot be made") as caught:
        canary.listen(tmp_path / "none" / "canary.sock")
    assert "run_dir" in caught.value.remedy


def test_draining_leaves_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "canary.sock"
    with canary.listen(path) as listener, socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
        canary.drain(listener)
        assert one.recv(1) == b""


@pytest.fixture
def no_unshare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of programs that stands for the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_without_the_program_the_canary_says_what_to_install(no_unshare: Path) -> None:
    with pytest.raises(KernelError) as caught:
        canary.fly(no_unshare / "x.sock")
    assert caught.value.remedy == "install util-linux"


@pytest.mark.parametrize("status", [1, 2, 63])
def test_a_helper_that_failed_before_it_could_connect_was_not_refused(no_unshare: Path, status: int) -> None:
    program = no_unshare / "unshare"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    with pytest.raises(KernelError, match=f"status {status} before it could connect"):
        canary.fly(no_unshare / "x.sock")


@pytest.mark.bpf
def test_the_helper_connects_from_another_mount_namespace_and_leaves_no_cgroup(tmp_path: Path) -> None:
    path = tmp_path / "canary.sock"
    with canary.listen(path):
        assert canary.fly(path).status == 0
    top = cgrouptree.mount_point()
    assert top is None or not (top / (cgrouptree.own_path() or "/").lstrip("/") / canary.CGROUP_NAME).exists()


@pytest.mark.bpf
def test_the_errno_of_connect_is_told(tmp_path: Path) -> None:
    assert canary.fly(tmp_path / "none").status == errno.ENOENT


@pytest.mark.bpf
def test_the_helper_is_in_a_cgroup_of_its_own(tmp_path: Path) -> None:
    if cgrouptree.mount_point() is None:
        pytest.skip("no cgroup v2 tree is mounted")
    path = tmp_path / "canary.sock"
    with canary.listen(path) as listener:
        listener.settimeout(canary.HELPER_SECONDS)
        helper = canary.Helper(path)
        try:
            accepted, _ = listener.accept()
            accepted.close()
            assert helper.land(canary.HELPER_SECONDS).pid == helper.pid
        finally:
            helper.close()


@pytest.mark.bpf
def test_a_helper_that_does_not_end_is_ended(tmp_path: Path) -> None:
    helper = canary.Helper(tmp_path / "none")
    helper.close()
    helper.close()
    assert helper.fileno() == -1
