"""The whole agent in front of a real engine, and containers that try the engine's own socket.

Owns one throw-away engine and one agent; the machine ends with them. Each container has the folder of the
engine's parked socket mounted, which nothing but the guard stands in front of.
"""

from __future__ import annotations

import contextlib
import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.guest import roads
from tests.vm.guest.cases import same

from sockwarden.demo import child, image, isolation, warden
from sockwarden.demo import engine as demo_engine

if TYPE_CHECKING:
    from tests.vm.guest.report import Report

ROOT: Final = Path("/run/e")
PARKED: Final = ROOT / "sockwarden" / "engine.sock"

DEBIAN_PACKAGES: Final = Path("/usr/lib/python3/dist-packages")

POLICY: Final = {"configurationFileVersion": 2, "enhancedContainerIsolation": {"locked": True, "value": True}}
"""No image may use the socket: while nothing is enforced, the guard only reports."""

PATIENCE_SECONDS: Final = 240.0
"""For what the demonstration gives half a minute on iron."""

HOW: Final = ("plain", "compat", "ring", "ring-worker", "ring-poller")
"""As guest/client.c names them."""


def containers_are_walled_off(report: Report, rung: str) -> None:
    _prepare()
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        dockerd = demo_engine.ThrowAwayEngine(ROOT, private=False)
        stack.callback(dockerd.stop)
        dockerd.start()
        report.tell("engine: seconds to start", round(time.monotonic() - started, 1))
        image.busybox_tree(ROOT / "tree.tar")
        image.import_image(dockerd, ROOT / "tree.tar", "box:latest")
        with report.case("engine: a container runs before the agent does"):
            same(dockerd.docker("run", "--rm", "--network=none", "box", "true").returncode, 0)
        agent = warden.ThrowAwayWarden(ROOT / "w", engine_socket=dockerd.socket, listen=dockerd.socket)
        agent.configure(POLICY, guard={"mode": rung})
        stack.callback(agent.stop)
        started = time.monotonic()
        agent.start()
        report.tell("agent: seconds to start", round(time.monotonic() - started, 1))
        report.tell("agent: what it says", agent.log())

        with report.case("engine: the host's docker goes through the gateway"):
            same(dockerd.docker("version", check=False).returncode, 0)
        with report.case("engine: the host reaches the parked socket too"):
            same(roads.connect(str(PARKED)), 0)
        with report.case("engine: a container runs through the gateway"):
            same(dockerd.docker("run", "--rm", "--network=none", "box", "true", check=False).returncode, 0)
        for how in HOW:
            with report.case(f"engine: {how} from a container fails with EPERM"):
                same(_connect_in_container(dockerd, how), errno.EPERM)
        with report.case("engine: all power short of the host's namespaces does not help"):
            same(_connect_in_container(dockerd, "plain", "--privileged", "--pid=host", "--userns=host"), errno.EPERM)
        with report.case("engine: the metrics count what was denied"):
            blocked = agent.metrics()['sockwarden_guard_events_total{kind="blocked"}']
            same(blocked, float(len(HOW) + 1))
        with report.case("engine: every client of the gateway is known by what connect() wrote down"):
            same(_sources(agent), {"kernel"})
        with report.case("engine: a container that goes on asking the gateway is refused by the kernel"):
            same(_connect_in_container(dockerd, "ask", path=dockerd.socket), errno.EPERM)
            told = [record for record in agent.audit() if record.get("command") == "connect"]
            same([record["rule"] for record in told if record["rule"] != "guard"], ["image-list"])
        with report.case("engine: another container is told by the gateway, and the first one's end ends its verdict"):
            same(_connect_in_container(dockerd, "plain", path=dockerd.socket), 0)
            child.wait_until(
                lambda: agent.metrics()["sockwarden_guard_denied_cgroups"] == 0, PATIENCE_SECONDS, "the verdict ends"
            )
        with report.case("engine: the canary flies while the agent runs, and no program was skipped"):
            held = 'sockwarden_guard_canary_flights_total{result="held"}'
            child.wait_until(lambda: agent.metrics()[held] > 0, PATIENCE_SECONDS, "the canary has flown")
            metrics = agent.metrics()
            same(metrics['sockwarden_guard_canary_flights_total{result="failed"}'], 0.0)
            same(sum(value for name, value in metrics.items() if "guard_missed_total" in name), 0.0)
            same(metrics[f'sockwarden_guard_rung{{rung="{rung}"}}'], 1.0)
        with report.case("engine: the road is open when the agent has gone"):
            agent.stop()
            same(_connect_in_container(dockerd, "plain", path=dockerd.socket), 0)


def _connect_in_container(dockerd: demo_engine.ThrowAwayEngine, how: str, *options: str, path: Path = PARKED) -> int:
    """Run the client in a container that was made behind the gateway's back; return its exit status."""
    mounts = [f"--volume={path.parent}:/d", f"--volume={roads.CLIENT}:/client:ro"]
    command = ["run", "--rm", "--network=none", *options, *mounts, "box", "/client", how, f"/d/{path.name}"]
    done = dockerd.docker(*command, host=path, check=False)
    if done.returncode >= 125:
        raise AssertionError(done.stderr.decode("utf-8", "replace"))
    return done.returncode


def _sources(agent: warden.ThrowAwayWarden) -> set[str]:
    """Return by which steps any client was identified."""
    prefix = 'sockwarden_identities_total{source="'
    return {key[len(prefix) : -2] for key, value in agent.metrics().items() if key.startswith(prefix) and value}


def _prepare() -> None:
    """Make the agent importable by the programs that it starts, and give them time."""
    (DEBIAN_PACKAGES / "sockwarden.pth").write_text("/t/agent\n", "ascii")
    isolation._loopback_up()
    ROOT.mkdir()
    demo_engine.START_SECONDS = demo_engine.COMMAND_SECONDS = PATIENCE_SECONDS  # type: ignore[misc]
    warden.READY_SECONDS = PATIENCE_SECONDS  # type: ignore[misc]
