"""Rungs without an agent, and what is pinned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.unit.doctor.facts_of_a_host import AGENT

from sockwarden import abi
from sockwarden.doctor.facts import PinFact, Told, Untold
from sockwarden.doctor.machine import pinned, rows
from sockwarden.kernel.ladder import NONE, Row, State
from sockwarden.kernel.probes import Answer

if TYPE_CHECKING:
    from pathlib import Path

BARE = (Answer("btf", ok=False, reason="no BTF", remedy="another kernel"), Answer("kprobes", ok=False, reason="none"))


def test_without_an_agent_what_a_rung_lacks_is_told_without_a_try() -> None:
    states = {row.name: row.state for row in rows(Untold("no agent"), BARE, try_rungs=False)}
    assert states.pop(NONE) is State.PROVED
    assert set(states.values()) == {State.REFUSED}


def test_the_agents_own_rows_are_shown() -> None:
    own = (Row("lsm", State.IN_FORCE, "EPERM"),)
    assert rows(replace(AGENT, rows=own), BARE, try_rungs=False) == own


def test_a_trial_asks_only_for_what_the_agent_has_not_tried() -> None:
    own = (Row("lsm", State.IN_FORCE, "EPERM"), Row("kprobe", State.NOT_NEEDED, "lsm is in force"))
    found = {row.name: row for row in rows(replace(AGENT, rows=own), BARE, try_rungs=True)}
    assert found["lsm"] == own[0]
    assert found["kprobe"].state is State.REFUSED


def test_pinned_sets_are_read_from_their_folders(tmp_path: Path) -> None:
    for version, name in ((abi.ABI_VERSION, "new"), (abi.ABI_VERSION + 1, "old")):
        for kind in ("links", "maps"):
            folder = tmp_path / f"{version}-lsm-0123456789ab" / kind
            folder.mkdir(parents=True)
            (folder / name).touch()
    (tmp_path / "somebody-elses").mkdir()
    build = "0123456789ab"
    assert pinned(str(tmp_path)) == Told(
        (
            PinFact(f"{abi.ABI_VERSION}-lsm-{build}", "lsm", build, ("new",), ("new",), current=True, aside=False),
            PinFact(f"{abi.ABI_VERSION + 1}-lsm-{build}", "lsm", build, ("old",), ("old",), current=False, aside=False),
        )
    )


def test_without_a_folder_for_pins_there_are_none(tmp_path: Path) -> None:
    assert pinned("") == pinned(str(tmp_path / "missing")) == Told(())
