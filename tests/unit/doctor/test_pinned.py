"""What is pinned, as its folders show it; what the maps say is asked in machines (tests/vm/guest/trial.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockwarden import abi
from sockwarden.doctor.facts import Keeper, PinFact, Told
from sockwarden.doctor.pinned import find

if TYPE_CHECKING:
    from pathlib import Path


def test_pinned_sets_are_read_from_their_folders(tmp_path: Path) -> None:
    for version, name in ((abi.ABI_VERSION, "new"), (abi.ABI_VERSION + 1, "old")):
        for kind in ("links", "maps"):
            folder = tmp_path / f"{version}-lsm-0123456789ab" / kind
            folder.mkdir(parents=True)
            (folder / name).touch()
    (tmp_path / "somebody-elses").mkdir()
    build = "0123456789ab"
    assert find(str(tmp_path)) == Told(
        (
            PinFact(f"{abi.ABI_VERSION}-lsm-{build}", "lsm", build, ("new",), ("new",), current=True, aside=False),
            PinFact(f"{abi.ABI_VERSION + 1}-lsm-{build}", "lsm", build, ("old",), ("old",), current=False, aside=False),
        )
    )


def test_without_a_folder_for_pins_there_are_none(tmp_path: Path) -> None:
    assert find("") == find(str(tmp_path / "missing")) == Told(())


def test_who_published_last_is_told_with_whether_it_lives() -> None:
    assert str(Keeper(42, runs=True, generation=7)) == "generation 7 of the agent pid 42, which runs"
    assert str(Keeper(42, runs=False, generation=7)) == "generation 7 of the agent pid 42, which is gone"
