"""``sockwarden check FILE``: every fault of a policy or configuration file in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockwarden.errors import DocumentError, ExitCode
from sockwarden.policy.commandlist import CommandRules
from sockwarden.service.sources import read_config, read_policy

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen
    from sockwarden.policy.document import PolicyDocument


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Check a file; exit code 0 without a fault, 78 with one."""
    try:
        answer = _check_config(arguments.file) if arguments.file.endswith(".toml") else _check_policy(arguments.file)
    except DocumentError as error:
        if not arguments.json:
            raise
        faults = [{"line": f.line, "column": f.column, "message": f.message, "remedy": f.remedy} for f in error.faults]
        screen.json({"file": arguments.file, "valid": False, "faults": faults, "notices": []})
        return error.exit_code
    if arguments.json:
        screen.json(answer)
        return ExitCode.OK
    for notice in answer["notices"]:
        screen.print(f"{screen.paint('notice:', 'yellow')} {notice}")
    screen.print(f"{arguments.file}: {screen.paint('valid', 'green')}; {answer['summary']}")
    return ExitCode.OK


def _check_config(file: str) -> dict[str, Any]:
    config = read_config(file)
    summary = (
        f"takes {config.gateway.listen} by {config.gateway.takeover.value}, "
        f"policy {config.policy.file} ({config.policy.mode.value})"
    )
    return {"file": file, "valid": True, "faults": [], "notices": [], "summary": summary}


def _check_policy(file: str) -> dict[str, Any]:
    document = read_policy(file)
    rules = CommandRules.compile(document.commands.kind, document.commands.names)
    names = ", ".join(document.commands.names) or "nothing"
    summary = (
        f"{_images(document)}, derived images {'allowed' if document.allow_derived else 'refused'}, "
        f"command list: {document.commands.kind} {names}"
        if document.enabled
        else "switched off: nothing is enforced"
    )
    notices = [*map(str, document.notices), *(f"{file}: {note}" for note in rules.notes)]
    return {"file": file, "valid": True, "faults": [], "notices": notices, "summary": summary}


def _images(document: PolicyDocument) -> str:
    """Return what may use the socket, by number, with what is found out image by image."""
    lazy = sum(not entry.pattern.is_single for entry in document.images if not entry.pattern.is_everything)
    words = [f"{len(document.images)} image entries" + (f" ({lazy} by pattern)" if lazy else "")]
    if document.local_images:
        words.append(f"{len(document.local_images)} local images by id")
    return ", ".join(words)
