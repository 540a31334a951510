"""Rungs with and without an agent."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.doctor.facts_of_a_host import AGENT

from sockwarden.doctor.facts import Untold
from sockwarden.doctor.machine import rows
from sockwarden.kernel.ladder import NONE, Row, State
from sockwarden.kernel.probes import Answer

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
