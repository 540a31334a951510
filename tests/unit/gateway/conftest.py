"""Every story is played on both event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.gateway.stage import LOOPS, Theatre

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=sorted(LOOPS))
def theatre(request: pytest.FixtureRequest, tmp_path: Path) -> Theatre:
    return Theatre(str(request.param), tmp_path)
