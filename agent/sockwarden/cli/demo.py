"""``sockwarden demo``: the main job on a throw-away engine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sockwarden.errors import PermissionNeededError

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Play the demonstration; exit code 1 when a step does not give what it must."""
    from sockwarden.demo import play  # noqa: PLC0415  # the other commands start faster without

    if os.geteuid() != 0:
        raise PermissionNeededError("the demonstration starts an engine of its own, for which it must be root")
    color = screen.paint("x", "bold", sys.stdout) != "x"
    return play.run(color, arguments.keep)
