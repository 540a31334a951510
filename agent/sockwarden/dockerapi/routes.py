"""The engine's routes, matched as the engine's own router matches them.

Owns the table of everything that dockerd 20.10 to 29 serves and the one question asked of it: which handler
would run. It must never be "nearly" right: a name takes in slashes (``.*``), so ``/images/create/push`` is a
push, and the first route in the order of registration wins (moby: cmd/dockerd/daemon.go ``initRouter``,
later daemon/command/daemon.go ``buildRouters``; templates in the router packages).

Two routes exist on some engines only (the legacy copy until 25, ``PUT /volumes`` from 23); the others
answer 404 to them. ``/debug`` is taken for GET only, as engines do from API 1.48; earlier ones serve it under any
method, without a version.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sockwarden.dockerapi.target import Target


class Stream(enum.Enum):
    """What becomes of the connection when the engine accepts the request."""

    PLAIN = "plain"  # one request, one response, however long it streams
    ATTACH = "attach"  # raw bytes both ways after 101, or after 200 without an Upgrade
    EXEC = "exec"  # the same, after a JSON body, unless that says Detach
    WEBSOCKET = "websocket"  # 101, then WebSocket frames
    H2C = "h2c"  # 101, then HTTP/2: BuildKit's door


_VARIABLE: Final = re.compile(r"\{(\w+)(?::([^}]*))?\}")
"""A variable of a gorilla/mux template. Without a pattern it is one segment: ``[^/]+``."""


@dataclass(frozen=True, slots=True)
class Route:
    """One handler of the engine. ``template`` is the engine's own; ``key`` names the route everywhere here."""

    method: str
    template: str
    stream: Stream = Stream.PLAIN
    key: str = field(init=False)
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.method} {_VARIABLE.sub(_variable_name, self.template)}")
        object.__setattr__(self, "pattern", re.compile(_VARIABLE.sub(_variable_pattern, self.template)))

    def name_of(self, path: str) -> str:
        """Return what the first variable of the template takes from ``path``, a path that this route matches."""
        match = self.pattern.fullmatch(path)
        if match is None:
            raise AssertionError(f"{self.key} does not match {path!r}")
        return match[1] if match.lastindex else ""

    def with_name(self, path: str, name: str) -> str:
        """Return ``path``, which this route matches, with ``name`` for what its first variable takes."""
        match = self.pattern.fullmatch(path)
        if match is None:
            raise AssertionError(f"{self.key} does not match {path!r}")
        return f"{path[: match.start(1)]}{name}{path[match.end(1) :]}"


def _variable_name(variable: re.Match[str]) -> str:
    return f"{{{variable[1]}}}"


def _variable_pattern(variable: re.Match[str]) -> str:
    return f"({variable[2] or '[^/]+'})"


_TABLE: Final = """
GET     /containers/{name:.*}/checkpoints
POST    /containers/{name:.*}/checkpoints
DELETE  /containers/{name}/checkpoints/{checkpoint}
HEAD    /containers/{name:.*}/archive
GET     /containers/json
GET     /containers/{name:.*}/export
GET     /containers/{name:.*}/changes
GET     /containers/{name:.*}/json
GET     /containers/{name:.*}/top
GET     /containers/{name:.*}/logs
GET     /containers/{name:.*}/stats
GET     /containers/{name:.*}/attach/ws             websocket
GET     /exec/{id:.*}/json
GET     /containers/{name:.*}/archive
POST    /containers/create
POST    /containers/{name:.*}/kill
POST    /containers/{name:.*}/pause
POST    /containers/{name:.*}/unpause
POST    /containers/{name:.*}/restart
POST    /containers/{name:.*}/start
POST    /containers/{name:.*}/stop
POST    /containers/{name:.*}/wait
POST    /containers/{name:.*}/resize
POST    /containers/{name:.*}/attach                attach
POST    /containers/{name:.*}/copy
POST    /containers/{name:.*}/exec
POST    /exec/{id:.*}/start                         exec
POST    /exec/{id:.*}/resize
POST    /containers/{name:.*}/rename
POST    /containers/{name:.*}/update
POST    /containers/prune
POST    /commit
PUT     /containers/{name:.*}/archive
DELETE  /containers/{name:.*}
GET     /images/json
GET     /images/search
GET     /images/get
GET     /images/{name:.*}/get
GET     /images/{name:.*}/history
GET     /images/{name:.*}/json
GET     /images/{name:.*}/attestations
POST    /images/load
POST    /images/create
POST    /images/{name:.*}/push
POST    /images/{name:.*}/tag
POST    /images/prune
DELETE  /images/{name:.*}
OPTIONS /{any:.*}
GET     /_ping
HEAD    /_ping
GET     /events
GET     /info
GET     /version
GET     /system/df
POST    /auth
GET     /volumes
GET     /volumes/{name:.*}
POST    /volumes/create
POST    /volumes/prune
PUT     /volumes/{name:.*}
DELETE  /volumes/{name:.*}
POST    /build
POST    /build/prune
POST    /build/cancel
POST    /session                                    h2c
POST    /swarm/init
POST    /swarm/join
POST    /swarm/leave
GET     /swarm
GET     /swarm/unlockkey
POST    /swarm/update
POST    /swarm/unlock
GET     /services
GET     /services/{id}
POST    /services/create
POST    /services/{id}/update
DELETE  /services/{id}
GET     /services/{id}/logs
GET     /nodes
GET     /nodes/{id}
DELETE  /nodes/{id}
POST    /nodes/{id}/update
GET     /tasks
GET     /tasks/{id}
GET     /tasks/{id}/logs
GET     /secrets
POST    /secrets/create
DELETE  /secrets/{id}
GET     /secrets/{id}
POST    /secrets/{id}/update
GET     /configs
POST    /configs/create
DELETE  /configs/{id}
GET     /configs/{id}
POST    /configs/{id}/update
GET     /plugins
GET     /plugins/{name:.*}/json
GET     /plugins/privileges
DELETE  /plugins/{name:.*}
POST    /plugins/{name:.*}/enable
POST    /plugins/{name:.*}/disable
POST    /plugins/pull
POST    /plugins/{name:.*}/push
POST    /plugins/{name:.*}/upgrade
POST    /plugins/{name:.*}/set
POST    /plugins/create
GET     /distribution/{name:.*}/json
GET     /networks
GET     /networks/
GET     /networks/{id:.+}
POST    /networks/create
POST    /networks/{id:.*}/connect
POST    /networks/{id:.*}/disconnect
POST    /networks/prune
DELETE  /networks/{id:.*}
GET     /debug/vars
GET     /debug/pprof/
GET     /debug/pprof/cmdline
GET     /debug/pprof/profile
GET     /debug/pprof/symbol
GET     /debug/pprof/trace
GET     /debug/pprof/{name}
POST    /grpc                                       h2c
"""

