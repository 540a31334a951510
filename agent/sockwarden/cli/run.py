"""``sockwarden run``: the daemon in the foreground."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from sockwarden.config import GuardConfig, GuardMode
from sockwarden.errors import ExitCode, PermissionNeededError, SockwardenError
from sockwarden.service.sources import read_config

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen


def main(arguments: argparse.Namespace, screen: Screen) -> int:  # noqa: ARG001  # one signature for all commands
    """Run the agent until SIGTERM; one line on standard error says when clients are served."""
    from sockwarden.service.app import run_agent  # noqa: PLC0415  # the other commands start faster without

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="sockwarden: %(message)s")
    if os.geteuid() != 0:
        raise PermissionNeededError("the agent must run as root: it moves the engine's socket and looks into /proc")
    config = read_config(arguments.config)
    if arguments.guard is not None:
        try:
            config = dataclasses.replace(config, guard=GuardConfig(GuardMode(arguments.guard)))
        except ValueError as error:
            rungs = ", ".join(mode.value for mode in GuardMode)
            raise SockwardenError(f"{arguments.guard!r} is no guard rung", remedy=f"use one of {rungs}") from error
    run_agent(config, _ready)
    return ExitCode.OK


def _ready(status: dict[str, Any]) -> None:
    policy, gateway, guard = status["policy"], status["gateway"], status["guard"]
    print(
        f"sockwarden: ready; guards {gateway['listen']} in front of {status['engine']['socket']}, "
        f"policy generation {policy['generation']} ({status['mode']}), guard {guard['rung']}, "
        f"metrics {status['metrics'] or 'off'}",
        file=sys.stderr,
        flush=True,
    )
    for problem in status["problems"]:
        print(f"sockwarden: open: {problem}", file=sys.stderr, flush=True)
