"""The whole examination, on a host of which nothing is as it should be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sockwarden.config import parse_config
from sockwarden.doctor.diagnosis import diagnose
from sockwarden.doctor.examination import examine
from sockwarden.doctor.facts import Told, Untold

if TYPE_CHECKING:
    from pathlib import Path


def test_an_examination_finds_out_what_it_can_and_never_fails(tmp_path: Path) -> None:
    text = f'[engine]\nsocket = "{tmp_path}/docker.sock"\n[guard]\npin_dir = "{tmp_path}/pins"\n'
    facts = asyncio.run(examine(parse_config(text.encode(), "c.toml"), try_rungs=False))
    assert isinstance(facts.agent, Untold)
    assert isinstance(facts.containers, Untold)
    assert facts.pins == Told(())
    assert facts.features
    assert diagnose(facts).is_open
