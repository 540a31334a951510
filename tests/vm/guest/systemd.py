"""A whole system: systemd, Debian's engine as its units start it, the agent as a service, real containers.

Owns the container that goes on connecting while the services beside it are stopped, killed and started again: it
was made behind the gateway's back, and has /run mounted. What it got is read from a file that it keeps.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import struct
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm.guest import roads
from tests.vm.guest.cases import same

from sockwarden.demo import image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.vm.guest.report import Report

CONNECTS: Final = Path("/t/connects")
TALLIES: Final = Path("/run/tallies")

PUBLIC: Final = Path("/run/docker.sock")
PARKED: Final = Path("/run/sockwarden/engine.sock")
CONTAINERD: Final = Path("/run/containerd/containerd.sock")

WATCHED: Final = {PUBLIC: PUBLIC, PARKED: PUBLIC, CONTAINERD: CONTAINERD}
"""What the container connects to, and the name that the listener was bound to which it must not reach there.

The engine's own socket was bound to the public path, and keeps that name where it is parked.
"""

METRICS: Final = "http://127.0.0.1:9717/metrics"

PATIENCE_SECONDS: Final = 240.0
"""For what takes some seconds on iron."""

CALM_US: Final = 50_000
EAGER_US: Final = 2_000
"""Between the container's rounds: the agent under software emulation takes some milliseconds for each record."""

ROUNDS: Final = 200
"""How many connects to each socket are a proof that it is closed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the connects to one path; struct tally of connects.c."""

    refused: int
    reached: int
    other: int
    failed: int
    first_ns: int
    last_ns: int
    rounds: int
    last_errno: int


_TALLY: Final = struct.Struct("=8Q")
_HEAD: Final = struct.Struct("=QQ")  # the pause, and what became of the connection that is held
_OPEN: Final = 1
_ENDED: Final = 2


def the_whole_system_is_walled(report: Report, rung: str) -> None:
    _without_the_agent(report)
    _with_the_agent(report, rung)
    _while_services_come_and_go(report)


def _without_the_agent(report: Report) -> None:
    with report.case("systemd: the engine is up by its own unit"):
        _until("the engine answers", lambda: _docker("version", check=False).returncode == 0)
        report.tell("systemd: seconds since boot", round(time.monotonic()))
        image.busybox_tree(Path("/tmp/tree.tar"))
        _docker("import", "/tmp/tree.tar", "box:latest")
    with report.case("systemd: a container that has /run reaches the engine before the agent runs"):
        words = [f"/h{path}={bound}" for path, bound in WATCHED.items()]
        mounts = ["--volume=/run:/h/run", f"--volume={CONNECTS}:/connects:ro"]
        _docker("run", "--detach", "--network=none", *mounts, "box", "/connects", "count", f"/h{TALLIES}", *words)
        _until("the container connects", lambda: _tally(PUBLIC).reached > 0 and _tally(CONTAINERD).reached > 0)
        report.tell("systemd: seconds since boot", round(time.monotonic()))
        same(_held(), _OPEN)


def _with_the_agent(report: Report, rung: str) -> None:
    with report.case("systemd: the agent comes up in its sandbox, and takes its best rung"):
        started = time.monotonic()
        _systemctl("start", "sockwarden.service")
        _until_serving()
        report.tell("systemd: seconds to start the agent", round(time.monotonic() - started, 1))
        report.tell("systemd: the agent's memory", _resident(_main_pid()))
        same(re.findall(r'guard="(\w+)"', _metrics()), [rung])
    with report.case("systemd: the connection that the container held to the engine is cut"):
        _until("it is cut", lambda: _held() == _ENDED)
    _closed(report, "after the agent's start")
    with report.case("systemd: the journal tells which container was refused"):
        number = _docker("ps", "--no-trunc", "--quiet").stdout.strip()
        said = _run("journalctl", "--unit=sockwarden.service", "--output=cat").stdout
        records = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        found = {(one["target"], (one.get("container") or {}).get("id")) for one in records if one["rule"] == "guard"}
        same({(str(PARKED), number), (str(CONTAINERD), number)} <= found, True)
    with report.case("systemd: the host's docker runs a container"):
        _docker("run", "--rm", "--network=none", "box", "true")
    with report.case("systemd: a host service in a sandbox reaches containerd and the engine"):
        _systemctl("start", "sockwarden-neighbour.service")


