"""``sockwarden reload``: let the running agent read its policy again, and say how it went."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from sockwarden.errors import ExitCode
from sockwarden.service.control import ask_agent
from sockwarden.service.sources import read_config, read_policy

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Check the policy here, so that its faults are shown here; then let the agent load it."""
    config = read_config(arguments.config)
    read_policy(config.policy.file)
    status = asyncio.run(ask_agent(os.path.join(config.daemon.run_dir, "control.sock"), "reload"))
    policy = status["policy"]
    if policy["last_failure"]:
        screen.error(policy["last_failure"])
        return ExitCode.CONFIG
    screen.print(f"generation {policy['generation']} is in force ({policy['file']})")
    return ExitCode.OK
