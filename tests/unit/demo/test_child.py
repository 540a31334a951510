"""Throw-away programs are waited for with a deadline, and end with their parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sockwarden.demo.child import Child, ChildError, clean_environment, wait_until


def test_the_first_true_answer_is_returned() -> None:
    answers = iter([None, "", "yes"])
    assert wait_until(lambda: next(answers), 5, "an answer") == "yes"


def test_a_condition_that_never_holds_is_an_error_with_its_name() -> None:
    with pytest.raises(ChildError, match="the moon: not within 0 s"):
        wait_until(lambda: None, 0, "the moon")


def test_a_program_that_ends_early_is_an_error_that_shows_its_log(tmp_path: Path) -> None:
    child = Child("shell", tmp_path / "log")
    child.start(["sh", "-c", "echo broken; exit 3"], clean_environment(tmp_path))
    with pytest.raises(ChildError, match="broken"):
        child.wait_until(lambda: None, 20, "is ready")
    assert child.stop() == 3


def test_a_program_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    child = Child("shell", tmp_path / "log")
    child.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], clean_environment(tmp_path))
    child.wait_until(lambda: "up" in child.said(), 20, "is up")
    assert child.stop(seconds=0.1) == -9
    assert not child.alive()


def test_a_program_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = (
        "import os, signal, sys; from pathlib import Path; from sockwarden.demo.child import Child, clean_environment\n"
        f"child = Child('shell', Path({str(tmp_path)!r}) / 'log')\n"
        f"child.start(['sh', '-c', 'exec 3>{fifo}; echo up >&3; exec sleep 600'], clean_environment(Path('/')))\n"
        "signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as parent, fifo.open("rb") as held:
        assert held.readline() == b"up\n"
        parent.kill()
        assert held.read() == b""  # the end comes when the program has closed it: it ended


def test_settings_of_the_user_do_not_reach_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://elsewhere")
    assert set(clean_environment(Path("/h"), A="b")) == {"PATH", "HOME", "LANG", "TERM", "A"}
