#!/usr/bin/env python3
"""Writes the reference texts that must not drift from the code: man pages, completion, limits, commands.

Sources: the argparse tree, the exit codes, ``packaging/etc/sockwarden.toml``, the policy's JSON Schema, the table of
docker commands, the metrics, and the named constants of the code with the reasons that stand beside them. Run it as
``make docs`` after a change to one of these; ``tests/unit/cli/test_man.py`` fails until it has been run.

Never: a sentence about behaviour that one of those sources does not say, other than the short introductions here.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import math
import re
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "agent" / "sockwarden"
sys.path.insert(0, str(ROOT / "agent"))

from sockwarden import __version__  # noqa: E402  # the tree's own package, found by the line above
from sockwarden.cli.main import build_parser  # noqa: E402
from sockwarden.dockerapi.commands import (  # noqa: E402
    ALWAYS,
    COMMAND_LABELS,
    COMMAND_NAMES,
    COMMANDS,
    UNSUPPORTED,
    WILDCARDS,
    is_unsupported,
)
from sockwarden.observe.metrics import Metrics  # noqa: E402
from sockwarden.service.sentry import GUARD_KINDS  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LIMITED: Final = (
    "config", "documents", "http1", "dockerapi", "policy", "engine", "identity", "images", "kernel", "observe",
    "gateway", "service", "doctor",
)  # fmt: skip
"""The packages whose limits a client or an operator can meet, in the order of the page."""

_LIMIT: Final = re.compile(
    r"MAX_\w+|MIN_\w+|\w+_SECONDS|\w+_BYTES|\w+_LIMITS_SECONDS|\w+_CONNECTIONS|BACKLOG|\w+_DELAYS"
)
"""Names that limits have in this tree."""

_DESCRIPTION: Final = (
    "sockwarden stands in front of the Docker Engine's socket on a Linux host. It judges every client that is in a "
    "container by the content of its image and by the docker command that it sends, and every mount of the socket, and "
    "forwards to the engine what the policy allows. Its rules are those of Docker Desktop's Enhanced Container "
    "Isolation for the mounted Docker socket, read from the same file. A kernel guard (eBPF) watches the sockets "
    "themselves."
)
_FILES: Final = (
    ("/etc/sockwarden/sockwarden.toml", "The configuration of the daemon: sockwarden.toml(5)."),
    ("/etc/sockwarden/admin-settings.json", "The policy: sockwarden-policy(5)."),
    ("/run/sockwarden/engine.sock", "The engine's own socket while the daemon is in front of it (takeover by swap)."),
    ("/run/sockwarden/control.sock", "Where status and reload ask the daemon; for root only."),
    ("/var/lib/sockwarden/answers.jsonl", "Answers of registries, kept over restarts (daemon.state_dir)."),
    ("/root/.docker/config.json", "Credentials for registries, as docker login leaves them, if there is one."),
    ("/etc/docker/certs.d/HOST", "CAs and client certificates of the registry HOST or HOST:PORT, as for the engine."),
)
_SIGNALS: Final = (
    ("SIGHUP", "Read the policy again and open the audit file anew. A policy with faults leaves the old one in force."),
    ("SIGTERM, SIGINT", "Give the socket back to the engine, let requests in flight end, and stop."),
)


# -- troff ----------------------------------------------------------------------------------------------------------


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _paragraph(text: str) -> str:
    return "\n".join(_escape(line) for line in textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False))


def _title(name: str, section: int) -> str:
    shown = name.upper()
    return (
        '.\\" Written by packaging/man/generate.py: change its sources, not this file.\n'
        f'.TH {shown} {section} "" "sockwarden {__version__}" "sockwarden"\n.nh\n.ad l\n'
    )


def _section(name: str) -> str:
    return f".SH {name}\n"


def _item(term: str, *paragraphs: str) -> str:
    body = "\n.IP\n".join(_paragraph(text) for text in paragraphs if text)
    return f".TP\n\\fB{_escape(term)}\\fR\n{body}\n"


def _see_also(*pages: str) -> str:
    return _section("SEE ALSO") + ",\n".join(f"\\fB{page[:-3]}\\fR{page[-3:]}" for page in pages) + "\n"


# -- sockwarden(8) --------------------------------------------------------------------------------------------------


def _subcommands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return the subcommands: their help line and their parser."""
    return _below(build_parser())


