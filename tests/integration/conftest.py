"""One real engine and one real registry for the whole run, and sockwardens in front of it on demand."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.demo import expected, image
from sockwarden.demo.engine import ThrowAwayEngine, docker_cli
from sockwarden.demo.registry import ThrowAwayRegistry
from sockwarden.demo.terminal import Terminal
from sockwarden.demo.warden import ThrowAwayWarden

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

COMMAND_SECONDS: Final = 120.0

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember for the fixtures whether the test failed."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@dataclass(frozen=True)
class Images:
    """References of the images that every test may use; none may be removed or retagged by a test."""

    busybox: str  # only local
    cli: str  # docker.io's docker:cli, pulled from the registry that plays docker.io
    other: str  # only local, with the same clients, but other content than cli


@dataclass
class Docker:
    """The real docker CLI, talking to one socket with a configuration of its own."""

    host: Path
    home: Path
    program: str = field(default_factory=docker_cli)
    more: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        self.home.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "DOCKER_HOST": f"unix://{self.host}",
            "DOCKER_CONFIG": str(self.home / "docker"),
            "DOCKER_CLI_HINTS": "false",
            **self.more,
        }

    def __call__(
        self, *arguments: str, stdin: bytes = b"", timeout: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; never raises for its exit status."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def right(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run it, insist on success, return its standard output."""
        done = self(*arguments, stdin=stdin)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start it; the caller ends it."""
        return subprocess.Popen([self.program, *arguments], env=self.environment(), **options)

    def terminal(self, *arguments: str) -> Terminal:
        """Start it on a pseudo-terminal."""
        return Terminal([self.program, *arguments], self.environment())


@dataclass
class Gateway:
    """A real sockwarden process in front of the engine."""

    warden: ThrowAwayWarden
    docker: Docker

    @property
    def socket(self) -> Path:
        return self.warden.listen

    def metrics(self) -> dict[str, float]:
        return self.warden.metrics()

    def audit(self) -> list[dict[str, Any]]:
        return self.warden.audit()

    def denials(self) -> list[dict[str, Any]]:
        return [record for record in self.audit() if record["decision"] == "deny"]

    def stop(self) -> int | None:
        return self.warden.stop()

    def kill9(self) -> None:
        self.warden.kill9()

    def start(self) -> None:
        self.warden.start()

    def reload(self, policy: Mapping[str, Any] | str | bytes) -> None:
        self.warden.reload(policy)


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A short temporary directory: a unix socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="sockwarden-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def registry(workshop: Path) -> Iterator[ThrowAwayRegistry]:
    """docker-registry on a free loopback port; the engine takes it for docker.io's mirror."""
    registry = ThrowAwayRegistry(workshop)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


@pytest.fixture(scope="session")
def engine(workshop: Path, registry: ThrowAwayRegistry) -> Iterator[ThrowAwayEngine]:
    """A real dockerd with sockets, data and cgroups of its own."""
    engine = ThrowAwayEngine(workshop, mirror=registry.url)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        assert engine.traces() == []


@pytest.fixture(scope="session")
def images(engine: ThrowAwayEngine, registry: ThrowAwayRegistry, workshop: Path) -> Images:
    """busybox, docker:cli (as pulled from docker.io) and a third one."""
    tree = workshop / "tree.tar"
    image.busybox_tree(tree)
    image.import_image(engine, tree, "busybox:latest")
    image.busybox_tree(tree, marker="other", clients=True)
    image.import_image(engine, tree, "other:latest")
    image.busybox_tree(tree, clients=True)
    published = f"{registry.address}/library/docker:cli"
    image.import_image(engine, tree, published)
    tree.unlink()
    engine.docker("push", published)
    engine.docker("image", "rm", published)
    engine.docker("pull", "docker:cli")
    return Images(busybox="busybox:latest", cli="docker:cli", other="other:latest")


@pytest.fixture(scope="session")
def direct(engine: ThrowAwayEngine, workshop: Path) -> Docker:
    """The docker CLI without sockwarden in between."""
    return Docker(engine.socket, workshop / "direct-home")


@pytest.fixture(scope="session")
def new_gateway(
    engine: ThrowAwayEngine, registry: ThrowAwayRegistry, workshop: Path
) -> Iterator[Callable[..., Gateway]]:
    """Make sockwardens, without a kernel guard unless asked for: each has a socket of its own (``takeover``: on the
    engine's path). All end with the run.
    """
    made: list[Gateway] = []
    numbers = itertools.count(1)

    def make(
        document: Mapping[str, Any] | str | bytes | None = None,
        /,
        *,
        takeover: str = "none",
        start: bool = True,
        **tables: Any,
    ) -> Gateway:
        root = workshop / f"w{next(numbers)}"
        listen = engine.socket if takeover == "swap" else root / "docker.sock"
        warden = ThrowAwayWarden(root, engine_socket=engine.socket, listen=listen, takeover=takeover)
        tables.setdefault("registry", {"mirrors": {"docker.io": registry.url}})
        # Many stand in front of one engine here: the guard of one would cut what the test of another lets connect.
        tables.setdefault("guard", {"mode": "none"})
        warden.configure(expected.policy() if document is None else document, **tables)
        gateway = Gateway(warden, Docker(listen, root / "home"))
        made.append(gateway)
        if start:
            warden.start()
        return gateway

    yield make
    for gateway in made:
        gateway.stop()


@pytest.fixture
def gateway_factory(
    new_gateway: Callable[..., Gateway], request: pytest.FixtureRequest, engine: ThrowAwayEngine
) -> Iterator[Callable[..., Gateway]]:
    """Like ``new_gateway`` for one test: stopped after it; when it fails, the logs are shown."""
    made: list[Gateway] = []

    def make(*arguments: Any, **options: Any) -> Gateway:
        gateway = new_gateway(*arguments, **options)
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        gateway.stop()
    if request.node.stash.get(_failed, False):
        for gateway in made:
            print(gateway.warden.tail())  # noqa: T201 # pytest shows it with the failure
        print(engine.tail())  # noqa: T201


@pytest.fixture(scope="session")
def gateway(new_gateway: Callable[..., Gateway], images: Images) -> Gateway:
    """The sockwarden that most tests share: the documented policy, host clients exempt. No test may stop it."""
    assert images.cli
    return new_gateway()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Ask again until the answer is true; fails at a deadline."""

    def ask_until(ask: Callable[[], Any], seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := ask()):
            assert time.monotonic() < deadline, "not within the deadline"
            time.sleep(0.02)
        return answer

    return ask_until
