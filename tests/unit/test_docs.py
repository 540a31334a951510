"""The documents say what the code has: links lead somewhere, and no key, metric, rule or command is left out."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from sockwarden import __version__
from sockwarden.cli.main import build_parser
from sockwarden.config import Config, parse_config
from sockwarden.dockerapi import texts
from sockwarden.dockerapi.commands import UNSUPPORTED, WILDCARDS
from sockwarden.gateway.intake import Phase
from sockwarden.kernel.ladder import RUNGS, Rung
from sockwarden.model import Rule
from sockwarden.observe.metrics import Metrics
from sockwarden.policy.document import parse_policy

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md", *(ROOT / "docs").glob("*.md")]
)
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ANCHOR: Final = re.compile(r'<a id="([^"]+)">')
HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`[^`]*`")


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _prose(text: str) -> str:
    """Return a page without its code, in which brackets are no links."""
    return CODE.sub("", FENCE.sub("", text))


def _anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    slugs = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in HEADING.findall(text)}
    return slugs | set(ANCHOR.findall(text))


LINKS: Final = [
    (page, target)
    for page in PAGES
    for target in LINK.findall(_prose(page.read_text(encoding="utf-8")))
    if not target.startswith("https://")
]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=lambda value: str(value).removeprefix(f"{ROOT}/"))
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.is_relative_to(ROOT)
    assert found.exists()
    assert not anchor or anchor in _anchors(found)


def test_links_were_found() -> None:
    assert len(LINKS) > 20


@pytest.mark.parametrize(
    "key",
    [
        f"{table.name}.{key.name}"
        for table in dataclasses.fields(Config)
        for key in dataclasses.fields(getattr(Config.default(), table.name))
    ],
)
def test_a_key_of_the_configuration_is_documented_and_in_the_example(key: str) -> None:
    table, _, name = key.partition(".")
    name = name.removesuffix("_seconds")
    assert f"| `{table}.{name}` |" in _text("docs/configuration.md")
    example = re.sub(r"^#(?=[\w\"])", "", _text("packaging/etc/sockwarden.toml"), flags=re.MULTILINE)
    assert name in tomllib.loads(example)[table]


def test_no_key_is_documented_that_does_not_exist() -> None:
    known = {
        f"{table.name}.{key.name.removesuffix('_seconds')}"
        for table in dataclasses.fields(Config)
        for key in dataclasses.fields(getattr(Config.default(), table.name))
    }
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", _text("docs/configuration.md"), re.MULTILINE)) == known


def test_every_metric_is_documented_and_no_other() -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    names = {family.name + suffixes.get(family.type, "") for family in Metrics(__version__, ()).collect()}
    assert set(re.findall(r"^\| `(sockwarden_\w+)` \|", _text("docs/metrics.md"), re.MULTILINE)) == names


@pytest.mark.parametrize("rule", Rule)
def test_a_rule_is_in_the_troubleshooting(rule: Rule) -> None:
    assert f"`{rule.value}`" in _text("docs/troubleshooting.md")


@pytest.mark.parametrize(
    "text",
    [
        texts.socket_mount_denied("…"),
        texts.command_blocked("…"),
        texts.engine_mount_denied("…", "…"),
        texts.unknown_container("x"),
        texts.identity_unresolved("x"),
        texts.engine_unreachable("…", "x"),
    ],
)
def test_a_refusal_is_a_heading_of_the_troubleshooting(text: str) -> None:
    headings = re.findall(r"^### `([^`]+)`", _text("docs/troubleshooting.md"), re.MULTILINE)
    assert any(text.removeprefix(texts.PREFIX).startswith(heading) for heading in headings)


def _subcommands() -> list[str]:
    actions = build_parser()._actions
    return next(list(action.choices) for action in actions if action.dest == "command" and action.choices)


def test_the_architecture_names_every_package() -> None:
    package = ROOT / "agent" / "sockwarden"
    names = {path.name.removesuffix(".py") for path in package.iterdir() if not path.name.startswith("_")}
    rows = "".join(re.findall(r"^\| \d \|.*$", _text("docs/architecture.md"), re.MULTILINE))
    assert {name for name in names if name != "py.typed"} <= set(re.findall(r"`(\w+)`", rows))


@pytest.mark.parametrize("phase", [phase.name for phase in Phase if phase is not Phase.CLOSED])
def test_the_architecture_explains_a_phase(phase: str) -> None:
    assert f"\n| `{phase}` |" in _text("docs/architecture.md")


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_the_architecture_says_what_a_rung_does(rung: Rung) -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]+) \|$", _text("docs/architecture.md"), re.MULTILINE)
    said = {name.strip("`"): text for names, text in rows for name in names.split(", ")}
    assert ("EPERM" in said[rung.name]) is rung.blocking


@pytest.mark.parametrize("command", _subcommands())
def test_a_subcommand_is_in_the_man_page_and_the_readme(command: str) -> None:
    assert f".SS sockwarden {command}\n" in _text("packaging/man/sockwarden.8")
    assert f"`sockwarden {command}" in _text("README.md")


@pytest.mark.parametrize("name", [*sorted(UNSUPPORTED), *WILDCARDS])
def test_the_policy_reference_names_what_a_list_may_not_hold_and_the_wildcards(name: str) -> None:
    assert f"`{name}`" in _text("docs/policy.md")


def test_the_policies_shown_are_valid() -> None:
    shown = re.findall(r"```json\n(\{\n  \"configurationFileVersion.*?)```", _text("README.md"), re.DOTALL)
    documents = [parse_policy(text.encode(), "README.md") for text in shown]
    assert [document.notices for document in documents] == [()]


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", _text("docs/configuration.md"), re.DOTALL))
def test_the_configurations_shown_are_valid(text: str) -> None:
    assert isinstance(parse_config(text.encode(), "configuration.md"), Config)


def test_the_changelog_begins_with_an_unreleased_or_this_version() -> None:
    newest = re.findall(r"^## \[([^\]]+)\]", _text("CHANGELOG.md"), re.MULTILINE)[0]
    assert newest in ("Unreleased", __version__)
