"""The composition root: builds every part, puts it in force in order, and takes it down in reverse.

Order of a start: policy, metrics, kernel guard, gateway. A part that cannot be had stops the start, with what was
taken given back; the public socket is the last thing touched and the first to be returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sockwarden import __version__, abi
from sockwarden.config import Action, GuardMode
from sockwarden.dockerapi.commands import COMMAND_LABELS
from sockwarden.engine.client import EngineClient
from sockwarden.gateway.admission import SocketAdmission
from sockwarden.gateway.inspection import BodyInspection
from sockwarden.gateway.ports import Wiring
from sockwarden.gateway.recorder import DecisionRecorder
from sockwarden.gateway.server import GatewayServer
from sockwarden.gateway.takeover import SocketTakeover
from sockwarden.gateway.upstream import Upstream
from sockwarden.identity.container import ContainerResolver
from sockwarden.identity.paths import HostPaths
from sockwarden.identity.peer import PROCFS
from sockwarden.images.holdings import Holdings
from sockwarden.images.keeper import Keeper
from sockwarden.images.resolver import Resolver
from sockwarden.images.store import AnswerStore
from sockwarden.kernel.bpf import pins
from sockwarden.kernel.guard import Guard, GuardSettings
from sockwarden.kernel.life import cgrouptree
from sockwarden.observe.audit import AuditLog
from sockwarden.observe.exposition import MetricsServer, serve
from sockwarden.observe.metrics import Metrics, registry_of
from sockwarden.observe.process import ProcessCache
from sockwarden.observe.sink import AuditSink
from sockwarden.policy.mounts import GuardedSockets
from sockwarden.service.containerlife import ContainerLife
from sockwarden.service.control import ControlServer
from sockwarden.service.digests import digests_of, refresh_digests
from sockwarden.service.generations import Generations
from sockwarden.service.handovers import Handovers
from sockwarden.service.hostservices import HostServices
from sockwarden.service.imagewatch import ImageWatch, image_metrics
from sockwarden.service.pulse import Extras, GuardWatch, Pulse, guard_metrics
from sockwarden.service.registries import registry_client, registry_settings
from sockwarden.service.sentry import GUARD_KINDS, Sentry
from sockwarden.service.standing import last_words_of
from sockwarden.service.status import status_of
from sockwarden.service.verdicts import KernelVerdicts
from sockwarden.service.wards import Wards

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockwarden.abi import CgroupRecord, ProcessRecord
    from sockwarden.config import Config
    from sockwarden.images.imagelist import ImageList
    from sockwarden.kernel.connections.holders import Scan
    from sockwarden.model import Client
    from sockwarden.policy.decide import Generation

WELL_KNOWN: Final = ("/run/docker.sock", "/var/run/docker.sock")
"""Where an engine's socket is on every distribution: mounting it is a socket mount, whatever we are in front of."""

MAX_FILES: Final = 65536
"""Descriptors to ask for: two per client, and a margin."""

_log = logging.getLogger(__name__)


