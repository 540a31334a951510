"""The written reference texts are what the code says now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from sockwarden.errors import ExitCode

if TYPE_CHECKING:
    from types import ModuleType

ROOT: Final = Path(__file__).resolve().parents[3]
GENERATOR: Final = ROOT / "packaging" / "man" / "generate.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sockwarden_man_generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator: Final = _load()


@pytest.mark.parametrize("name", generator.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    wanted = re.sub(r"[ \t]+\n", "\n", generator.PAGES[name]())
    assert (ROOT / name).read_text(encoding="utf-8") == wanted, "run: make docs"


def test_the_man_page_names_every_exit_code() -> None:
    assert {int(code) for code, _ in generator._exit_codes()} == {int(code) for code in ExitCode}


@pytest.mark.parametrize("name", [name for name in generator.PAGES if name[-1].isdigit()])
def test_no_line_of_a_man_page_is_taken_for_a_request_by_mistake(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    requests = {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))}
    assert requests <= {'.\\"', ".TH", ".nh", ".ad", ".SH", ".SS", ".TP", ".IP", ".PP", ".br"}


def test_every_limit_of_the_page_has_a_reason() -> None:
    assert all(reason for _, _, reason in generator.limits())
