"""A container that floods the guard: another one's single denial is still told, and the agent does not grow."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.kernel.life import cgrouptree, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Docker, Gateway, Images

    from sockwarden.demo.engine import ThrowAwayEngine

pytestmark = [pytest.mark.docker, pytest.mark.bpf]

WARM_UP: Final = 3_000
FLOOD: Final = 12_000
CGROUPS: Final = 3_000
NAMESPACES: Final = 200
QUESTIONS: Final = 1_500
QUESTION: Final = "GET /v1.41/info HTTP/1.1\r\nHost: d\r\n\r\n"
GROWTH_KIB: Final = 4 * 1024
"""The agent may remember some more processes than before, but not one for each of FLOOD."""

# A process of a container as the guard knows it: in its cgroup, and in a mount namespace that is not the host's.
INTRUDER: Final = """
import os, socket, sys
folder, path, times, question = sys.argv[1:]
with open(folder + "/cgroup.procs", "w") as procs:
    procs.write("0")
print("ready", flush=True)
for _ in range(int(times)):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    if question:
        one.sendall(question.encode())
        while one.recv(4096):
            pass
    one.close()
print("done", flush=True)
sys.stdin.read()
"""


class Intruder:
    """``connect`` is under way from the start; ``wait`` for its end."""

    def __init__(self, folder: Path, path: Path, times: int, question: str) -> None:
        command = ["unshare", "--mount", sys.executable, "-I", "-S", "-c", INTRUDER]
        words = [str(folder), str(path), str(times), question]
        self._process = subprocess.Popen([*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.pid = self._process.pid

    def wait(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Scene:
    """An agent with the tracepoint rung, and two containers that run."""

    def __init__(self, gateway: Gateway, direct: Docker, image: str, socket: Path) -> None:
        self.gateway = gateway
        self.socket = socket
        self._direct = direct
        self.stack = contextlib.ExitStack()
        self.flooder, self.victim = self._container(image), self._container(image)

    def intrude(self, folder: Path, times: int = 1) -> Intruder:
        """Connect to the engine's own socket from a container."""
        return self._start(folder, self.socket, times, "")

    def ask(self, folder: Path, times: int = 1) -> Intruder:
        """Ask the gateway from a container."""
        return self._start(folder, self.gateway.socket, times, QUESTION)

    def _start(self, *what: Any) -> Intruder:
        intruder = Intruder(*what)
        self.stack.callback(intruder.close)
        return intruder

    def denials_of(self, pid: int) -> list[dict[str, Any]]:
        return [
            record
            for record in self.gateway.audit()
            if record.get("rule") == "guard" and (record["process"] or {}).get("pid") == pid
        ]

    def memory_kib(self) -> int:
        text = Path(f"/proc/{self.gateway.warden.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))

    def settled(self) -> Callable[[], float]:
        """Return a question for ``eventually``: how many events were dealt with, once it was as many as before."""
        last = [-1.0]

        def ask() -> float:
            metrics = self.gateway.metrics()
            now = sum(number for name, number in metrics.items() if name.startswith("sockwarden_guard_events_total"))
            before, last[0] = last[0], now
            return now if now == before else 0.0

        return ask

    def _container(self, image: str) -> Path:
        run = ("run", "-d", "--network=none", image, "sleep", "600")
        container_id = self._direct.right(*run).strip()
        self.stack.callback(self._direct, "rm", "-f", container_id)
        pid = int(self._direct.right("inspect", "-f", "{{.State.Pid}}", container_id))
        top = cgrouptree.mount_point()
        assert top is not None
        return top / process.cgroup_path(pid).lstrip("/")


@pytest.fixture
def scene(
    gateway_factory: Callable[..., Gateway], direct: Docker, images: Images, engine: ThrowAwayEngine
) -> Iterator[Scene]:
    made = Scene(gateway_factory(guard={"mode": "tracepoint"}), direct, images.busybox, engine.socket)
    yield made
    made.stack.close()


def test_a_flood_of_connects_hides_nobody_and_does_not_grow_the_agent(
    scene: Scene, eventually: Callable[..., Any]
) -> None:
    scene.intrude(scene.flooder, WARM_UP).wait()
    eventually(scene.settled())
    before = scene.memory_kib()
    flooder = scene.intrude(scene.flooder, FLOOD)
    victim = scene.intrude(scene.victim)
    assert eventually(lambda: scene.denials_of(victim.pid))
    flooder.wait()
    # One record for a container and a second: the flood may be counted in that of the warming-up.
    assert eventually(lambda: [record for record in scene.gateway.audit() if record.get("repeated", 0) > 1])
    told = 'sockwarden_guard_connects_total{outcome="matched"}'
    eventually(lambda: scene.gateway.metrics()[told] >= WARM_UP + FLOOD + 1)
    lines = [record for record in scene.gateway.audit() if record.get("rule") == "guard"]
    assert len(lines) < FLOOD / 100
    assert scene.gateway.metrics()['sockwarden_guard_records_muted_total{ring="connects"}'] > 0
    assert scene.memory_kib() - before < GROWTH_KIB


def test_a_flood_of_cgroups_and_namespaces_hides_nobody_and_does_not_grow_the_agent(
    scene: Scene, eventually: Callable[..., Any]
) -> None:
    before = scene.memory_kib()
    make = (
        "import os, sys\nwith open(sys.argv[1] + '/cgroup.procs', 'w') as procs: procs.write('0')\n"
        f"for n in range({CGROUPS}):\n  os.mkdir(f'{{sys.argv[1]}}/f{{n}}'); os.rmdir(f'{{sys.argv[1]}}/f{{n}}')\n"
        f"for _ in range({NAMESPACES}): os.spawnlp(os.P_WAIT, 'unshare', 'unshare', '--pid', '--fork', 'true')\n"
    )
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", make, str(scene.flooder)]) as flood:
        victim = scene.intrude(scene.victim)
        assert eventually(lambda: scene.denials_of(victim.pid))
        assert flood.wait() == 0
    metrics = scene.gateway.metrics()
    assert metrics["sockwarden_guard_cgroups_evicted_total"] == 0
    assert scene.memory_kib() - before < GROWTH_KIB


def test_a_flood_of_refused_requests_becomes_a_few_records_and_hides_nobody(
    scene: Scene, eventually: Callable[..., Any]
) -> None:
    scene.ask(scene.flooder, QUESTIONS // 5).wait()
    before = scene.memory_kib()
    flooder = scene.ask(scene.flooder, QUESTIONS)
    victim = scene.ask(scene.victim)
    victim.wait()
    flooder.wait()

    def refusals(pid: int) -> list[dict[str, Any]]:
        denials = [record for record in scene.gateway.denials() if record["rule"] == "image-list"]
        return [record for record in denials if record["process"]["pid"] == pid]

    assert len(refusals(victim.pid)) == 1
    assert eventually(lambda: sum(1 + r.get("repeated", 0) for r in refusals(flooder.pid)) >= QUESTIONS)
    assert len(refusals(flooder.pid)) < QUESTIONS / 20
    assert scene.memory_kib() - before < GROWTH_KIB


def test_the_canary_flies_while_the_agent_runs_and_is_nobodys_denial(
    scene: Scene, eventually: Callable[..., Any]
) -> None:
    metrics = eventually(scene.gateway.metrics)
    assert metrics["sockwarden_guard_canary_held"] == 1
    assert metrics['sockwarden_guard_sockets{class="engine"}'] == 1
