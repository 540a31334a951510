"""``sockwarden status``: one screen on what the running agent guards, and what is still open."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from sockwarden.cli.imagewords import unresolved_words
from sockwarden.errors import ExitCode
from sockwarden.service.control import ask_agent
from sockwarden.service.sources import read_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sockwarden.cli.screen import Screen

SHOWN_PATHS: Final = 3
"""Of paths without a socket: most hosts have none of the engines that are known."""


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """Ask the agent; exit code 0 when the host is protected, 3 when something is open, 69 when nobody answers."""
    config = read_config(arguments.config)
    status = asyncio.run(ask_agent(os.path.join(config.daemon.run_dir, "control.sock"), "status"))
    if arguments.json:
        screen.json(status)
    else:
        _show(status, screen)
    return ExitCode.OK if status["protected"] else ExitCode.DENIED


def guard_lines(guard: dict[str, Any]) -> Iterator[str]:
    """Yield what a status says of the guard: the rung, the sockets, and a line for every rung."""
    words = [
        "blocking" if guard["blocking"] else "not a wall",
        f"pinned as {guard['pinned']}" if guard["pinned"] else "not pinned",
    ]
    canary = guard.get("canary")
    if canary is not None:
        words.append(f"canary {'held' if canary['held'] else 'NOT held'} {canary['age_seconds']:.0f} s ago")
    yield f"guard     {guard['rung']}: {', '.join(words)}"
    seen = ", ".join(f"{source} {count} times" for source, count in guard["identity"].items())
    yield f"identity  {seen or 'nobody has connected yet'}"
    for socket in guard["sockets"]:
        yield f"guarded   {socket['path']} ({socket['class']}), inode {socket['inode']}"
    if guard["waiting"]:
        shown, more = guard["waiting"][:SHOWN_PATHS], len(guard["waiting"]) - SHOWN_PATHS
        yield f"waiting   no socket yet: {', '.join(shown)}{f' and {more} more (--json)' if more > 0 else ''}"
    for row in guard["rungs"]:
        remedy = f"; remedy: {row['remedy']}" if row["remedy"] else ""
        yield f"rung      {row['name']}: {row['state']}: {row['reason']}{remedy}"


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
    for line in guard_lines(guard):
        screen.print(line)
    identity, life = status["identity"], status["life"]
    screen.print(f"clients   known by {identity['source']}: {identity['why']}")
    screen.print(f"life      {life['source']}{': ' if life['why'] else ''}{life['why']}")
    for image in status["images"]:
        if image["age_seconds"] is None:
            screen.print(f"image     {image['entry']}: {unresolved_words(image)}")
            continue
        age = f"{image['age_seconds']:.0f} s old"
        source = f" by {image['source']}" if image["source"] else ""
        grace = f"; {len(image['grace'])} earlier in grace time" if image["grace"] else ""
        error = f"; {image['error']}" if image["error"] else ""
        screen.print(f"image     {image['entry']}: {image['digests']} digests{source}, {age}{grace}{error}")
    answers = status["answers"]
    if answers["lock"] is not None:
        screen.print(f"lock      {answers['lock']['file']}, written {answers['lock']['created']}; no registry is asked")
    if answers["cache"] is not None and answers["cache"]["error"]:
        screen.print(f"kept      {answers['cache']['error']}")
    for fault in status["registries"]["faults"]:
        screen.print(f"registry  {fault}")
    for host, one in status["registries"]["limits"].items():
        screen.print(f"registry  {host}: {one['remaining']} of {one['limit']} pulls left")
    screen.print(f"metrics   {status['metrics'] or 'off'}")
    screen.print(f"audit     {status['audit']['file'] or 'standard output'}, {status['audit']['lost']} lost")
