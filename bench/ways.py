"""The roads from the load generator to the engine: direct, two HAProxies, sockwarden; started and stopped here.

All sockets, logs and configurations live in the run's own temporary directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import cells

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).resolve().parent
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.02

DENIED_COMMANDS: Final = ("push", "commit", "login", "volume*", "network*", "swarm init")
"""A deny list that refuses nothing that is measured, so that every request is looked up and passes."""

PING: Final = b"GET /_ping HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class BenchError(Exception):
    """Something of the benchmark itself did not work: the only reason for an exit code other than 0."""


@dataclass(frozen=True, slots=True)
class Way:
    """One road. ``pid`` is the proxy on it, None for the direct one; ``log`` is what that proxy said."""

    name: str
    socket: Path
    pid: int | None
    log: Path


@contextlib.contextmanager
def program(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with its output in ``log``, and end it on the way out, also when this process is killed."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
            client.sendall(PING)
            return client.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def log_tail(log: Path) -> str:
    """Return the end of a program's log, for an error message."""
    return log.read_text(errors="replace")[-2000:].strip() or "(nothing)"


def wait_until_it_answers(name: str, path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when GET /_ping gives 200. Raises BenchError with the end of the log when it does not, or has ended."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{name} does not answer on its socket; it says:\n{log_tail(log)}")
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def stand_in_engine(directory: Path, containers: int = 0) -> Iterator[Path]:
    """Run the C upstream; yields its socket."""
    path, log = directory / "engine.sock", directory / "engine.log"
    with program([str(HERE / "bin" / "upstream"), str(path), str(containers)], log) as process:
        wait_until_it_answers("the stand-in engine", path, process, log)
        yield path


@contextlib.contextmanager
def haproxy(name: str, configuration: str, engine: Path, directory: Path) -> Iterator[Way]:
    """Run Debian's HAProxy in front of the engine with one of the configurations of this directory."""
    path, log = directory / f"{configuration}.sock", directory / f"{configuration}.log"
    command = ["haproxy", "-db", "-f", str(HERE / f"haproxy-{configuration}.cfg")]
    with program(command, log, {"BENCH_ENGINE": str(engine), "BENCH_LISTEN": str(path)}) as process:
        wait_until_it_answers(name, path, process, log)
        yield Way(name, path, process.pid, log)


def write_policy(path: Path, entries: int) -> None:
    """Write a policy that turns every rule on; digest entries need no registry."""
    images = [f"docker.io/bench/image{i}@sha256:{i:064x}" for i in range(entries)]
    mount = {"imageList": {"images": images}, "commandList": {"type": "deny", "commands": list(DENIED_COMMANDS)}}
    text = {
        "configurationFileVersion": 2,
        "enhancedContainerIsolation": {"locked": True, "value": True, "dockerSocketMount": mount},
    }
    path.write_text(json.dumps(text))


@contextlib.contextmanager
def sockwarden(engine: Path, directory: Path, entries: int = 10) -> Iterator[Way]:
    """Run the daemon of this tree in front of the engine, with every rule, the audit file and the metrics on."""
    path, log = directory / "sockwarden.sock", directory / "sockwarden.log"
    policy, config = directory / "admin-settings.json", directory / "sockwarden.toml"
    write_policy(policy, entries)
    settings = {
        "engine": {"socket": str(engine)},
        "gateway": {"listen": str(path), "takeover": "none"},
        "guard": {"mode": "none", "pin_dir": ""},
        "policy": {"file": str(policy), "mode": "enforce", "action": "block"},
        "metrics": {"listen": "127.0.0.1:0"},
        "audit": {"file": str(directory / "audit.jsonl")},
        "clients": {"host": "enforce"},
    }
    # A JSON string is a TOML basic string.
    lines = [
        line
        for table, keys in settings.items()
        for line in (f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()))
    ]
    config.write_text("\n".join(lines) + "\n")
    executable = Path(sys.executable).parent / "sockwarden"
    with program([str(executable), "run", "--config", str(config)], log) as process:
        wait_until_it_answers("sockwarden", path, process, log)
        yield Way(cells.SOCKWARDEN, path, process.pid, log)


@contextlib.contextmanager
def all_ways(engine: Path, directory: Path, wanted: tuple[str, ...]) -> Iterator[list[Way]]:
    """Start every wanted road in front of one engine; yields them in the order of the table."""
    with contextlib.ExitStack() as stack:
        started = []
        for name in wanted:
            if name == cells.DIRECT:
                started.append(Way(name, engine, None, directory / "engine.log"))
            elif name == cells.SOCKWARDEN:
                started.append(stack.enter_context(sockwarden(engine, directory)))
            else:
                configuration = "usual" if name == cells.HAPROXY else "tuned"
                started.append(stack.enter_context(haproxy(name, configuration, engine, directory)))
        yield started
