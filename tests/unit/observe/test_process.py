"""Snapshots of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from sockwarden.observe import process as module
from sockwarden.observe.process import MAX_PARENTS, ProcessCache, ProcessSnapshot, readable

if TYPE_CHECKING:
    from collections.abc import Iterator


def start_ticks(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except OSError:
        return None


OWN = start_ticks(os.getpid()) or 0


@pytest.fixture
def cache() -> ProcessCache:
    return ProcessCache(start_ticks, recheck_seconds=0)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    program = "import sys; print(flush=True); sys.stdin.read()"
    command: list[str | bytes] = [sys.executable, "-c", program, "--password", "s3cret", b"\xff"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_process_is_described(cache):
    found = cache.describe(os.getpid(), OWN)
    expected = (os.getpid(), str(Path("/proc/self/exe").readlink()), psutil.Process().username())
    assert (found.pid, found.exe, found.user) == expected


def test_its_parents_are_named_nearest_first(cache):
    parents = cache.describe(os.getpid(), OWN).parents
    expected = [parent.pid for parent in psutil.Process().parents()][:MAX_PARENTS]
    assert [parent.pid for parent in parents] == expected


def test_no_more_parents_are_named_than_the_limit(cache, monkeypatch):
    monkeypatch.setattr(module, "MAX_PARENTS", 1)
    assert len(cache.describe(os.getpid(), OWN).parents) == 1


def test_secrets_and_odd_bytes_of_a_command_line_are_hidden(cache, child):
    found = cache.describe(child.pid, start_ticks(child.pid) or 0)
    assert found.cmdline is not None
    assert found.cmdline[-3:] == ("--password", "***", "\\udcff")


def test_a_process_with_another_start_time_has_no_fields(cache):
    assert cache.describe(os.getpid(), OWN + 1) == ProcessSnapshot(os.getpid())


def test_a_process_that_has_gone_has_no_fields(cache, child):
    ticks = start_ticks(child.pid) or 0
    child.kill()
    child.wait()
    assert cache.describe(child.pid, ticks) == ProcessSnapshot(child.pid)


def test_a_process_that_is_replaced_while_it_is_read_has_no_fields():
    answers = iter([OWN, OWN + 1, OWN + 1])
    assert ProcessCache(lambda _: next(answers, OWN + 1)).describe(os.getpid(), OWN) == ProcessSnapshot(os.getpid())


def test_a_process_is_read_once(cache):
    first = cache.describe(os.getpid(), OWN)
    assert cache.describe(os.getpid(), OWN) is first


def test_siblings_share_what_is_known_of_their_parents(cache, child):
    cache.describe(os.getpid(), OWN)
    found = cache.describe(child.pid, start_ticks(child.pid) or 0)
    own = cache.describe(os.getpid(), OWN).parents
    assert found.parents[0].pid == os.getpid()
    assert found.parents[1:] == own[: MAX_PARENTS - 1]


def test_a_process_that_runs_another_program_is_described_anew(cache):
    command = ["sh", "-c", "read x; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ticks = start_ticks(process.pid) or 0
        before = cache.describe(process.pid, ticks).exe
        process.stdin.write(b"\nhello\n")
        process.stdin.flush()
        process.stdout.readline()
        after = cache.describe(process.pid, ticks).exe
        process.kill()
    assert before != after


def test_a_process_is_not_looked_up_again_at_once():
    asked: list[int] = []

    def start_of(pid: int) -> int:
        asked.append(pid)
        return OWN

    cache = ProcessCache(start_of, recheck_seconds=60)
    cache.describe(os.getpid(), OWN)
    before = len(asked)
    cache.describe(os.getpid(), OWN)
    assert len(asked) == before


def test_only_so_many_processes_are_remembered(cache, child, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 1)
    first = cache.describe(os.getpid(), OWN)
    cache.describe(child.pid, start_ticks(child.pid) or 0)
    assert cache.describe(os.getpid(), OWN) is not first


def test_an_error_while_asking_for_the_start_time_is_a_process_without_fields():
    def fail(pid: int) -> int | None:
        raise PermissionError(pid)

    assert ProcessCache(fail).describe(os.getpid(), OWN) == ProcessSnapshot(os.getpid())


def test_a_process_that_psutil_cannot_read_keeps_its_program():
    pid = 2**22 + 1  # above the kernel's PID_MAX_LIMIT
    assert ProcessCache(lambda _: OWN).describe(pid, OWN) == ProcessSnapshot(pid)


@pytest.mark.parametrize(("text", "shown"), [("a", "a"), ("ä", "ä"), ("\udcff", "\\udcff"), ("\ud800", "\\ud800")])
def test_a_readable_text_is_unicode(text, shown):
    assert readable(text) == shown