def _below(parser: argparse.ArgumentParser) -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return what stands directly below a parser, each with its help line."""
    found: dict[str, tuple[str, argparse.ArgumentParser]] = {}
    for action in parser._actions:  # noqa: SLF001  # argparse has no public way to its own tree
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            lines = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            found |= {name: (lines[name], each) for name, each in action.choices.items()}
    return found


def _all_subcommands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return the subcommands, and below each one its own, by their full names."""
    found: dict[str, tuple[str, argparse.ArgumentParser]] = {}
    for name, (line, parser) in _subcommands().items():
        found[name] = (line, parser)
        found |= {f"{name} {each}": value for each, value in _below(parser).items()}
    return found


def _arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    tree = argparse._SubParsersAction  # noqa: SLF001
    actions = parser._actions  # noqa: SLF001
    return [action for action in actions if action.dest != "help" and not isinstance(action, tree)]


def _spelling(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or "|".join(action.choices or ()) or action.dest.upper())
    if not action.option_strings:
        return value
    return f"{', '.join(action.option_strings)}{' ' + value if value else ''}"


def _synopsis(name: str, parser: argparse.ArgumentParser) -> str:
    parts = [f"\\fBsockwarden {name}\\fR"]
    for action in _arguments(parser):
        text = _escape(_spelling(action))
        needed = action.required and action.nargs != "*"
        parts.append(text if needed else f"[{text}{' ...' if action.nargs == '*' else ''}]")
    return " ".join(parts)


def _exit_codes() -> Iterator[tuple[str, str]]:
    for line in (build_parser().epilog or "").splitlines()[1:]:
        code, text = line.split(maxsplit=1)
        yield code, text[0].upper() + text[1:] + "."


def command_page() -> str:
    """Return sockwarden(8)."""
    commands = _all_subcommands()
    out = [_title("sockwarden", 8), _section("NAME"), "sockwarden \\- the warden of docker.sock on Linux hosts\n"]
    out.append(_section("SYNOPSIS"))
    leaves = {name: parser for name, (_, parser) in commands.items() if not _below(parser)}
    out.append("\n.br\n".join(_synopsis(name, parser) for name, parser in leaves.items()) + "\n")
    out += [_section("DESCRIPTION"), _paragraph(_DESCRIPTION) + "\n", _section("OPTIONS")]
    out += [_item(_spelling(action), _stopped(action.help or "")) for action in _arguments(build_parser())]
    out.append(_section("COMMANDS"))
    for name, (line, parser) in commands.items():
        out += [f".SS sockwarden {name}\n", _paragraph(_sentence(line)) + "\n"]
        if parser.description:
            out.append(".PP\n" + _paragraph(parser.description) + "\n")
        out += [_item(_spelling(action), _stopped(action.help or "")) for action in _arguments(parser)]
    out.append(_section("EXIT STATUS"))
    out += [_item(code, text) for code, text in _exit_codes()]
    out.append(_section("SIGNALS"))
    out += [_item(name, text) for name, text in _SIGNALS]
    out.append(_section("FILES"))
    out += [_item(name, text) for name, text in _FILES]
    out.append(_section("ENVIRONMENT"))
    out.append(_item("NO_COLOR", "If it is set, no colour is used unless --color says so."))
    out.append(_section("METRICS"))
    out.append(_paragraph("Served for Prometheus at metrics.listen, see sockwarden.toml(5).") + "\n")
    out += [_item(name, text) for name, _, text in metric_rows()]
    out.append(_see_also("sockwarden.toml(5)", "sockwarden-policy(5)", "docker(1)", "dockerd(8)"))
    return "".join(out)


def _sentence(text: str) -> str:
    text = _stopped(text)
    return f"{text[:1].upper()}{text[1:]}"


def _stopped(text: str) -> str:
    """Return a help text with its full stop; its first word may be a name, which keeps its letters."""
    text = text.replace("%%", "%")
    return text if not text or text.endswith(".") else f"{text}."


def metric_rows() -> list[tuple[str, str, str]]:
    """Return (name as scraped, type, help) of every metric."""
    rows = []
    for family in Metrics(__version__, COMMAND_LABELS, GUARD_KINDS).collect():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        rows.append((family.name + suffix, family.type, family.documentation))
    return rows


# -- sockwarden.toml(5) ---------------------------------------------------------------------------------------------


