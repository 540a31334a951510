from __future__ import annotations

import os
import signal
import subprocess

import pytest

from sockwarden.kernel.life import process

GONE = 2**22 + 1
"""Above the highest pid that Linux gives (PID_MAX_LIMIT)."""


@pytest.fixture
def victim():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def test_a_process_with_the_expected_start_time_is_killed(victim: subprocess.Popen[bytes]) -> None:
    start = process.start_ticks(victim.pid)
    assert start is not None
    assert (process.kill(victim.pid, start), victim.wait()) == (process.Outcome.DONE, -signal.SIGKILL)


def test_a_process_with_another_start_time_lives(victim: subprocess.Popen[bytes]) -> None:
    start = process.start_ticks(victim.pid)
    assert start is not None
    assert (process.kill(victim.pid, start + 1), victim.poll()) == (process.Outcome.GONE, None)


def test_a_process_that_is_gone_is_not_killed() -> None:
    assert process.kill(GONE, 1) in {process.Outcome.GONE, process.Outcome.REFUSED}


def test_a_name_with_brackets_does_not_hide_the_start_time() -> None:
    code = "open('/proc/self/comm', 'w').write('a) R 1 (b'); print(flush=True); input()"
    with subprocess.Popen(["python3", "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        named, start, own = process.name(child.pid), process.start_ticks(child.pid), process.start_ticks(os.getpid())
        child.kill()
    assert named == "a) R 1 (b"
    assert start is not None
    assert own is not None
    assert start >= own


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (process.start_ticks, None),
        (process.cgroup_path, ""),
        (process.name, ""),
        (process.owner, (0, 0)),
        (lambda pid: process.namespace(pid, "net"), 0),
    ],
)
def test_a_process_that_is_gone_has_no_facts(question, answer: object) -> None:
    assert question(GONE) == answer


def test_a_kernel_start_time_becomes_the_ticks_of_proc() -> None:
    assert process.to_ticks(123 * process.TICK_NS + process.TICK_NS - 1) == 123


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/docker/abc\n", "/docker/abc"),
        ("2:cpu:/docker/abc\n0::/\n", "/docker/abc"),
        ("2:cpu:/docker/abc\n0::/system.slice/x\n", "/system.slice/x"),
        ("0::/a:b:c\n", "/a:b:c"),
        ("0::/\n", "/"),
        ("garbage\n", "/"),
    ],
)
def test_the_cgroup_is_that_of_the_v2_tree_or_the_deepest(
    tmp_path, monkeypatch: pytest.MonkeyPatch, text: str, path: str
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(text)
    monkeypatch.setattr(process, "PROC", tmp_path)
    assert process.cgroup_path(7) == path