def _while_services_come_and_go(report: Report) -> None:
    with _shut(report, "systemctl restart docker"):  # docker.socket goes on listening: the same object
        _systemctl("restart", "docker.service")
        _until("the engine answers", lambda: _docker("version", check=False).returncode == 0)
    _closed(report, "after the engine's restart")
    with _window(report, "systemctl restart docker.socket"):
        _systemctl("stop", "docker.socket", "docker.service")
        _systemctl("start", "docker.socket", "docker.service")
        _until_parked()
    _closed(report, "after the engine's socket was made anew")
    with _shut(report, "systemctl restart sockwarden"):
        _systemctl("restart", "sockwarden.service")
        _until_serving()
    _closed(report, "after the agent's restart")
    with _shut(report, "kill -9 of the agent"):
        before = _main_pid()
        _systemctl("kill", f"--signal={int(signal.SIGKILL)}", "sockwarden.service")
        _until("systemd starts another", lambda: _main_pid() not in (0, before))
        _until_serving()
    _closed(report, "after the agent was killed")
    with report.case("systemd: the host's docker still works"):
        _docker("ps")
    with _shut(report, "systemctl stop sockwarden"):
        _systemctl("stop", "sockwarden.service")
        _docker("version")
    with report.case("systemd: the container reaches all of them again once the guard is unloaded"):
        _run("/usr/bin/python3", "-m", "sockwarden", "guard", "unload")
        with _counted_anew():
            _until("the container connects", lambda: _tally(PUBLIC).reached > 0 and _tally(CONTAINERD).reached > 0)


def _closed(report: Report, when: str) -> None:
    """Play the container's connects of this moment: neither the engine nor containerd is reached by them."""
    with report.case(f"systemd: the container reaches neither engine nor containerd {when}"):
        with _counted_anew():
            _until("the container goes on connecting", lambda: all(one.rounds >= ROUNDS for one in _tallies().values()))
        found = _tallies()
        same({str(path): tally.reached for path, tally in found.items()}, {str(path): 0 for path in WATCHED})
        same((found[PARKED].refused >= ROUNDS, found[CONTAINERD].refused >= ROUNDS), (True, True))
        same(found[PUBLIC].other > 0, True)  # the gateway's own


@contextlib.contextmanager
def _window(report: Report, what: str) -> Iterator[None]:
    """Do something to the services, and tell what the container reached meanwhile."""
    with report.case(f"systemd: {what} goes well"), _counted_anew():
        yield
    for path, got in _tallies().items():
        open_ms = (got.last_ns - got.first_ns) // 1_000_000
        said = f"reached by {got.reached} of {got.rounds} connects, {open_ms} ms from first to last"
        report.tell(f"systemd: {what}: {path}", said)


@contextlib.contextmanager
def _shut(report: Report, what: str) -> Iterator[None]:
    """Do something to the services that opens nothing."""
    with _window(report, what):
        yield
    with report.case(f"systemd: the container reaches nothing during {what}"):
        same({str(path): got.reached for path, got in _tallies().items()}, {str(path): 0 for path in WATCHED})


@contextlib.contextmanager
def _counted_anew() -> Iterator[None]:
    """Let the container connect more often meanwhile, and count only that."""
    _write(bytes(_TALLY.size * len(WATCHED)), _HEAD.size)
    _write(EAGER_US.to_bytes(8, "little"))
    try:
        yield
    finally:
        _write(CALM_US.to_bytes(8, "little"))


def _write(data: bytes, place: int = 0) -> None:
    with TALLIES.open("r+b") as file:
        file.seek(place)
        file.write(data)


def _held() -> int:
    found: int = _HEAD.unpack_from(TALLIES.read_bytes())[1]
    return found


def _tally(path: Path) -> Tally:
    return _tallies()[path]


def _tallies() -> dict[Path, Tally]:
    try:
        data = TALLIES.read_bytes()
    except FileNotFoundError:
        data = b""
    data = data.ljust(_HEAD.size + _TALLY.size * len(WATCHED), b"\0")
    return {path: Tally(*one) for path, one in zip(WATCHED, _TALLY.iter_unpack(data[_HEAD.size :]), strict=False)}


def _until(what: str, found: Callable[[], bool]) -> None:
    """Ask again and again; an event to wait for would be of another kind for each."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_SECONDS:.0f} s: {what}; {_tallies()}\n{_journal()}")
        time.sleep(0.2)


def _until_serving() -> None:
    _until("the agent serves", lambda: "sockwarden_" in _metrics())
    _until_parked()


def _until_parked() -> None:
    _until("the engine's socket is parked and answers", lambda: roads.connect(str(PARKED)) == 0)


def _metrics() -> str:
    """Return the agent's page, "" while there is none."""
    try:
        with urllib.request.urlopen(METRICS, timeout=10) as answer:
            page: str = answer.read().decode()
    except OSError:
        return ""
    return page


def _main_pid() -> int:
    return int(_run("systemctl", "show", "--property=MainPID", "--value", "sockwarden.service").stdout)


def _resident(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(line for line in lines if line.startswith("VmRSS:"))


def _systemctl(*words: str) -> None:
    done = _run("systemctl", *words, check=False)
    if done.returncode != 0:
        raise AssertionError(f"systemctl {' '.join(words)}: {done.stderr}\n{_journal(*words[1:])}")


def _docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return _run("docker", *words, check=check)


def _journal(*units: str) -> str:
    """Return the journal's end, of these units or of all but the agent's records of denials."""
    words = [f"--unit={unit}" for unit in units if unit.endswith((".service", ".socket"))] or ["--priority=warning"]
    return _run("journalctl", "--no-pager", "--lines=20", "--output=cat", *words, check=False).stdout


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return done
