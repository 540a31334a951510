"""From globs to sockets on a tree of their own: what is found, what waits, and whose links are followed."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from sockwarden.documents.glob import parse_glob
from sockwarden.kernel.connections.sockets import identify
from sockwarden.service import hostonly
from sockwarden.service.hostonly import KNOWN, expanded, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    with contextlib.ExitStack() as stack:

        def bind(name: str) -> Path:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
            return path

        yield bind


def found(*globs: object) -> list[str]:
    return [str(match.path) for match in find(tuple((str(glob), False) for glob in globs)).matches.values()]


def test_the_word_default_stands_for_the_known_globs_and_written_ones_come_first() -> None:
    globs = expanded(("default", "/run/x.sock"))
    assert (globs[0], len(globs)) == (("/run/x.sock", False), len(KNOWN) + 1)


def test_a_list_without_the_word_has_only_what_it_names() -> None:
    assert expanded(("/run/x.sock",)) == (("/run/x.sock", False),)


@pytest.mark.parametrize(("glob", "reason"), KNOWN)
def test_a_known_glob_is_valid_and_has_its_reason(glob: str, reason: str) -> None:
    assert (parse_glob(glob), bool(reason), glob.startswith("/var/run")) == (glob, True, False)


def test_a_plain_path_and_a_glob_find_their_sockets(bound: Callable[[str], Path], tmp_path: Path) -> None:
    one, two = bound("user/1000/docker.sock"), bound("user/1001/docker.sock")
    assert found(one) == [str(one)]
    assert found(tmp_path / "user" / "*" / "docker.sock") == [str(one), str(two)]


def test_one_object_under_two_globs_is_one_socket(bound: Callable[[str], Path], tmp_path: Path) -> None:
    one = bound("a.sock")
    os.link(one, tmp_path / "b.sock")
    assert found(tmp_path / "*.sock") == [str(one)]


def test_what_is_no_socket_is_not_guarded_and_waits(tmp_path: Path) -> None:
    (tmp_path / "plain.sock").touch()
    (tmp_path / "folder.sock").mkdir()
    glob = str(tmp_path / "*.sock")
    finding = find(((glob, False),))
    assert (finding.matches, finding.waiting) == ({}, [glob])


def test_a_path_whose_folder_is_missing_waits_and_its_nearest_folder_is_watched(tmp_path: Path) -> None:
    glob = str(tmp_path / "none" / "deep" / "a.sock")
    finding = find(((glob, False),))
    assert (finding.waiting, finding.folders[str(tmp_path)]) == ([glob], {"none"})


def test_only_names_on_the_way_matter(tmp_path: Path) -> None:
    finding = find(((str(tmp_path / "user" / "*" / "docker.sock"), False),))
    folder = str(tmp_path)
    assert [finding.matters(folder, name) for name in ("user", "other")] == [True, False]
    assert not finding.matters("/elsewhere", "user")


def test_a_link_that_root_made_is_followed(bound: Callable[[str], Path], tmp_path: Path) -> None:
    one = bound("real/a.sock")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "b.sock").symlink_to(one)
    assert found(tmp_path / "link" / "a.sock", tmp_path / "b.sock") == [str(tmp_path / "link" / "a.sock")]


@pytest.mark.parametrize("name", ["user/1000/docker.sock", "user/1000"])
def test_a_link_that_a_user_made_is_not_followed(bound: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    bound("gateway/docker.sock")
    link = tmp_path / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / ("gateway/docker.sock" if name.endswith("sock") else "gateway"))
    os.lchown(link, 1000, 1000)
    assert found(tmp_path / "user" / "*" / "docker.sock") == []


def test_sockets_over_the_limit_are_counted_and_left_out(
    bound: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostonly, "MAX_SOCKETS", 1)
    first = bound("a.sock")
    bound("b.sock")
    finding = find(((str(tmp_path / "*.sock"), False),))
    assert (list(finding.matches), finding.left_out) == ([identify(first)], 1)


def test_folders_over_the_limit_are_counted_and_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostonly, "MAX_FOLDERS", 1)
    finding = find(((str(tmp_path / "a.sock"), False),))
    assert (list(finding.folders), finding.left_out > 0) == (["/"], True)


def test_a_glob_in_a_folder_that_cannot_be_read_waits() -> None:
    assert found("/proc/1/nowhere/*/a.sock") == []
