from __future__ import annotations

from pathlib import Path

import pytest

from sockwarden.kernel.life import cgrouptree


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", Path("/sys/fs/cgroup")),
        (
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            Path("/sys/fs/cgroup/unified"),
        ),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", None),
        ("", None),
    ],
)
def test_the_mount_point_is_that_of_the_v2_tree(tmp_path: Path, text: str, expected: Path | None) -> None:
    (tmp_path / "mounts").write_text(text)
    assert cgrouptree.mount_point(tmp_path / "mounts") == expected


def test_without_a_table_of_mounts_there_is_no_tree(tmp_path: Path) -> None:
    assert cgrouptree.mount_point(tmp_path / "none") is None


def test_a_walk_names_every_folder_with_its_inode(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cgroup.procs").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert set(cgrouptree.walk(tmp_path)) == {
        (tmp_path.stat().st_ino, "/"),
        ((tmp_path / "a").stat().st_ino, "/a"),
        ((tmp_path / "a" / "b").stat().st_ino, "/a/b"),
    }


def test_a_walk_of_a_folder_that_vanished_is_empty(tmp_path: Path) -> None:
    assert list(cgrouptree.walk(tmp_path / "none")) == []


def test_without_a_tree_our_own_id_is_zero() -> None:
    assert cgrouptree.own_id(None) == 0


@pytest.mark.parametrize("top", [None, Path("/nowhere")])
def test_without_a_tree_no_cgroup_is_found_by_its_number(top: Path | None) -> None:
    assert cgrouptree.Handles(top).path_of(1) == ""


def test_in_what_is_no_tree_of_cgroups_nothing_is_found_by_a_number(tmp_path: Path) -> None:
    assert cgrouptree.Handles(tmp_path).path_of(tmp_path.stat().st_ino) == ""
