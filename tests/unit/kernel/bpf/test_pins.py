from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import bpffs, pins

if TYPE_CHECKING:
    from pathlib import Path

NAME = "2-fmod_ret-0123456789ab"


@pytest.fixture
def pin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for bpffs as long as nothing is pinned."""
    monkeypatch.setattr(bpffs, "holds", lambda _path: True)
    path = tmp_path / "pins"
    path.mkdir(mode=0o700)
    return path


def make_set(pin_dir: Path, name: str = NAME, links: tuple[str, ...] = ("guard",)) -> Path:
    for kind, names in (("maps", ("sw_config",)), ("links", links)):
        (pin_dir / name / kind).mkdir(parents=True)
        for one in names:
            (pin_dir / name / kind / one).touch()
    return pin_dir / name


def test_a_set_is_told_by_its_name_and_what_is_in_it(pin_dir: Path) -> None:
    folder = make_set(pin_dir, links=("b", "a"))
    found = pins.PinnedSet(folder, 2, "fmod_ret", "0123456789ab", aside=False, links=("a", "b"), maps=("sw_config",))
    assert pins.survey(str(pin_dir)) == (found,)


def test_a_set_that_was_put_aside_says_so(pin_dir: Path) -> None:
    make_set(pin_dir, f"{NAME}-old3")
    assert [one.aside for one in pins.survey(str(pin_dir))] == [True]


@pytest.mark.parametrize(
    "name", ["other", "2-fmod_ret", "2-fmod_ret-0123456789AB", "x-lsm-0123456789ab", f"{NAME}-old"]
)
def test_other_names_are_no_sets(pin_dir: Path, name: str) -> None:
    (pin_dir / name).mkdir()
    assert pins.survey(str(pin_dir)) == ()


def test_a_set_with_nothing_in_it_is_told_as_empty(pin_dir: Path) -> None:
    (pin_dir / NAME).mkdir()
    assert [(one.links, one.maps) for one in pins.survey(str(pin_dir))] == [((), ())]


@pytest.mark.parametrize(("version", "readable"), [(abi.ABI_VERSION, True), (abi.ABI_VERSION + 1, False)])
def test_only_the_maps_of_this_versions_abi_can_be_read(pin_dir: Path, version: int, readable: bool) -> None:
    make_set(pin_dir, f"{version}-lsm-0123456789ab")
    assert [one.readable for one in pins.survey(str(pin_dir))] == [readable]


def test_where_there_is_no_folder_nothing_is_pinned(tmp_path: Path) -> None:
    assert pins.survey(str(tmp_path / "none")) == ()


def test_a_name_says_abi_rung_and_the_beginning_of_the_objects_hash(tmp_path: Path) -> None:
    (tmp_path / "o").write_bytes(b"abc")  # FIPS 180-2, B.1
    assert pins.name_of("lsm", tmp_path / "o") == f"{abi.ABI_VERSION}-lsm-ba7816bf8f01"


def test_an_object_that_is_not_there_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cannot be read") as caught:
        pins.name_of("lsm", tmp_path / "none")
    assert caught.value.remedy == "install the whole package"


def test_a_pin_dir_outside_of_bpffs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="is not on bpffs") as caught:
        pins.PinFolder(tmp_path)
    assert "guard.pin_dir" in caught.value.remedy


def test_a_pin_dir_is_made_for_its_owner_only(pin_dir: Path) -> None:
    with pins.PinFolder(pin_dir / "a" / "b") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_pin_dir_that_others_may_write_is_refused(pin_dir: Path) -> None:
    pin_dir.chmod(0o770)
    with pytest.raises(KernelError, match="may be written by others"):
        pins.PinFolder(pin_dir)


def test_a_pin_dir_that_is_a_symbolic_link_is_refused(pin_dir: Path) -> None:
    (pin_dir / "link").symlink_to(pin_dir)
    with pytest.raises(KernelError, match="cannot be used for pins"):
        pins.PinFolder(pin_dir / "link")


def test_a_second_agent_is_refused(pin_dir: Path) -> None:
    with pins.PinFolder(pin_dir), pytest.raises(KernelError, match="another sockwarden") as caught:
        pins.PinFolder(pin_dir)
    assert caught.value.remedy.startswith("stop it first")


def test_the_lock_ends_with_its_holder(pin_dir: Path) -> None:
    pins.PinFolder(pin_dir).close()
    with pins.PinFolder(pin_dir) as folder:
        assert folder.sets() == ()


def test_a_set_that_is_put_aside_keeps_everything_and_gives_its_name_free(pin_dir: Path) -> None:
    make_set(pin_dir)
    make_set(pin_dir, f"{NAME}-old0")
    with pins.PinFolder(pin_dir) as folder:
        aside = folder.put_aside(folder.sets()[0])
    assert (aside.name, aside.links, (pin_dir / NAME).exists()) == (f"{NAME}-old1", ("guard",), False)


def test_unloading_removes_sets_and_nothing_else(pin_dir: Path) -> None:
    make_set(pin_dir)
    make_set(pin_dir, f"{NAME}-old0", links=())
    (pin_dir / "somebody").mkdir()
    assert [one.name for one in pins.unload(str(pin_dir))] == [NAME, f"{NAME}-old0"]
    assert os.listdir(pin_dir) == ["somebody"]


def test_unloading_leaves_no_empty_folder(pin_dir: Path) -> None:
    make_set(pin_dir)
    pins.unload(str(pin_dir))
    assert not pin_dir.exists()


def test_unloading_nothing_is_no_error(tmp_path: Path) -> None:
    assert pins.unload(str(tmp_path / "none")) == ()


def test_a_folder_outside_of_bpffs_is_never_unloaded(tmp_path: Path) -> None:
    make_set(tmp_path)
    assert pins.unload(str(tmp_path)) == ()
    assert (tmp_path / NAME).exists()


def test_pins_are_not_unloaded_below_an_agent(pin_dir: Path) -> None:
    make_set(pin_dir)
    with pins.PinFolder(pin_dir), pytest.raises(KernelError, match="another sockwarden"):
        pins.unload(str(pin_dir))
    assert (pin_dir / NAME).exists()


def test_pins_are_unloaded_below_an_agent_by_force(pin_dir: Path) -> None:
    make_set(pin_dir)
    with pins.PinFolder(pin_dir):
        assert [one.name for one in pins.unload(str(pin_dir), force=True)] == [NAME]


def test_a_set_with_what_is_no_pin_is_not_removed_and_said(pin_dir: Path) -> None:
    (make_set(pin_dir) / "maps" / "folder").mkdir()
    with pytest.raises(KernelError, match="cannot be removed"):
        pins.unload(str(pin_dir))


def test_a_name_that_is_taken_is_not_pinned_over(pin_dir: Path) -> None:
    make_set(pin_dir)
    with pins.PinFolder(pin_dir) as folder, pytest.raises(KernelError, match="cannot be made: File exists"):
        folder.pin(NAME, {}, {})
    assert (pin_dir / NAME / "links" / "guard").exists()