def config_entries() -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Return the tables of ``sockwarden.toml``, each with its keys as written and the paragraphs above them."""
    tables: list[tuple[str, list[tuple[str, list[str]]]]] = []
    notes: list[str] = []
    for line in (ROOT / "packaging/etc/sockwarden.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            tables.append((line.strip("[]"), []))
            notes = []
        elif line.startswith("# ") or line == "#":
            notes.append(line[2:])
        elif line.startswith("#"):
            tables[-1][1].append((line[1:], _paragraphs(notes)))
            notes = []
    return tables


def _paragraphs(lines: Iterable[str]) -> list[str]:
    """Join lines into paragraphs; an indented line begins one of its own."""
    found: list[str] = []
    for line in lines:
        if not found or line.startswith("  "):
            found.append(" ".join(line.split()))
        else:
            found[-1] += f" {line.strip()}"
    return found


def config_page() -> str:
    """Return sockwarden.toml(5)."""
    out = [_title("sockwarden.toml", 5), _section("NAME")]
    out += ["sockwarden.toml \\- configuration of the sockwarden daemon\n"]
    out += [_section("SYNOPSIS"), "/etc/sockwarden/sockwarden.toml\n", _section("DESCRIPTION")]
    out.append(
        _paragraph(
            "A TOML file. Every key may be left out; an empty file is a valid configuration. Keys are shown with "
            "their defaults, but for audit.file and the entry of registry.mirrors, which are examples. An unknown key "
            "is a fault. The daemon reads this file when it starts; sockwarden check shows every fault of it."
        )
        + "\n"
    )
    for table, keys in config_entries():
        out.append(_section(f"[{table}]"))
        out += [_item(key, *notes) for key, notes in keys]
    out.append(_see_also("sockwarden(8)", "sockwarden-policy(5)"))
    return "".join(out)


# -- sockwarden-policy(5) -------------------------------------------------------------------------------------------


def _members(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in schema.get("properties", {}).items():
        name = f"{path}.{key}" if path else key
        yield name, value
        yield from _members(value, name)


def _about(value: dict[str, Any]) -> str:
    """Return what a schema says of one key."""
    said = [value.get("description", ""), value.get("items", {}).get("description", "")]
    if "enum" in value:
        said.append(f"One of {', '.join(map(json.dumps, value['enum']))}.")
    if "const" in value:
        said.append(f"Always {json.dumps(value['const'])}.")
    if "default" in value:
        said.append(f"Default: {json.dumps(value['default'])}.")
    return " ".join(text for text in said if text)


def policy_page() -> str:
    """Return sockwarden-policy(5)."""
    schema = json.loads((PACKAGE / "policy/schema.json").read_text(encoding="utf-8"))
    out = [_title("sockwarden-policy", 5), _section("NAME")]
    out += ["admin\\-settings.json \\- the policy of sockwarden\n", _section("SYNOPSIS")]
    out += [
        "/etc/sockwarden/admin\\-settings.json\n",
        _section("DESCRIPTION"),
        _paragraph(schema["description"]) + "\n",
    ]
    out.append(_section("KEYS"))
    out += [_item(name, _about(value)) for name, value in _members(schema) if name != "$schema"]
    out += [_section("COMMAND NAMES"), _paragraph(", ".join(sorted(COMMAND_NAMES)) + ".") + "\n"]
    out += [_section("UNSUPPORTED COMMAND NAMES"), _paragraph(", ".join(sorted(UNSUPPORTED)) + ".") + "\n"]
    out.append(_see_also("sockwarden(8)", "sockwarden.toml(5)"))
    return "".join(out)


# -- docs -----------------------------------------------------------------------------------------------------------

_DAY: Final = 86400
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_WRITTEN: Final = "<!-- Written by packaging/man/generate.py: change its sources, not this file. -->\n\n"


def limits_page() -> str:
    """Return docs/limits.md: every limit with its value and its reason, as the code has them."""
    rows = [f"| `{name}` | {_shown(name, value)} | {reason} |\n" for name, value, reason in limits()]
    return (
        f"{_WRITTEN}# Limits\n\nEvery limit is a named constant of the code, with its reason beside it. None of them "
        "can be configured in this version.\n\n| constant | value | reason |\n|---|---|---|\n" + "".join(rows)
    )


def limits() -> Iterator[tuple[str, Any, str]]:
    """Yield (module and name, value, reason) of every public limit that has its reason beside it."""
    for package in LIMITED:
        for path in sorted([*(PACKAGE / package).glob("*.py"), *PACKAGE.glob(f"{package}.py")]):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            body = ast.parse(path.read_text(encoding="utf-8")).body
            for node, following in pairwise(body):
                name = node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""
                if _LIMIT.fullmatch(name) and isinstance(following, ast.Expr):
                    value = getattr(importlib.import_module(f"sockwarden.{module}"), name)
                    yield f"{module}.{name}", value, _cell(ast.literal_eval(following.value))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return (" to " if "LIMITS" in name else ", ").join(_shown(name, each) for each in value)
    if "SECONDS" in name or "DELAYS" in name:
        return f"{value:,g} s" if value < _DAY else f"{value / _DAY:g} days"
    if "BYTES" not in name or value % 1024:
        return f"{value:,}"
    power = min(int(math.log2(value & -value)) // 10, int(math.log2(value)) // 10)
    return f"{value >> 10 * power:,} {_UNITS[power]}"


def commands_page() -> str:
    """Return docs/commands.md: what each name of a command list blocks and opens."""
    out = [
        f"{_WRITTEN}# Commands and their endpoints\n\n",
        "What the names of `commandList.commands` stand for. ",
        "A **deny** list blocks the endpoints of the second column. ",
        "An **allow** list opens those of the second and the third. These always pass: ",
        ", ".join(f"`{key}`" for key in sorted(ALWAYS)),
        ".\n\nTwo commands that share an endpoint are blocked together. ",
        "Aliases of `docker --help` (`container ls`, `image rm`, …) mean what the command means that they stand for, ",
        "and the word of a management command (`swarm`, `config`, …) means all of its subcommands. ",
        "Rows in italics are endpoints that only other clients than the docker CLI use, in their group.\n\n",
        "| command | blocked by a deny list | also opened by an allow list | groups |\n|---|---|---|---|\n",
    ]
    for command in COMMANDS:
        if is_unsupported(command.label):
            continue
        name = f"`{command.name}`" if command.name else f"*{command.label}*"
        out.append(
            f"| {name} | {_keys(command.characteristic)} | {_keys(command.supporting)} "
            f"| {', '.join(f'`{group}`' for group in command.groups)} |\n"
        )
    out.append(f"\nWildcards: {', '.join(f'`{name}`' for name in WILDCARDS)}.\n")
    out.append(f"\nNot supported, as in Docker Desktop: {', '.join(f'`{name}`' for name in sorted(UNSUPPORTED))}.\n")
    return "".join(out)


def _keys(keys: Iterable[str]) -> str:
    return "<br>".join(f"`{key}`" for key in sorted(keys)) or "none"


def completion() -> str:
    """Return the completion for bash."""
    commands = _subcommands()
    general = " ".join(option for action in _arguments(build_parser()) for option in action.option_strings)
    cases = []
    for name, (_, parser) in commands.items():
        parsers = [parser, *(each for _, each in _below(parser).values())]
        known = (option for each in parsers for action in _arguments(each) for option in action.option_strings[-1:])
        chosen = [
            str(word) for action in _arguments(parser) if not action.option_strings for word in action.choices or ()
        ]
        words = " ".join(dict.fromkeys((*chosen, *_below(parser), *known)))
        cases.append(f"\t{name}) words='{words} --help'{' files=no' if chosen else ''} ;;\n")
    return (
        "# bash completion for sockwarden. Written by packaging/man/generate.py: change its sources, not this file.\n\n"
        "_sockwarden() {\n\tlocal current=${COMP_WORDS[COMP_CWORD]} command='' files=yes word words\n"
        '\tfor word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do\n'
        f"\t\tcase $word in {'|'.join(commands)}) command=$word; break ;; esac\n\tdone\n"
        f"\tcase $command in\n\t'') words='{' '.join(commands)} {general} --help' ;;\n{''.join(cases)}\tesac\n"
        "\tif [[ -n $command && $files == yes && $current != -* ]]; then\n"
        '\t\tmapfile -t COMPREPLY < <(compgen -f -- "$current")\n\telse\n'
        '\t\tmapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")\n\tfi\n}\n'
        "complete -o filenames -F _sockwarden sockwarden\n"
    )


PAGES: Final[dict[str, Callable[[], str]]] = {
    "packaging/man/sockwarden.8": command_page,
    "packaging/man/sockwarden.toml.5": config_page,
    "packaging/man/sockwarden-policy.5": policy_page,
    "packaging/completions/sockwarden.bash": completion,
    "docs/limits.md": limits_page,
    "docs/commands.md": commands_page,
}
"""Every file that this program writes."""


def main() -> int:
    """Write every page that is not up to date."""
    for name, page in PAGES.items():
        path, text = ROOT / name, re.sub(r"[ \t]+\n", "\n", page())
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{name}: written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
