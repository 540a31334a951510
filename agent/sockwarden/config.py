"""The daemon's own configuration, ``sockwarden.toml``: every table and key, its default, and what fits together.

Owns the defaults and the relations between keys. Pure: reads no file, looks at no path of the machine.
"""

from __future__ import annotations

import enum
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sockwarden.documents.address import ListenAddress, base_url, is_loopback, parse_listen, registry_host
from sockwarden.documents.duration import format_duration, parse_duration
from sockwarden.documents.faults import FaultList, quoted
from sockwarden.documents.fields import Fields, Text
from sockwarden.documents.glob import parse_glob
from sockwarden.documents.place import UNKNOWN
from sockwarden.documents.socketpath import default_run_dir, default_state_dir, same_socket
from sockwarden.documents.toml import scan_toml
from sockwarden.model import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_FILE: Final = "/etc/sockwarden/sockwarden.toml"
"""Where the daemon looks without ``--config``."""

PUBLIC_SOCKET: Final = "/run/docker.sock"
"""Where clients expect the engine (moby: opts/hosts_unix.go, without the symbolic link /var/run)."""

MOVED_SOCKET: Final = "/run/sockwarden/engine.sock"
"""Where the engine listens once a ``docker.socket`` drop-in has handed the public path over."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""``sun_path`` has 108 bytes with its final NUL (unix(7))."""

MAX_RUN_DIR_BYTES: Final = 80
"""Leaves 27 bytes of ``sun_path`` for the names of our sockets in that directory."""

PIN_DIR: Final = "/sys/fs/bpf/sockwarden"
"""On bpffs where systemd and every distribution mount it."""

DEFAULT_GLOBS: Final = "default"
"""The word in ``guard.host_only`` that stands for the sockets that we know of; see ``service.hostonly``."""

MAX_GLOBS: Final = 64
"""Globs of sockets; each is looked for again whenever something changes in a folder on its way."""

REFRESH_LIMITS_SECONDS: Final = (60.0, 30 * 86400.0)
"""Registries count requests, so not below a minute; longer than a month is no refresh, and moved tags stay refused."""

GRACE_LIMITS_SECONDS: Final = (0.0, 30 * 86400.0)
"""0: a digest ends with the move of its tag. Who wants an old image for longer than a month lists it by digest."""

TIMEOUT_LIMITS_SECONDS: Final = (0.1, 300.0)
"""No registry outside the machine answers faster than the first, and no client waits longer than the second."""

METRICS_LISTEN: Final = ListenAddress("127.0.0.1", 9717)
"""Where Prometheus asks: not reachable from other machines unless somebody decides so."""

_Value = TypeVar("_Value")


class Takeover(enum.Enum):
    """How the gateway comes to the public path."""

    NONE = "none"  # it listens on a path of its own
    SWAP = "swap"  # it exchanges its socket with the engine's, live, and gives it back
    HANDOVER = "handover"  # systemd hands it the path, and the engine listens elsewhere


class GuardMode(enum.Enum):
    """The rung of the kernel guard; ``AUTO`` is the best that works, ``NONE`` the gateway alone."""

    AUTO = "auto"
    LSM = "lsm"
    FMOD_RET = "fmod_ret"
    KPROBE = "kprobe"
    BCC = "bcc"
    TRACEPOINT = "tracepoint"
    NONE = "none"


class RequiredRung(enum.Enum):
    """The weakest rung with which the agent starts."""

    FMOD_RET = "fmod_ret"
    LSM = "lsm"
    KPROBE = "kprobe"
    BCC = "bcc"
    TRACEPOINT = "tracepoint"
    NONE = "none"


_STRENGTH: Final = {"fmod_ret": 3, "lsm": 3, "kprobe": 2, "bcc": 2, "tracepoint": 1, "none": 0}
"""What a rung does about a connection that must not be; a test holds it against ``kernel.ladder``."""


class Action(enum.Enum):
    """What happens to a container process that goes around the gateway."""

    BLOCK = "block"
    KILL = "kill"


