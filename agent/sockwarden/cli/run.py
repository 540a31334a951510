"""``sockwarden run``: the daemon in the foreground."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from sockwarden.config import GuardMode, RequiredRung
from sockwarden.errors import ExitCode, PermissionNeededError, SockwardenError
from sockwarden.service.sources import read_config

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen
    from sockwarden.config import GuardConfig


def main(arguments: argparse.Namespace, screen: Screen) -> int:  # noqa: ARG001  # one signature for all commands
    """Run the agent until SIGTERM; one line on standard error says when clients are served."""
    from sockwarden.service.app import run_agent  # noqa: PLC0415  # the other commands start faster without

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="sockwarden: %(message)s")
    if os.geteuid() != 0:
        raise PermissionNeededError("the agent must run as root: it moves the engine's socket and looks into /proc")
    config = read_config(arguments.config)
    config = dataclasses.replace(config, guard=_overridden(config.guard, arguments.guard, arguments.guard_required))
    run_agent(config, _ready)
    return ExitCode.OK


def _overridden(guard: GuardConfig, mode: str | None, required: str | None) -> GuardConfig:
    """Return ``[guard]`` with what the command line says in its place."""
    if mode is not None:
        guard = dataclasses.replace(guard, mode=GuardMode(mode))
    if required is not None:
        guard = dataclasses.replace(guard, required=RequiredRung(required))
    if guard.contradiction:
        raise SockwardenError(guard.contradiction, remedy="use --guard auto, or a lower --guard-required")
    return guard


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
