"""``sockwarden doctor``: what guards this host, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING, Final

from sockwarden.errors import ExitCode, PermissionNeededError
from sockwarden.service.sources import read_config_if_any

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen

MAX_WIDTH: Final = 120
"""Longer lines are hard to read, whatever the screen has."""


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Examine the host; exit code 0 when nothing is open, 1 when something is, or cannot be told."""
    # The other commands start faster without.
    from sockwarden.doctor.diagnosis import diagnose  # noqa: PLC0415
    from sockwarden.doctor.examination import examine  # noqa: PLC0415
    from sockwarden.doctor.report import as_json, text_lines  # noqa: PLC0415

    if os.geteuid() != 0:
        raise PermissionNeededError(
            "doctor must be root: it looks for who holds a connection, and asks the engine and the agent"
        )
    config = read_config_if_any(arguments.config)
    diagnosis = diagnose(asyncio.run(examine(config, try_rungs=arguments.try_rungs)))
    if arguments.json:
        screen.json(as_json(diagnosis))
    else:
        width = min(shutil.get_terminal_size((MAX_WIDTH, 0)).columns, MAX_WIDTH)
        for line in text_lines(diagnosis, screen.paint, width):
            screen.print(line)
    return ExitCode.FAILURE if diagnosis.is_open else ExitCode.OK
