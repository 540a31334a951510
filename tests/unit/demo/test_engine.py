"""What a throw-away engine refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockwarden.demo.child import ChildError
from sockwarden.demo.engine import ThrowAwayEngine, engine_answers


def test_a_directory_too_deep_for_unix_sockets_is_refused_with_the_remedy() -> None:
    with pytest.raises(ChildError) as caught:
        ThrowAwayEngine(Path("/tmp") / ("x" * 70)).start()
    assert "TMPDIR" in caught.value.remedy


def test_no_engine_answers_on_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert not engine_answers(tmp_path / "docker.sock")


def test_an_engine_that_never_started_leaves_no_trace(tmp_path: Path) -> None:
    assert ThrowAwayEngine(tmp_path).traces() == []
