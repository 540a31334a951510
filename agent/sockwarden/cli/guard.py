"""``sockwarden guard``: what of the guard is pinned, and the end of it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from sockwarden.errors import EngineError, ExitCode, PermissionNeededError, SockwardenError
from sockwarden.service.control import ask_agent
from sockwarden.service.sources import read_config_if_any

if TYPE_CHECKING:
    import argparse

    from sockwarden.cli.screen import Screen
    from sockwarden.config import Config
    from sockwarden.doctor.facts import Keeper
    from sockwarden.kernel.bpf.pins import PinnedSet


def main(arguments: argparse.Namespace, screen: Screen) -> int:
    """List what is pinned, or remove it."""
    if os.geteuid() != 0:
        raise PermissionNeededError("only root sees what is pinned in bpffs")
    config = read_config_if_any(arguments.config)
    return _status(config, arguments, screen) if arguments.action == "status" else _unload(config, arguments, screen)


def _status(config: Config, arguments: argparse.Namespace, screen: Screen) -> int:
    # The other commands start faster without.
    from sockwarden.doctor.pinned import keeper_of  # noqa: PLC0415
    from sockwarden.kernel.bpf import pins  # noqa: PLC0415

    found = pins.survey(config.guard.pin_dir) if config.guard.pin_dir else ()
    agent = _agent_pid(config)
    if arguments.json:
        sets = [{**_as_json(one), "policy": _policy(keeper_of(one))} for one in found]
        screen.json({"pin_dir": config.guard.pin_dir, "agent": agent, "sets": sets})
        return ExitCode.OK
    if not config.guard.pin_dir:
        screen.print('nothing is pinned: guard.pin_dir is ""')
        return ExitCode.OK
    holder = f"pid {agent}" if agent else "no agent runs"
    screen.print(f"{config.guard.pin_dir}: {len(found)} pinned set{'' if len(found) == 1 else 's'} ({holder})")
    for one in found:
        screen.print(f"  {screen.paint(one.name, 'bold')}: rung {one.rung}, build {one.build}{_peculiarity(one)}")
        keeper = keeper_of(one)
        if keeper is not None:
            screen.print(f"    policy: {keeper}")
        screen.print(f"    programs: {', '.join(one.links) or 'none: it is not whole'}")
        screen.print(f"    maps: {', '.join(one.maps) or 'none: it is not whole'}")
    return ExitCode.OK


def _unload(config: Config, arguments: argparse.Namespace, screen: Screen) -> int:
    from sockwarden.kernel.bpf import pins  # noqa: PLC0415  # the other commands start faster without

    agent = _agent_pid(config)
    if agent and not arguments.force:
        raise SockwardenError(
            f"the agent (pid {agent}) runs, and the guard is its own",
            remedy="stop it first; with --force the pins go now, and the guard ends with the agent",
        )
    found = pins.unload(config.guard.pin_dir, force=arguments.force) if config.guard.pin_dir else ()
    if arguments.json:
        screen.json({"pin_dir": config.guard.pin_dir, "agent": agent, "removed": [_as_json(one) for one in found]})
        return ExitCode.OK
    if not found:
        screen.print(f"nothing was pinned in {config.guard.pin_dir or 'bpffs: guard.pin_dir is empty'}")
        return ExitCode.OK
    for one in found:
        screen.print(f"removed {one.name}: rung {one.rung}, {len(one.links)} programs, {len(one.maps)} maps")
    if agent:
        screen.print(f"{screen.paint('open:', 'yellow')} when the agent (pid {agent}) ends, its guard ends with it")
    else:
        screen.print(
            f"{screen.paint('open:', 'yellow')} no connection to the sockets that were guarded is refused by the "
            "kernel any more; a container that reaches one has the engine's power"
        )
    return ExitCode.OK


def _agent_pid(config: Config) -> int:
    """Return the number of the agent that answers, 0 if none does."""
    try:
        return int(asyncio.run(ask_agent(os.path.join(config.daemon.run_dir, "control.sock"), "status"))["pid"])
    except EngineError:
        return 0


def _policy(keeper: Keeper | None) -> dict[str, Any] | None:
    return None if keeper is None else {"agent": keeper.pid, "runs": keeper.runs, "generation": keeper.generation}


def _peculiarity(one: PinnedSet) -> str:
    if not one.readable:
        return ", of another version"
    return ", replaced and still in force" if one.aside else ""


def _as_json(one: PinnedSet) -> dict[str, Any]:
    return {
        "name": one.name,
        "rung": one.rung,
        "build": one.build,
        "abi": one.abi,
        "aside": one.aside,
        "programs": list(one.links),
        "maps": list(one.maps),
    }
