"""The canary in production: what one flight after the other shows, and what does not count as a flight."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sockwarden import abi
from sockwarden.abi import GuardStat
from sockwarden.kernel import canary
from sockwarden.kernel.canary import Expected
from sockwarden.kernel.vigil import Findings, Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE = 20.0

ACTOR = abi.Actor(1, 1, 0, 42, 42, 0, 0, 1, 1, 42, 0, "x")
RECORD = abi.ConnectRecord(
    0, ACTOR, 0, 0, abi.SocketClass.NONE, abi.KernelVerdict.NONE, abi.Source.SYSCALL, b"", False, False
)

HELPER = """#!/bin/sh
echo $$ > {folder}/pid
exit {status}
"""


class Stage:
    """A vigil whose helper is a script that ends as the test says; no kernel has a part in it."""

    def __init__(self, folder: Path, expected: Expected) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.stats: Counter[GuardStat] = Counter()
        self.told: list[Findings] = []
        self.vigil = Vigil(self.loop, folder, expected, self.stats.__getitem__, self._tell)

    def helper_ends(self, status: int) -> None:
        program = self.folder / "unshare"
        program.write_text(HELPER.format(folder=self.folder, status=status))
        program.chmod(0o755)

    def fly(self, meanwhile: Callable[[], None] = lambda: None) -> Findings:
        """Fly once and run the loop until that flight is over."""
        self._over = self.loop.create_future()
        self.vigil.fly()
        meanwhile()
        self.loop.run_until_complete(asyncio.wait_for(self._until_over(), DEADLINE))
        return self.vigil.findings

    async def _until_over(self) -> None:
        while self.vigil._helper is not None:  # noqa: ASYNC110  # not every end is told
            await asyncio.sleep(0)

    def _tell(self, findings: Findings) -> None:
        self.told.append(findings)

    def met(self) -> None:
        self.stats[GuardStat.CANARY] += 1


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Expected], Stage]]:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("sockwarden.kernel.vigil.GRACE_SECONDS", 0.01)
    made: list[Stage] = []

    def make(expected: Expected) -> Stage:
        made.append(Stage(tmp_path, expected))
        return made[-1]

    yield make
    for stage in made:
        stage.vigil.close()
        stage.loop.close()


EPERM = canary._ERRNO_BASE + 1


def test_before_the_first_flight_the_proof_of_the_start_holds(make: Callable[[Expected], Stage]) -> None:
    findings = make(Expected.BLOCKED).vigil.findings
    assert (findings.held, findings.flights) == (True, 0)


def test_a_refusal_that_the_rung_counted_is_a_proof(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    stage.helper_ends(EPERM)
    findings = stage.fly(stage.met)
    assert (findings.held, findings.flights, findings.failures, stage.told) == (True, 1, 0, [findings])


def test_a_refusal_by_somebody_else_is_none(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    stage.helper_ends(EPERM)
    assert not stage.fly().held


def test_a_canary_that_got_through_is_told_and_keeps_the_moment_of_the_last_proof(
    make: Callable[[Expected], Stage],
) -> None:
    stage = make(Expected.BLOCKED)
    before = stage.vigil.findings.held_at
    stage.helper_ends(0)
    findings = stage.fly(stage.met)
    assert (findings.held, findings.failures, findings.held_at, len(stage.told)) == (False, 1, before, 1)


def test_the_next_good_flight_makes_it_whole_again(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    stage.helper_ends(0)
    stage.fly(stage.met)
    stage.helper_ends(EPERM)
    findings = stage.fly(stage.met)
    assert (findings.held, findings.flights, findings.failures) == (True, 2, 1)


def test_a_helper_that_failed_by_itself_shows_nothing(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    stage.helper_ends(1)
    findings = stage.fly(stage.met)
    assert (findings.held, findings.flights, stage.told) == (True, 0, [])
    assert "status 1 before it could connect" in findings.fault


def test_a_socket_that_was_replaced_is_not_flown_to(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    path = stage.folder / "canary.sock"
    path.rename(stage.folder / "kept.sock")
    with canary.listen(path):
        assert "is another socket by now" in stage.fly().fault


def seen(stage: Stage, **fields: object) -> Callable[[], None]:
    def tell() -> None:
        helper = stage.vigil._helper
        assert helper is not None
        record = replace(RECORD, **{"actor": replace(ACTOR, tgid=helper.pid), **fields})  # type: ignore[arg-type]
        assert stage.vigil.claims(record)

    return tell


@pytest.mark.parametrize("by", ["object", "class", "path"])
def test_where_watching_is_all_a_record_is_the_proof(make: Callable[[Expected], Stage], by: str) -> None:
    stage = make(Expected.SEEN)
    stage.helper_ends(0)
    identity = stage.vigil.identity
    roads: dict[str, dict[str, object]] = {
        "object": {"device": identity.device, "inode": identity.inode},
        "class": {"socket_class": abi.SocketClass.CANARY},
        "path": {"path": bytes(stage.folder / "canary.sock")},
    }
    assert stage.fly(seen(stage, **roads[by])).held


def test_without_a_record_it_was_not_seen(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.SEEN)
    stage.helper_ends(0)
    assert not stage.fly().held


def test_a_record_that_may_have_been_lost_shows_nothing(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.SEEN)
    stage.helper_ends(0)
    findings = stage.fly(lambda: stage.stats.update({GuardStat.DROPPED: 1}))
    assert (findings.held, findings.flights, "lost" in findings.fault) == (True, 0, True)


def test_records_about_other_sockets_are_not_the_canarys(make: Callable[[Expected], Stage]) -> None:
    assert not make(Expected.SEEN).vigil.claims(RECORD)


def test_another_process_at_the_canarys_socket_is_no_proof(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.SEEN)
    stage.helper_ends(0)
    other = replace(RECORD, socket_class=abi.SocketClass.CANARY)
    assert not stage.fly(lambda: None if stage.vigil.claims(other) else pytest.fail("it is the canary's")).held


def test_one_flies_at_a_time(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    stage.helper_ends(EPERM)

    def again() -> None:
        stage.met()
        stage.vigil.fly()

    stage.fly(again)
    assert stage.vigil.findings.flights == 1


def test_closing_removes_the_socket_and_a_flight_under_way(make: Callable[[Expected], Stage]) -> None:
    stage = make(Expected.BLOCKED)
    stage.helper_ends(EPERM)
    stage.vigil.fly()
    stage.vigil.close()
    stage.vigil.close()
    assert not (stage.folder / "canary.sock").exists()
