"""A real dockerd as the engine: the same request cells, and the docker CLI end to end.

The engine is the throw-away one of ``sockwarden demo``; nothing on this host is touched. What is left out against the
stand-in: bodies of a given framing and hijacked throughput, since dockerd itself would be what is measured.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from typing import TYPE_CHECKING, Final

from bench.cells import MIB, NOT_HAPROXY, REQUESTS, Cell, Sizes
from bench.figures import Target
from bench.rounds import run_load
from bench.table import ROWS, Row
from bench.ways import BenchError, Way
from sockwarden.demo.child import ChildError
from sockwarden.demo.engine import ThrowAwayEngine
from sockwarden.demo.image import busybox_tree, import_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE: Final = "bench/busybox:latest"
LARGE: Final = "bench/large:latest"
CONTAINER: Final = "bench"
LARGE_BYTES: Final = 128 * MIB
PIPED: Final = b"the quick brown fox\n" * 5000

NEAR_DIRECT: Final = Target("<=", 1.05, "direct")

CELLS: Final = (
    *REQUESTS,
    Cell("save", "GET /images/get", ("download", "{socket}", f"/v1.41/images/get?names={LARGE}")),
    Cell("cli-ps", "docker ps", ("docker", "3", "ps")),
    Cell("cli-run", "docker run", ("docker", "3", "run", "--rm", "--network", "none", IMAGE, "true")),
    Cell("cli-load", "docker load", ("docker", "1", "load", "--input", "{saved}")),
    Cell("cli-exec", "docker exec -i, piped", ("docker", "10", "exec", "-i", CONTAINER, "cat"), NOT_HAPROXY),
)

ROWS_DOCKERD: Final = (
    *(row for row in ROWS if row.cell in {cell.name for cell in REQUESTS}),
    Row("docker save (API), MB/s", "save", "mbps", Target(">=", 0.6, "direct")),
    Row("docker ps, ms", "cli-ps", "ms", NEAR_DIRECT),
    Row("docker run, ms", "cli-run", "ms", NEAR_DIRECT),
    Row(f"docker load of {LARGE_BYTES // MIB} MiB, ms", "cli-load", "ms"),
    Row("docker exec -i, ms", "cli-exec", "ms"),
    Row("docker exec -i, right of all", "cli-exec", "right_share", Target(">=", 1.0, "direct")),
)


class RealEngine:
    """The engine with two images and a container that waits to be used."""

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._saved: Final = directory / "large.tar"
        root = directory / "dockerd"
        root.mkdir()
        self._engine: Final = ThrowAwayEngine(root)

    @property
    def socket(self) -> Path:
        """The engine's socket."""
        return self._engine.socket

    def start(self) -> None:
        """Start it and put in what the cells need."""
        self._engine.start()
        tree = self._directory / "tree.tar"
        busybox_tree(tree)
        import_image(self._engine, tree, IMAGE)
        # An image whose one layer cannot be compressed, so that its size is what passes.
        context = self._directory / "context"
        context.mkdir()
        (context / "noise").write_bytes(os.urandom(LARGE_BYTES))
        self._engine.docker("run", "--detach", "--network", "none", "--name", CONTAINER, IMAGE, "sleep", "1d")
        self._engine.docker("cp", str(context / "noise"), f"{CONTAINER}:/noise")
        self._engine.docker("commit", CONTAINER, LARGE)
        self._engine.docker("save", "--output", str(self._saved), LARGE)

    def stop(self) -> None:
        """End it and all its traces."""
        self._engine.stop()

    def measure(self, cell: Cell, way: Way, sizes: Sizes) -> dict[str, float]:
        """Measure a cell: with the load generator, or by running the docker CLI several times."""
        if cell.arguments[0] != "docker":
            return run_load(cell.command(str(way.socket), sizes))
        count = int(cell.arguments[1])
        arguments = [argument.format(saved=self._saved) for argument in cell.arguments[2:]]
        piped = PIPED if "-i" in arguments else b""
        milliseconds, right = [], 0
        for _ in range(count):
            started = time.perf_counter()
            try:
                done = self._engine.docker(*arguments, host=way.socket, stdin=piped)
            except ChildError as error:
                raise BenchError(str(error)) from None
            milliseconds.append((time.perf_counter() - started) * 1e3)
            right += not piped or done.stdout == piped
        return {"ms": statistics.median(milliseconds), "count": count, "right": right}


@contextlib.contextmanager
def real_engine(directory: Path) -> Iterator[RealEngine]:
    """Run a throw-away dockerd with everything that the cells need; yields it."""
    engine = RealEngine(directory)
    try:
        engine.start()
        yield engine
    except ChildError as error:
        raise BenchError(f"the throw-away engine: {error}") from None
    finally:
        engine.stop()