class HostClients(enum.Enum):
    """How a client outside of any container is judged."""

    EXEMPT = "exempt"
    ENFORCE = "enforce"  # as if it were in a container: by the command list and every later rule


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """``[engine]``: where the real engine listens."""

    socket: str = PUBLIC_SOCKET


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """``[gateway]``: where clients find us, and how we come there.

    With ``swap`` the gateway takes the engine's path; a ``listen`` that differs is a second way to the gateway.
    """

    listen: str = PUBLIC_SOCKET
    takeover: Takeover = Takeover.SWAP


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """``[guard]``: the kernel side. Without a rung as strong as ``required`` the agent does not start.

    A blocking rung is pinned in ``pin_dir`` and outlives the agent; with "" nothing is pinned. ``host_only`` are globs
    of sockets that no container may touch; ``DEFAULT_GLOBS`` among them stands for those that we know of.
    """

    mode: GuardMode = GuardMode.AUTO
    required: RequiredRung = RequiredRung.NONE
    pin_dir: str = PIN_DIR
    host_only: tuple[str, ...] = (DEFAULT_GLOBS,)

    @property
    def contradiction(self) -> str:
        """Why no kernel can meet both keys, as a clause; "" where one may."""
        if self.mode is GuardMode.AUTO or _STRENGTH[self.mode.value] >= _STRENGTH[self.required.value]:
            return ""
        return f'guard.mode = "{self.mode.value}" is weaker than guard.required = "{self.required.value}"'


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """``[policy]``: which document is in force, and how strictly.

    ``lock`` is the file of digests that was written for this very document; with "" registries are asked.
    """

    file: str = "/etc/sockwarden/admin-settings.json"
    mode: Mode = Mode.ENFORCE
    action: Action = Action.BLOCK
    lock: str = ""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """``[metrics]``: where Prometheus asks; None is off."""

    listen: ListenAddress | None = METRICS_LISTEN


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """``[audit]``: the file of audit records; None is standard output."""

    file: str | None = None


