"""``sockwarden status``: one screen on what the running agent guards, and what is still open."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from sockwarden.errors import ExitCode
from sockwarden.service.control import ask_agent
from sockwarden.service.sources import read_config

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Ask the agent; exit code 0 when the host is protected, 3 when something is open, 69 when nobody answers."""
    config = read_config(arguments.config)
    status = asyncio.run(ask_agent(os.path.join(config.daemon.run_dir, "control.sock"), "status"))
    if arguments.json:
        screen.json(status)
    else:
        _show(status, screen)
    return ExitCode.OK if status["protected"] else ExitCode.DENIED


def _show(status: dict[str, Any], screen: Screen) -> None:
    protected = screen.paint("protected", "green") if status["protected"] else screen.paint("not protected", "red")
    screen.print(f"{protected} · sockwarden {status['version']}, pid {status['pid']}, mode {status['mode']}")
    for problem in status["problems"]:
        screen.print(f"  {screen.paint('open:', 'yellow')} {problem}")
    policy, guard, gateway, engine = status["policy"], status["guard"], status["gateway"], status["engine"]
    names = ", ".join(policy["commands"]["names"]) or "nothing"
    screen.print(f"policy    {policy['file']}, generation {policy['generation']}, sha256 {policy['sha256'][:12]}")
    screen.print(f"commands  {policy['commands']['type']} {names}; host clients: {status['clients']['host']}")
    screen.print(f"gateway   {gateway['listen']} ({gateway['takeover']}), {gateway['open_connections']} connections")
    screen.print(f"engine    {engine['socket']}, {engine['server'] if engine['up'] else engine['error']}")
    screen.print(f"guard     {guard['rung']}{'' if guard['blocking'] else ' (not a wall)'}")
    for row in guard["rungs"]:
        remedy = f"; {row['remedy']}" if row["remedy"] else ""
        screen.print(f"          {'*' if row['in_force'] else '-'} {row['name']}: {row['reason']}{remedy}")
    for image in status["images"]:
        age = "not resolved as a whole" if image["age_seconds"] is None else f"{image['age_seconds']:.0f} s old"
        error = f"; {image['error']}" if image["error"] else ""
        screen.print(f"image     {image['entry']}: {image['digests']} digests, {age}{error}")
    screen.print(f"metrics   {status['metrics'] or 'off'}")
    screen.print(f"audit     {status['audit']['file'] or 'standard output'}, {status['audit']['lost']} lost")
