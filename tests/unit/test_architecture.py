"""The shape of the tree: who may import whom, what pure code must not touch, how modules are named and opened."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(__file__).resolve().parents[2] / "agent" / "sockwarden"

RANKS: Final = (
    {"errors", "model", "abi"},
    {"documents", "dockerapi", "http1", "config"},
    {"policy"},
    {"engine", "identity", "images", "kernel", "observe"},
    {"gateway"},
    {"service"},
    {"demo", "doctor"},
    {"cli"},
)
"""A module imports only lower ranks, or its own folder."""

INSIDE_RANK: Final = {("identity", "engine"), ("images", "engine"), ("kernel", "engine")}
"""The exceptions: these three ask the engine."""

CONFIG_READS: Final = {("config", "documents")}
"""The configuration is a document too."""

OUTSIDE: Final = {"__init__", "__main__"}
"""The package's own two files: no part of any rank."""

PURE: Final = {"documents", "dockerapi", "http1", "policy", "config", "model", "errors", "abi"}

FORBIDDEN_IN_PURE: Final = {
    *("asyncio", "ctypes", "httpx", "io", "logging", "os", "pathlib", "psutil", "select", "shutil", "signal"),
    *("socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request", "uvloop"),
}
"""Modules that read the machine, the clock or the network."""

ALLOWED_IN_PURE: Final = {("abi", "ctypes")}
"""The layout of the records shared with BPF is written as ctypes structures; it loads no library."""

FORBIDDEN_CALLS: Final = {"open", "print", "input", "exec", "eval", "breakpoint"}

NAMELESS: Final = {"utils", "util", "common", "helpers", "helper", "misc", "stuff", "base"}
"""Names that say nothing of what a module owns."""

MAX_LINES: Final = 500
"""Longer is a reason to split."""

MODULES: Final = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth; a relative import fails the test that asks."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports_of(path: Path) -> Iterator[str]:
    """The parts of sockwarden that a file imports."""
    for module in imports_of(path):
        words = module.split(".")
        if words[0] == "sockwarden" and len(words) > 1 and words[1] != "__version__":
            yield words[1]


def rank_of(part: str) -> int:
    ranks = [number for number, members in enumerate(RANKS) if part in members]
    assert ranks, f"{part} has no rank: give it one in RANKS"
    return ranks[0]


every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)
every_ranked_module = pytest.mark.parametrize(
    "path", [path for path in MODULES if part_of(path) not in OUTSIDE], ids=name_of
)
every_pure_module = pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) in PURE], ids=name_of)


@every_ranked_module
def test_a_module_imports_only_lower_ranks_or_its_own_folder(path: Path) -> None:
    part = part_of(path)
    wrong = {
        other
        for other in own_imports_of(path)
        if other != part
        and rank_of(other) >= rank_of(part)
        and (part, other) not in INSIDE_RANK | CONFIG_READS
        and not (rank_of(part) == rank_of(other) == 0)
    }
    assert wrong == set()


@every_pure_module
def test_pure_code_imports_nothing_that_reads_the_machine(path: Path) -> None:
    wrong = {
        module
        for module in imports_of(path)
        for forbidden in FORBIDDEN_IN_PURE
        if (module == forbidden or module.startswith(f"{forbidden}."))
        and (part_of(path), forbidden) not in ALLOWED_IN_PURE
    }
    assert wrong == set()


@every_pure_module
def test_pure_code_opens_and_prints_nothing(path: Path) -> None:
    calls = [
        f"{name_of(path)}:{node.lineno}: {node.func.id}()"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS
    ]
    assert calls == []


@every_module
def test_a_module_says_what_it_owns(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name_of(path)} has no docstring"


@every_module
def test_a_module_is_named_by_a_noun_of_the_domain(path: Path) -> None:
    words = {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}
    assert not words & NAMELESS


@every_module
def test_a_module_is_short_enough_to_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_every_part_of_the_package_has_a_rank() -> None:
    parts = {part_of(path) for path in MODULES} - OUTSIDE
    assert parts <= set().union(*RANKS)


def test_only_the_command_line_and_the_demonstration_print() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        if part_of(path) not in {"cli", "demo"}
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []
