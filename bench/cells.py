"""What is measured in every round, as a table: the load generator's arguments and the ways that can take part.

Pure. A *way* is one road from the load generator to the engine; a *cell* is one measurement of one way in one round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DIRECT: Final = "direct"
HAPROXY: Final = "HAProxy"
TUNED: Final = "tuned"
SOCKWARDEN: Final = "sockwarden"

ALL_WAYS: Final = (DIRECT, HAPROXY, TUNED, SOCKWARDEN)

NOT_HAPROXY: Final = (DIRECT, SOCKWARDEN)
"""HAProxy 2.6 drops the Upgrade of a POST with a body (haproxy issue 2684), so `exec` fails behind it."""

GIB: Final = 1 << 30
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long a run takes. ``seconds`` of one request cell, bytes of one body, of one hijacked stream, round trips."""

    rounds: int
    seconds: float
    body_bytes: int
    echo_bytes: int
    pings: int
    halfcloses: int
    growth_bytes: int
    idle_clients: int
    stalled_clients: int


FULL: Final = Sizes(
    rounds=5,
    seconds=0.7,
    body_bytes=GIB,
    echo_bytes=GIB // 2,
    pings=10_000,
    halfcloses=50,
    growth_bytes=2 * GIB,
    idle_clients=1000,
    stalled_clients=50,
)
QUICK: Final = Sizes(
    rounds=3,
    seconds=0.15,
    body_bytes=64 * MIB,
    echo_bytes=32 * MIB,
    pings=1000,
    halfcloses=10,
    growth_bytes=256 * MIB,
    idle_clients=200,
    stalled_clients=10,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement. ``arguments`` go to the load generator, with ``socket`` and the sizes filled in."""

    name: str
    title: str
    arguments: tuple[str, ...]
    ways: tuple[str, ...] = ALL_WAYS

    def command(self, socket: str, sizes: Sizes) -> list[str]:
        """Return the load generator's arguments for this road and these sizes."""
        fields = {
            "socket": socket,
            "seconds": sizes.seconds,
            "body": sizes.body_bytes,
            "echo": sizes.echo_bytes,
            "pings": sizes.pings,
            "halfcloses": sizes.halfcloses,
        }
        return [argument.format(**fields) for argument in self.arguments]


DOWNLOAD: Final = "/v1.41/images/get?names=x&bytes={body}"

REQUESTS: Final = (
    Cell("keep1", "kept connection, 1 client", ("requests", "{socket}", "1", "{seconds}", "keep")),
    Cell("keep8", "kept connections, 8 clients", ("requests", "{socket}", "8", "{seconds}", "keep")),
    Cell("keep64", "kept connections, 64 clients", ("requests", "{socket}", "64", "{seconds}", "keep")),
    Cell("new1", "new connections, 1 client", ("requests", "{socket}", "1", "{seconds}", "new")),
    Cell("new8", "new connections, 8 clients", ("requests", "{socket}", "8", "{seconds}", "new")),
)

STREAMS: Final = (
    Cell("download", "download, Content-Length", ("download", "{socket}", DOWNLOAD)),
    Cell("download-chunked", "download, chunked", ("download", "{socket}", DOWNLOAD + "&framing=chunked")),
    Cell("upload", "upload, Content-Length", ("upload", "{socket}", "/v1.41/images/load", "{body}", "length")),
    Cell("upload-chunked", "upload, chunked", ("upload", "{socket}", "/v1.41/images/load", "{body}", "chunked")),
    Cell("attach-echo", "attach, both directions", ("echo", "{socket}", "attach", "{echo}")),
    Cell("exec-echo", "exec, both directions", ("echo", "{socket}", "exec", "{echo}"), NOT_HAPROXY),
    Cell("attach-pingpong", "attach, round trips", ("pingpong", "{socket}", "attach", "{pings}")),
    Cell(
        "exec-halfclose", "exec, half-closed", ("halfclose", "{socket}", "exec", "{halfcloses}", "100000"), NOT_HAPROXY
    ),
)

CELLS: Final = REQUESTS + STREAMS
