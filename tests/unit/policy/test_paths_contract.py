"""The fake file system and the real one answer alike."""

from __future__ import annotations

import os
import socket

import pytest
from tests.unit.policy.fake_paths import FakePaths

from sockwarden.identity.paths import HostPaths
from sockwarden.policy.paths import Unresolvable


@pytest.fixture
def real(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run" / "s"))
    os.link(tmp_path / "run" / "s", tmp_path / "other" / "hard")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "relative").symlink_to("link/../run/s")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    return HostPaths(), str(tmp_path)


@pytest.fixture
def fake():
    links = {"link": "/top/run", "relative": "link/../run/s", "dangling": "nowhere", "loop": "loop"}
    return (
        FakePaths(
            ["/top/run/s", "/top/other/hard"],
            links={f"/top/{name}": target for name, target in links.items()},
            same={"/top/other/hard": "/top/run/s"},
        ),
        "/top",
    )


@pytest.fixture(params=["real", "fake"])
def paths(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/run/s", "/run/s"),
        ("/link/s", "/run/s"),
        ("/relative", "/run/s"),
        ("/link/../other", "/other"),
        ("/./run//", "/run"),
    ],
)
def test_symlinks_are_followed(paths, path, expected):
    asked, top = paths
    assert asked.resolve(top + path) == top + expected


@pytest.mark.parametrize("path", ["/missing", "/dangling", "/run/s/below"])
def test_what_does_not_exist_has_no_real_path_and_no_identity(paths, path):
    asked, top = paths
    assert asked.resolve(top + path) is None
    assert asked.identity(top + path) is None
    assert asked.device(top + path) is None


def test_a_hard_link_has_the_identity_of_the_socket(paths):
    asked, top = paths
    assert asked.identity(top + "/other/hard") == asked.identity(top + "/relative")
    assert asked.identity(top + "/other/hard") != asked.identity(top + "/run")


def test_a_loop_is_unresolvable_and_has_no_identity(paths):
    asked, top = paths
    assert asked.identity(top + "/loop") is None
    with pytest.raises(Unresolvable):
        asked.resolve(top + "/loop")


def test_a_relative_path_is_unresolvable(paths):
    asked, _ = paths
    with pytest.raises(Unresolvable):
        asked.resolve("run")


def test_the_root_of_the_first_process_is_the_hosts(paths):
    asked, top = paths
    assert asked.resolve("/proc/1/root" + top + "/link") == top + "/run"


def test_what_no_file_can_be_called_does_not_exist(real):
    asked, top = real
    assert asked.identity(top + "/\0") is None
    assert asked.resolve(top + "/\ud800") is None


def test_a_magic_link_outside_proc_is_unresolvable(real, tmp_path):
    asked, top = real
    (tmp_path / "proc").symlink_to("/proc/self/cwd")
    with pytest.raises(Unresolvable):
        asked.resolve(top + "/proc/x")


def test_a_link_whose_text_is_not_where_it_leads_is_unresolvable(real, monkeypatch):
    asked, top = real
    monkeypatch.setattr(os, "readlink", lambda _: "/of/another/length")
    with pytest.raises(Unresolvable, match="the kernel made"):
        asked.resolve(top + "/link")


def test_a_link_that_cannot_be_read_is_unresolvable(real, monkeypatch):
    asked, top = real

    def denied(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "readlink", denied)
    with pytest.raises(Unresolvable, match="Permission denied"):
        asked.resolve(top + "/link")


def test_links_that_the_kernel_makes_with_a_relative_text_are_followed():
    asked = HostPaths()
    assert asked.resolve("/proc/mounts") == "/proc/self/mounts"
    assert asked.resolve("/sys/class/net/lo") == "/sys/devices/virtual/net/lo"


def test_only_a_block_device_has_a_device_number(real, monkeypatch):
    asked, top = real
    assert asked.device("/dev/null") is None
    assert asked.device(top + "/run/s") is None
    block = os.stat_result((0o060660, 1, 6, 1, 0, 6, 0, 0, 0, 0), {"st_rdev": 2049})
    monkeypatch.setattr(os, "stat", lambda _: block)
    assert asked.device("/dev/sda1") == 2049