ROUTES: Final = tuple(
    Route(method, template, *(Stream(word) for word in stream))
    for method, template, *stream in (line.split() for line in _TABLE.strip().splitlines())
)
"""Every route, in the order of registration."""

ROUTE_KEYS: Final = frozenset(route.key for route in ROUTES)

PULL: Final = "POST /images/create#pull"
IMPORT: Final = "POST /images/create#import"

OPERATION_KEYS: Final = (ROUTE_KEYS - {"POST /images/create"}) | {PULL, IMPORT}
"""Every answer of ``operation_key``."""


@dataclass(slots=True)
class _Branch:
    """The routes of one method and one first segment, by how much of the path is fixed.

    A fixed last segment is looked up, so that the cost of a miss does not grow with the table.
    """

    exact: dict[str, Route] = field(default_factory=dict)
    by_last_segment: dict[str, list[Route]] = field(default_factory=dict)
    open_ended: list[Route] = field(default_factory=list)


_OPTIONS: Final = next(route for route in ROUTES if route.method == "OPTIONS")


def _grow() -> dict[tuple[str, str], _Branch]:
    branches: dict[tuple[str, str], _Branch] = {}
    for route in ROUTES:
        if route is _OPTIONS:
            continue  # the only route whose first segment is not fixed, and the only one of its method
        branch = branches.setdefault((route.method, route.template[1:].partition("/")[0]), _Branch())
        last = route.template.rpartition("/")[2]
        if "{" not in route.template:
            branch.exact[route.template] = route
        elif last.startswith("{"):
            branch.open_ended.append(route)
        else:
            branch.by_last_segment.setdefault(last, []).append(route)
    return branches


_BRANCHES: Final = _grow()


def match(method: str, path: str) -> Route | None:
    """Return the route that the engine would run for ``method`` and the decoded ``path``, or None for its 404.

    ``path`` has no version prefix. ``OPTIONS *`` is the OPTIONS route: the engine's HTTP server answers it like one.
    """
    if method == "OPTIONS":
        return _OPTIONS if path == "*" or _OPTIONS.pattern.fullmatch(path) else None
    branch = _BRANCHES.get((method, path[1:].partition("/")[0]))
    if branch is None:
        return None
    route = branch.exact.get(path)
    if route is not None:
        return route
    for candidate in branch.by_last_segment.get(path.rpartition("/")[2], ()):
        if candidate.pattern.fullmatch(path):
            return candidate
    for candidate in branch.open_ended:
        if candidate.pattern.fullmatch(path):
            return candidate
    return None


def operation_key(route: Route, target: Target) -> str:
    """Return the key by which commands name the operation: the route's, with pull and import told apart.

    The handler of ``POST /images/create`` pulls where the first ``fromImage`` is not empty and imports otherwise
    (moby: daemon/server/router/image/image_routes.go).
    """
    if route.key == "POST /images/create":
        return PULL if target.first("fromImage") else IMPORT
    return route.key
