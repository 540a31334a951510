"""What the agent says of itself: the answer to ``sockwarden status``, and the line at its start."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from sockwarden import __version__
from sockwarden.errors import EngineError
from sockwarden.service.digests import image_rows, sources_of
from sockwarden.service.identification import identity_of, life_of
from sockwarden.service.standing import gaps_of, standing_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwarden.config import Config
    from sockwarden.engine.client import EngineClient
    from sockwarden.gateway.server import GatewayServer
    from sockwarden.gateway.takeover import SocketTakeover
    from sockwarden.images.keeper import Keeper
    from sockwarden.images.registry import RegistryClient
    from sockwarden.kernel.guard import Guard
    from sockwarden.observe.exposition import MetricsServer
    from sockwarden.observe.metrics import Metrics
    from sockwarden.observe.sink import AuditSink
    from sockwarden.service.generations import Generations
    from sockwarden.service.hostservices import HostServices
    from sockwarden.service.pulse import GuardWatch
    from sockwarden.service.wards import Wards


class Running(Protocol):
    """The parts of a running agent that a status tells about; see ``service.app.Agent``."""

    config: Config
    started_at: float
    engine: EngineClient
    exposition: MetricsServer | None
    generations: Generations
    guard: Guard
    keeper: Keeper | None
    metrics: Metrics
    registry: RegistryClient
    server: GatewayServer | None
    services: HostServices
    sink: AuditSink
    takeover: SocketTakeover
    wards: Wards
    watch: GuardWatch


async def status_of(agent: Running, *, with_images: bool = True) -> dict[str, Any]:
    """Return the state of ``agent`` as JSON values. ``protected`` is true only if nothing is known to be open.

    The rows of ten thousand images take 5 MiB that the interpreter keeps: who needs them not leaves them out.
    """
    config, generation = agent.config, agent.generations.current
    try:
        server = (await agent.engine.ping()).server
        engine: dict[str, Any] = {"up": True, "server": server, "ports": await _ports(agent.engine)}
    except EngineError as error:
        engine = {"up": False, "error": str(error)}
    enabled = generation is not None and generation.enabled
    holds = agent.takeover.holds()
    problems = _problems(agent, enabled=enabled, holds=holds, engine_up=bool(engine["up"]))
    problems += [f"the engine's API is on TCP, past the gateway: {address}" for address in engine.get("ports", ())]
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime_seconds": round(time.time() - agent.started_at, 1),
        "protected": not problems,
        "problems": problems,
        "mode": config.policy.mode.value,
        "policy": {
            "file": config.policy.file,
            "enabled": enabled,
            "generation": generation.number if generation else 0,
            "sha256": generation.document.sha256 if generation else "",
            "loaded_at": agent.generations.loaded_at,
            "reload_failures": agent.generations.failures,
            "last_failure": agent.generations.last_failure,
            "commands": {
                "type": generation.commands.kind if generation else "",
                "names": list(generation.commands.names) if generation else [],
            },
        },
        "gateway": {
            "listen": agent.takeover.public,
            "takeover": config.gateway.takeover.value,
            "holds": holds,
            "open_connections": agent.server.open_connections if agent.server else 0,
        },
        "engine": {"socket": agent.takeover.engine_path, **engine},
        "guard": standing_of(agent),
        "clients": {"host": config.clients.host.value},
        "identity": identity_of(agent),
        "life": life_of(agent),
        "images": image_rows(agent) if with_images else [],
        "answers": sources_of(agent),
        "registries": _registries(agent.registry),
        "metrics": _metrics_address(agent),
        "audit": {"file": config.audit.file, "lost": agent.sink.lost},
    }


async def _ports(engine: EngineClient) -> list[str]:
    """Return what the engine says of its ports; one that is too busy for it is up all the same."""
    try:
        return ports_of(await engine.info())
    except EngineError:
        return []


def ports_of(info: Mapping[str, Any]) -> list[str]:
    """Return the addresses on which the engine says that its API can be had without a client's certificate.

    Of those with certificates it does not warn (moby: daemon/info.go, fillAPIInfo); doctor finds them.
    """
    warnings = info.get("Warnings")
    texts = (text for text in warnings if isinstance(text, str)) if isinstance(warnings, list) else ()
    return [found[1] for text in texts if (found := _ON_TCP.search(text))]


_ON_TCP: Final = re.compile(r"API is accessible on (https?://[^\s]+) without")


def _registries(client: RegistryClient) -> dict[str, Any]:
    """Return how the questions to registries went, and what is wrong with the credentials for them."""
    return {
        "requests": {outcome.value: count for outcome, count in client.requests.items()},
        "seconds": round(client.seconds, 3),
        "cache_hits": client.cache_hits,
        "limits": {
            host: {"limit": one.limit, "remaining": one.remaining, "window_seconds": one.window_seconds}
            for host, one in client.limits.items()
        },
        "faults": list(client.faults),
    }


def _metrics_address(agent: Running) -> str:
    exposition = agent.exposition
    if exposition is None:
        return ""
    host = f"[{exposition.host}]" if ":" in exposition.host else exposition.host
    return f"http://{host}:{exposition.port}/metrics"


def _problems(agent: Running, *, enabled: bool, holds: bool, engine_up: bool) -> list[str]:
    found = []
    if not enabled:
        found.append("the policy is switched off (enhancedContainerIsolation.value)")
    if agent.config.policy.mode.value == "audit":
        found.append("audit mode: refusals are recorded, not carried out")
    if not holds:
        found.append(f"{agent.takeover.public} does not lead to the gateway")
    if not engine_up:
        found.append("the engine does not answer")
    if not agent.takeover.swaps:
        found.append(f"the engine's own path {agent.takeover.engine_path} stays open to whoever can reach it")
    found += gaps_of(agent)
    if agent.generations.last_failure:
        found.append("the policy file has faults; an older generation is in force")
    return found
