"""Gathers the facts about this host, in one go. Changes nothing; what cannot be found out is said.

Never: an exception for what the host lacks. That is what the facts are about.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sockwarden.doctor import agent, containers, engines, machine, pinned, sockets
from sockwarden.doctor.facts import Facts, Untold
from sockwarden.engine.client import EngineClient
from sockwarden.identity.paths import HostPaths
from sockwarden.kernel import probes
from sockwarden.policy.mounts import GuardedSockets
from sockwarden.policy.paths import Unresolvable

if TYPE_CHECKING:
    from sockwarden.config import Config
    from sockwarden.doctor.facts import AgentFact, ContainerFact, SocketFact, Told

PUBLIC_KIND = "public"
"""The class of the gateway's own socket in a status."""


async def examine(config: Config, *, try_rungs: bool) -> Facts:
    """Return the facts; with ``try_rungs`` every rung is put in force for its canary and taken down again."""
    features = probes.survey()
    told = await agent.ask(config)
    own = () if isinstance(told, Untold) else told.sockets
    found = await asyncio.to_thread(sockets.find, own, config.engine.socket)
    engine_sockets = [fact for fact in found if fact.kind != PUBLIC_KIND]
    return Facts(
        agent=told,
        features=features,
        rows=await asyncio.to_thread(machine.rows, told, features, try_rungs=try_rungs),
        sockets=found,
        pins=pinned.find(config.guard.pin_dir),
        engines=await asyncio.to_thread(engines.find, engine_sockets, 0 if isinstance(told, Untold) else told.pid),
        containers=await _containers(config, told, engine_sockets),
        holders=await asyncio.to_thread(sockets.held_by_containers, engine_sockets),
    )


async def _containers(
    config: Config, told: AgentFact | Untold, engine_sockets: list[SocketFact]
) -> Told[ContainerFact] | Untold:
    paths = HostPaths()
    path = config.engine.socket if isinstance(told, Untold) else told.engine_socket
    public = [] if isinstance(told, Untold) else [told.public_socket]
    # No mount of the engine's leads to what only another mount namespace shows.
    here = sorted({fact.path for fact in engine_sockets if not fact.path.startswith("/proc/")})
    try:
        shown = GuardedSockets.at(public, here, paths)
    except Unresolvable as error:
        return Untold(f"the path of a socket cannot be resolved: {error}")
    engine = EngineClient(path)
    try:
        return await containers.find(engine, shown, config.guard.pin_dir, paths)
    finally:
        await engine.close()