@dataclass(frozen=True, slots=True)
class ClientsConfig:
    """``[clients]``: who is judged."""

    host: HostClients = HostClients.EXEMPT


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """``[registry]``: how registries are asked for digests.

    ``plain_http`` holds hosts in lower case, with their port if they have one; loopback needs no entry.
    ``mirrors`` holds (host, base URL without a final slash), sorted. ``grace_seconds`` is how long the digests of
    before count after a tag moved: a day, in which every build host has pulled again. ``docker_config`` is the file of
    ``docker login``, and ``certs_dir`` the engine's folder of CAs and client certificates.
    """

    plain_http: frozenset[str] = frozenset()
    mirrors: tuple[tuple[str, str], ...] = ()
    refresh_seconds: float = 6 * 3600.0
    timeout_seconds: float = 10.0
    grace_seconds: float = 86400.0
    docker_config: str = "/root/.docker/config.json"
    certs_dir: str = "/etc/docker/certs.d"

    def mirror_of(self, host: str) -> str | None:
        """Return the base URL to ask instead of the registry ``host``, or None."""
        return dict(self.mirrors).get(host.lower())


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """``[daemon]``: where our own files are. ``run_dir`` must be on the file system of the public socket.

    ``state_dir`` outlives a restart of the host and holds the answers of registries; with "" none are kept.
    """

    run_dir: str = "/run/sockwarden"
    state_dir: str = "/var/lib/sockwarden"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of ``sockwarden.toml``; a key that is not written has its default."""

    engine: EngineConfig
    gateway: GatewayConfig
    guard: GuardConfig
    policy: PolicyConfig
    metrics: MetricsConfig
    audit: AuditConfig
    clients: ClientsConfig
    registry: RegistryConfig
    daemon: DaemonConfig

    def __post_init__(self) -> None:
        same = same_socket(self.engine.socket, self.gateway.listen)
        if same and self.gateway.takeover is not Takeover.SWAP:
            raise AssertionError("the gateway cannot have the engine's own path unless it swaps")

    @property
    def public_socket(self) -> str:
        """The path that the gateway takes."""
        return self.engine.socket if self.gateway.takeover is Takeover.SWAP else self.gateway.listen

    @property
    def second_socket(self) -> str | None:
        """Another path that leads to the gateway, or None."""
        differs = not same_socket(self.engine.socket, self.gateway.listen)
        return self.gateway.listen if differs and self.gateway.takeover is Takeover.SWAP else None

    @classmethod
    def default(cls) -> Config:
        """Return what an empty file means."""
        return cls(
            engine=EngineConfig(),
            gateway=GatewayConfig(),
            guard=GuardConfig(),
            policy=PolicyConfig(),
            metrics=MetricsConfig(),
            audit=AuditConfig(),
            clients=ClientsConfig(),
            registry=RegistryConfig(),
            daemon=DaemonConfig(),
        )


def parse_config(text: bytes, file: str) -> Config:
    """Return the configuration that the bytes of a file say.

    Raises:
        DocumentError: with every fault of the file, sorted by place. An empty file is no fault.
    """
    faults = FaultList(file)
    root = Fields(scan_toml(text, faults) if text.strip() else None, "", faults)
    reading = _Reading(faults)
    engine, gateway = reading.sockets(root.section("engine"), root.section("gateway"))
    guard = reading.guard(root.section("guard"))
    policy = reading.policy(root.section("policy"))
    metrics = reading.metrics(root.section("metrics"))
    audit = reading.audit(root.section("audit"))
    clients = reading.clients(root.section("clients"))
    registry = reading.registry(root.section("registry"))
    public = engine.socket if gateway.takeover is Takeover.SWAP else gateway.listen
    daemon = reading.daemon(root.section("daemon"), public)
    root.finish()
    faults.raise_if_any()
    return Config(engine, gateway, guard, policy, metrics, audit, clients, registry, daemon)


class _Reading:
    """One method for each table. A value with a fault is replaced by its default, so that the reading goes on."""

    def __init__(self, faults: FaultList) -> None:
        self._faults: Final = faults

    def sockets(self, engine: Fields, gateway: Fields) -> tuple[EngineConfig, GatewayConfig]:
        """Read both tables, because the defaults of each depend on the other."""
        before = self._faults.count
        takeover = gateway.choice("takeover", Takeover.SWAP)
        handed_over = takeover is Takeover.HANDOVER
        socket = self._socket(engine, "socket", MOVED_SOCKET if handed_over else PUBLIC_SOCKET)
        listen = self._socket(gateway, "listen", socket if takeover is Takeover.SWAP else PUBLIC_SOCKET)
        if self._faults.count == before:  # a default in place of a broken path would contradict the other
            self._relate(engine, gateway, socket, listen, takeover)
        engine.finish()
        gateway.finish()
        return EngineConfig(socket), GatewayConfig(listen, takeover)

    def _relate(self, engine: Fields, gateway: Fields, socket: str, listen: str, takeover: Takeover) -> None:
        """Record where the two paths and the way of the takeover contradict one another."""
        if gateway.has("listen"):
            place = gateway.value_place("listen")
            same = same_socket(socket, listen)
            if takeover is not Takeover.SWAP and same:
                message = f'with takeover = "{takeover.value}" gateway.listen must differ from engine.socket'
                self._faults.add(place, message, "choose another path for one of them")
        elif takeover is Takeover.NONE:
            message = 'with takeover = "none" gateway.listen is needed: the engine keeps its own path'
            self._faults.add(gateway.place("takeover"), message, 'set gateway.listen, or takeover = "swap"')
        elif takeover is Takeover.HANDOVER and same_socket(socket, listen):
            message = f'with takeover = "handover" the engine has left {listen}, where the gateway listens'
            remedy = f"leave out engine.socket (then it is {MOVED_SOCKET}), or set gateway.listen"
            self._faults.add(engine.value_place("socket"), message, remedy)

    def guard(self, fields: Fields) -> GuardConfig:
        mode = fields.choice("mode", GuardMode.AUTO)
        required = fields.choice("required", RequiredRung.NONE)
        pin_dir = self._path_or_none(fields, "pin_dir", PIN_DIR)
        found = GuardConfig(mode, required, pin_dir, self._host_only(fields))
        if found.contradiction:
            remedy = 'set guard.mode = "auto", or a lower guard.required'
            self._faults.add(fields.value_place("required"), found.contradiction, remedy)
        fields.finish()
        return found

    def _host_only(self, fields: Fields) -> tuple[str, ...]:
        texts = fields.texts("host_only")
        if not fields.has("host_only"):
            return (DEFAULT_GLOBS,)
        if len(texts) > MAX_GLOBS:
            message = f"guard.host_only has {len(texts)} items; the limit is {MAX_GLOBS}"
            self._faults.add(texts[MAX_GLOBS].place, message, "write fewer globs, with * in them")
        remedy = f'write "/run/NAME/*.sock", or "{DEFAULT_GLOBS}" for the sockets that sockwarden knows of'
        found = (
            text.text if text.text == DEFAULT_GLOBS else self._parsed(parse_glob, text, "a glob of sockets", remedy)
            for text in texts[:MAX_GLOBS]
        )
        return tuple(dict.fromkeys(glob for glob in found if glob is not None))

    def policy(self, fields: Fields) -> PolicyConfig:
        default = PolicyConfig()
        file = self._path(fields, "file", default.file)
        mode = fields.choice("mode", default.mode)
        action = fields.choice("action", default.action)
        lock = self._path_or_none(fields, "lock", default.lock)
        fields.finish()
        return PolicyConfig(file, mode, action, lock)

    def metrics(self, fields: Fields) -> MetricsConfig:
        found = fields.text("listen")
        fields.finish()
        if found is None:
            return MetricsConfig()
        if found.text in ("", "off"):
            return MetricsConfig(None)
        return MetricsConfig(self._parsed(parse_listen, found, "an address", 'write "127.0.0.1:9717", or "off"'))

    def audit(self, fields: Fields) -> AuditConfig:
        file = self._path(fields, "file", "") or None
        fields.finish()
        return AuditConfig(file)

    def clients(self, fields: Fields) -> ClientsConfig:
        host = fields.choice("host", HostClients.EXEMPT)
        fields.finish()
        return ClientsConfig(host)

    def registry(self, fields: Fields) -> RegistryConfig:
        default = RegistryConfig()
        found = (
            self._parsed(registry_host, text, "the host of a registry", 'write "registry.example.com:5000"')
            for text in fields.texts("plain_http")
        )
        plain_http = frozenset(host for host in found if host is not None)
        mirrors = self._mirrors(fields.section("mirrors"), plain_http)
        refresh = self._duration(fields, "refresh", default.refresh_seconds, REFRESH_LIMITS_SECONDS)
        timeout = self._duration(fields, "timeout", default.timeout_seconds, TIMEOUT_LIMITS_SECONDS)
        grace = self._duration(fields, "grace", default.grace_seconds, GRACE_LIMITS_SECONDS)
        docker_config = self._path(fields, "docker_config", default.docker_config)
        certs_dir = self._path(fields, "certs_dir", default.certs_dir)
        fields.finish()
        return RegistryConfig(plain_http, mirrors, refresh, timeout, grace, docker_config, certs_dir)

    def daemon(self, fields: Fields, listen: str) -> DaemonConfig:
        run_dir = self._path(fields, "run_dir", default_run_dir(listen))
        if len(run_dir.encode()) > MAX_RUN_DIR_BYTES:
            place = fields.value_place("run_dir") if fields.has("run_dir") else UNKNOWN
            message = f"daemon.run_dir is too long for sockets in it: {quoted(run_dir)}"
            self._faults.add(place, message, f"set daemon.run_dir to a path of at most {MAX_RUN_DIR_BYTES} bytes")
        state_dir = self._path_or_none(fields, "state_dir", default_state_dir(run_dir))
        fields.finish()
        return DaemonConfig(run_dir, state_dir)

    def _mirrors(self, fields: Fields, plain_http: frozenset[str]) -> tuple[tuple[str, str], ...]:
        mirrors: dict[str, str] = {}
        for member in fields.members:
            host = self._parsed(
                registry_host, Text(member.key, member.place), "the host of a registry", 'write "docker.io"'
            )
            found = fields.text(member.key)
            if host is None or found is None:
                continue
            url = self._parsed(base_url, found, "the URL of a mirror", 'write "https://mirror.example.com"')
            if host in mirrors:
                self._faults.add(member.place, f"{host} has two mirrors", "keep one of the two")
            if url is not None:
                mirrors[host] = url
                self._check_plain(url, found, plain_http)
        return tuple(sorted(mirrors.items()))

    def _check_plain(self, url: str, found: Text, plain_http: frozenset[str]) -> None:
        """Whoever sits on the way of a plain HTTP answer decides which images are allowed."""
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0].lower()
        if scheme == "http" and host not in plain_http and not is_loopback(host):
            message = f"the mirror {quoted(url)} would be asked over plain HTTP"
            self._faults.add(found.place, message, f"use https://, or add {quoted(host)} to registry.plain_http")

    def _socket(self, fields: Fields, key: str, default: str) -> str:
        path = self._path(fields, key, default, scheme="unix://")
        if len(path.encode()) > MAX_SOCKET_PATH_BYTES and fields.has(key):
            message = f"{fields.path}.{key} is too long for a socket: {len(path.encode())} bytes"
            remedy = f"use a path of at most {MAX_SOCKET_PATH_BYTES} bytes"
            self._faults.add(fields.value_place(key), message, remedy)
        return path

    def _path_or_none(self, fields: Fields, key: str, default: str) -> str:
        """Read a path, or "" for what is switched off."""
        written = fields.text(key)
        return "" if written is not None and not written.text else self._path(fields, key, default)

    def _path(self, fields: Fields, key: str, default: str, scheme: str = "") -> str:
        found = fields.text(key)
        if found is None:
            return default
        path = found.text.removeprefix(scheme)
        name = f"{fields.path}.{key}"
        if not path.startswith("/"):
            message = f"{name} must be an absolute path, not {quoted(found.text)}"
            self._faults.add(found.place, message, "write the path from the root on, starting with /")
        elif not path.isprintable():
            self._faults.add(found.place, f"{name} holds a control character: {quoted(path)}", "remove it")
        elif posixpath.normpath(path) != path or path.startswith("//") or path == "/":
            clean = posixpath.normpath("/" + path.lstrip("/"))
            remedy = "write the path of a file" if clean == "/" else f"write {quoted(clean)}"
            self._faults.add(found.place, f"{name} is not a plain path: {quoted(path)}", remedy)
        else:
            return path
        return default

    def _duration(self, fields: Fields, key: str, default: float, limits: tuple[float, float]) -> float:
        found = fields.text(key)
        seconds = None if found is None else self._parsed(parse_duration, found, "a duration", 'write it like "90s"')
        if found is None or seconds is None:
            return default
        least, most = limits
        if not least <= seconds <= most:
            message = f"{fields.path}.{key} is out of range: {quoted(found.text)}"
            remedy = f"write a duration from {format_duration(least)} to {format_duration(most)}"
            self._faults.add(found.place, message, remedy)
        return seconds

    def _parsed(self, parse: Callable[[str], _Value], found: Text, what: str, remedy: str) -> _Value | None:
        """Return what ``parse`` makes of a text, or None with the reason of its ValueError as a fault."""
        try:
            return parse(found.text)
        except ValueError as error:
            self._faults.add(found.place, f"{quoted(found.text)} is not {what}: {error}", remedy)
            return None
