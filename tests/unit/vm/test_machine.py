"""How an ending is read from a console: what is missing or broken must never look like success."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.vm.machine import Case, Ending, read_console

if TYPE_CHECKING:
    from pathlib import Path

HELD = '@@case {"name": "a: b", "ok": true, "seconds": 0.5, "said": ""}\r\n'
FAILED = '@@case {"name": "a: c", "ok": false, "seconds": 1.0, "said": "found 0, wanted 1"}\r\n'
TOLD = '@@told {"name": "auto", "said": "none"}\r\n'


def read(folder: Path, console: str, trouble: str = "") -> Ending:
    (folder / "console").write_text(console, "utf-8", newline="")
    return read_console(folder / "console", 2.0, trouble)


def test_a_machine_whose_cases_all_hold_is_ok(tmp_path: Path) -> None:
    ending = read(tmp_path, f'[ 0.1] kernel\r\n{HELD}{TOLD}@@sum {{"cases": 1, "failed": 0}}\r\n@@end 0\r\n')
    assert ending == Ending(2.0, (Case("a: b", ok=True, seconds=0.5, said=""),), {"auto": "none"}, "")


def test_a_failed_case_is_named_and_is_no_trouble(tmp_path: Path) -> None:
    ending = read(tmp_path, f'{HELD}{FAILED}@@sum {{"cases": 2, "failed": 1}}\n@@end 1\n')
    assert ([case.name for case in ending.failed], ending.trouble, ending.ok) == (["a: c"], "", False)


@pytest.mark.parametrize(
    ("console", "trouble"),
    [
        ("", "went down before its end"),
        (HELD, "went down before its end"),
        (f"{HELD}@@end 0\n", "did not come to their end"),
        (f'{HELD}@@sum {{"cases": 2, "failed": 0}}\n@@end 0\n', "did not come to their end"),
        (f'{HELD}@@sum {{"cases": 1, "failed": 0}}\n@@end 139\n', "ended with [139]"),
        (f'{HELD}@@case {{"na[ 1.0] oops\n@@sum {{"cases": 1, "failed": 0}}\n@@end 0\n', "is broken"),
        ('@@sum {"cases": 0, "failed": 0}\n@@end 0\n', "no case was played"),
    ],
)
def test_what_is_missing_or_broken_is_trouble(tmp_path: Path, console: str, trouble: str) -> None:
    ending = read(tmp_path, console)
    assert trouble in ending.trouble
    assert not ending.ok


def test_the_emulators_own_trouble_comes_first(tmp_path: Path) -> None:
    assert read(tmp_path, HELD, "it did not end").trouble == "it did not end"