class Agent:
    """One running sockwarden."""

    def __init__(self, config: Config) -> None:
        """Build the parts; nothing is opened or taken before :meth:`run`."""
        self.config = config
        self.started_at = time.time()
        self.takeover = SocketTakeover(
            config.public_socket,
            config.engine.socket,
            config.daemon.run_dir,
            config.gateway.takeover,
            config.second_socket,
        )
        self.upstream = Upstream(lambda: self.takeover.engine_path)
        self.engine = EngineClient(lambda: self.takeover.engine_path)
        self.metrics = Metrics(__version__, COMMAND_LABELS, GUARD_KINDS, guard_metrics(), image_metrics())
        self.sink = AuditSink(config.audit.file or "-")
        self.processes = ProcessCache(PROCFS.start_ticks)
        self.audit = AuditLog(self.sink, self.processes, config.engine.socket)
        self.resolver = ContainerResolver(self.engine)
        self.registry = registry_client(config.registry)
        self.digests = Resolver(self.registry, grace_seconds=config.registry.grace_seconds)
        self.holdings = Holdings(self.digests)
        self.images = ImageWatch(self.digests, self.metrics.images)
        self.keeper: Keeper | None = None
        if config.daemon.state_dir and not config.policy.lock:
            store = AnswerStore(Path(config.daemon.state_dir), registry_settings(config.registry))
            self.keeper = Keeper(store, self.digests, self.holdings)
        self.sentry = Sentry(self.resolver, self.processes, self.metrics, self.audit)
        settings = GuardSettings(
            config.guard.mode.value,
            abi.Action.AUDIT,  # until a policy is in force
            required=config.guard.required.value,
            pin_dir=config.guard.pin_dir,
        )
        self.guard = Guard(settings, self.sentry.may_touch, self.sentry.saw)
        self.watch = GuardWatch(self.guard, self.metrics.guard, self.audit, Path(config.daemon.run_dir))
        self.verdicts = KernelVerdicts(
            self.guard, self.resolver.init_lines, self.audit, self.takeover.public, cgrouptree.mount_point
        )
        self.wards = Wards(
            config.guard.host_only,
            lambda: (self.takeover.engine_path, self.takeover.public),
            self.guard.guard_objects,
            self.takeover.holds,
        )
        self.services = HostServices(self.guard.allow_cgroups)
        self.containers = ContainerLife(self.resolver, self.guard.cgroup_path)
        self.handovers = Handovers(self.resolver, self._clients, self._drop, self.sentry.saw)
        self.handovers.socket = Path(self.takeover.public)
        self.recorder = DecisionRecorder(self.metrics, self.audit)
        self.paths = HostPaths()
        self.generations = Generations(config, self.engine, self.digests, self.holdings, self._publish)
        self.server: GatewayServer | None = None
        self.exposition: MetricsServer | None = None
        self._wiring: Wiring | None = None
        self._admission: SocketAdmission | None = None
        self._inspection: BodyInspection | None = None

    async def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve until SIGTERM or SIGINT; call ``ready`` once clients are served.

        Raises:
            SockwardenError: a part cannot be had; what was taken has been given back.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack, loop)
            reloads: set[asyncio.Task[None]] = set()

            def on_hangup() -> None:
                task = loop.create_task(self._reload())
                reloads.add(task)
                task.add_done_callback(reloads.discard)

            loop.add_signal_handler(signal.SIGHUP, on_hangup)
            _settle()
            ready(await status_of(self, with_images=False))
            await stop.wait()
            words = [f"{self.takeover.public} is given back", last_words_of(self)]
            _log.warning("stopping: %s", "; ".join(filter(None, words)))

    async def _start(self, stack: contextlib.AsyncExitStack, loop: asyncio.AbstractEventLoop) -> None:
        _raise_file_limit()
        stack.callback(self.sink.close)
        stack.callback(self.audit.flush)
        stack.push_async_callback(self.engine.close)
        stack.push_async_callback(self.digests.close)
        stack.push_async_callback(self.holdings.close)
        stack.push_async_callback(self.registry.close)
        if self.config.guard.mode is not GuardMode.NONE:
            self.sentry.watch(self.guard, loop)
            stack.callback(self.guard.close)
            self._follow_the_guard()
            self.generations.walled = self.guard.report.rung.blocking
        elif self.config.guard.pin_dir:
            for one in pins.unload(self.config.guard.pin_dir):
                _log.warning("guard.mode is none: the pinned guard %s of an agent before is removed", one.name)
        if self.keeper is not None:
            self.keeper.recall()
            self.keeper.start()
            stack.push_async_callback(self.keeper.close)
        await self.generations.load()
        stack.push_async_callback(self._close_images)
        server = await self._start_gateway(stack)
        if self.config.guard.mode is not GuardMode.NONE:
            self.wards.begin()
            stack.callback(self.wards.close)
            server.on_retaken = self.wards.look
        control = ControlServer(
            str(Path(self.config.daemon.run_dir) / "control.sock"),
            {"status": lambda: status_of(self), "reload": self._reload_answer, "digests": lambda: digests_of(self)},
            {"refresh": lambda request: refresh_digests(self, request)},
        )
        await control.start()
        stack.push_async_callback(control.close)
        exposition = self._serve_metrics()
        if exposition is not None:
            stack.callback(exposition.close)
        if self.config.guard.mode is not GuardMode.NONE:
            self.watch.begin()
        pulse = loop.create_task(Pulse(self.metrics, self.engine.ping, self._beat).run())
        stack.callback(pulse.cancel)

    def _follow_the_guard(self) -> None:
        """Let everybody hear of what they live on: cgroups, and what sweeps find."""
        self.guard.on_life = self._lived
        self.guard.on_swept = self._swept
        top = cgrouptree.mount_point()
        self.services.begin(cgrouptree.walk(top) if top is not None else ())
        if not self.guard.report.rung.blocking:  # else the kernel refuses hand-overs
            self.guard.accepted = self.handovers.accepted

    async def _start_gateway(self, stack: contextlib.AsyncExitStack) -> GatewayServer:
        generation, images = self.generations.current, self.generations.images
        assert generation is not None  # noqa: S101  # load() has put one in force
        self._admission = SocketAdmission(self.resolver, self.engine, images)
        if self.config.guard.mode is not GuardMode.NONE:
            self._admission.turned_away = self.verdicts.turned_away
            self._admission.connectors = self.guard.connectors
        self._inspection = BodyInspection(self.engine, images, self._guarded, self.paths)
        self._wiring = Wiring(self.upstream, self._admission, self._inspection, self.recorder, generation)
        self.server = GatewayServer(self._wiring, self.takeover)
        await self.server.start()
        stack.push_async_callback(self.server.close)
        return self.server

    def _serve_metrics(self) -> MetricsServer | None:
        listen = self.config.metrics.listen
        self.metrics.set_modes(
            {
                "mode": self.config.policy.mode.value,
                "guard": self.guard_rung,
                "takeover": self.config.gateway.takeover.value,
                "host": self.config.clients.host.value,
            }
        )
        self.exposition = None if listen is None else serve(registry_of(self.metrics), listen.host, listen.port)
        return self.exposition

    @property
    def guard_rung(self) -> str:
        """The name of the guard rung in force."""
        return "none" if self.config.guard.mode is GuardMode.NONE else self.guard.report.rung.name

    def _publish(self, generation: Generation, images: ImageList) -> None:
        self.sentry.generation = generation
        self.handovers.enforcing = self.sentry.enforcing
        if self.config.guard.mode is not GuardMode.NONE:
            self.verdicts.clear()
            self.guard.set_action(self._action(generation))
        self.recorder.generation = generation
        self.metrics.policy_generation = generation.number
        if self._wiring is not None and self._admission is not None and self._inspection is not None:
            self._admission.images = images
            self._inspection.images = images
            self._wiring.generation = generation

    def _action(self, generation: Generation) -> abi.Action:
        if not (generation.enabled and generation.enforcing):
            return abi.Action.AUDIT
        return abi.Action.KILL if self.config.policy.action is Action.KILL else abi.Action.BLOCK

    def _guarded(self) -> GuardedSockets:
        """Return the sockets that a mount must not show, as they are at this moment."""
        engine = os.path.realpath(self.takeover.engine_path)
        second = self.config.second_socket or self.takeover.public
        public = {self.takeover.public, os.path.realpath(second), *map(os.path.realpath, WELL_KNOWN)} - {engine}
        return GuardedSockets.at(sorted(public), (engine,), self.paths)

    def _lived(self, record: CgroupRecord | ProcessRecord) -> None:
        self.services.lived(record)
        self.containers.lived(record)

    def _swept(self, found: Scan) -> None:
        self.wards.swept(found)
        self.handovers.swept(found)

    def _clients(self) -> dict[int, Client]:
        return {} if self.server is None else self.server.clients()

    def _drop(self, inode: int) -> bool:
        return self.server is not None and self.server.drop(inode)

    async def _reload(self) -> None:
        self.sink.reopen()
        await self.generations.reload()
        self.metrics.policy_reload_failures = self.generations.failures

    async def _reload_answer(self) -> dict[str, Any]:
        await self._reload()
        return await status_of(self)

    async def _close_images(self) -> None:
        await self.generations.images.close()

    def _beat(self) -> None:
        self.audit.flush_due()
        self.metrics.audit_lost = self.sink.lost
        self.images.beat()
        self.metrics.open_connections = self.server.open_connections if self.server else 0
        if self.config.guard.mode is not GuardMode.NONE:
            self.sentry.refresh_counters()
            if not self.guard.report.rung.blocking and self.handovers.is_due(time.monotonic()):
                self.guard.sweep()
            self.verdicts.beat()
            self.watch.beat(Extras(self.guard.pinned, len(self.wards.waiting), len(self.verdicts)))


def _settle() -> None:
    """Give back what only the start needed; what lives now lives until the end, and is not collected again."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError):  # a C library without malloc_trim(3)
        ctypes.CDLL(None).malloc_trim(0)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_agent(config: Config, ready: Callable[[dict[str, Any]], None]) -> None:
    """Run an agent on uvloop until it is told to stop.

    Raises:
        SockwardenError: a part cannot be had.
    """
    import uvloop  # noqa: PLC0415  # only the daemon needs it; `check` and `explain` start faster without

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Agent(config).run(ready))
