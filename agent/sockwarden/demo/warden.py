"""sockwarden itself as a throw-away process: its files, its life, what it counts and records.

Owns one ``sockwarden run`` in front of a throw-away engine. It must use only what a user has: the
configuration file, signals, the socket, the metrics page and the audit file.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockwarden.demo.child import Child, clean_environment
from sockwarden.demo.engine import engine_answers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

READY_SECONDS: Final = 30.0
"""Loading BPF objects and asking a registry take some seconds on a busy machine."""

RELOAD_SECONDS: Final = 15.0

_READY: Final = re.compile(r"^sockwarden: ready\b.*$", re.MULTILINE)
_METRICS: Final = re.compile(r"\b(?:http://)?(127\.0\.0\.1:[0-9]+)")
_SAMPLE: Final = re.compile(r"^([a-z_]+(?:\{[^}]*\})?) ([0-9.eE+-]+)$", re.MULTILINE)


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a configuration file: strings, numbers, lists of strings, and tables of strings."""
    lines = []
    for name, keys in tables.items():
        lines.append(f"[{name}]")
        for key, value in keys.items():
            if isinstance(value, dict):
                inner = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items())
                lines.append(f"{key} = {{ {inner} }}")
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class WardenFiles:
    """Where one throw-away sockwarden keeps its things, all below ``root``."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.root / "sockwarden.toml"

    @property
    def policy(self) -> Path:
        """The policy."""
        return self.root / "admin-settings.json"

    @property
    def audit(self) -> Path:
        """The audit records."""
        return self.root / "audit.jsonl"


class ThrowAwayWarden:
    """``sockwarden run`` with a configuration of its own."""

    def __init__(self, root: Path, *, engine_socket: Path, listen: Path, takeover: str = "swap") -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.files: Final = WardenFiles(root)
        self.listen: Final = listen
        self._child: Final = Child("sockwarden", root / "sockwarden.log")
        self._tables: Final[dict[str, dict[str, Any]]] = {
            "engine": {"socket": str(engine_socket)},
            "gateway": {"listen": str(listen), "takeover": takeover},
            "guard": {"pin_dir": ""},
            "policy": {"file": str(self.files.policy)},
            "metrics": {"listen": "127.0.0.1:0"},
            "audit": {"file": str(self.files.audit)},
            "daemon": {"run_dir": str(listen.parent / "sockwarden")},
        }

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def configure(self, document: Mapping[str, Any] | str | bytes, /, **tables: Mapping[str, Any]) -> None:
        """Write the policy document, and the configuration with ``tables`` merged over its own."""
        self.write_policy(document)
        merged = {name: {**keys, **tables.get(name, {})} for name, keys in self._tables.items()}
        merged.update({name: {**keys} for name, keys in tables.items() if name not in merged})
        self.files.config.write_text(toml(merged), "utf-8")

    def write_policy(self, policy: Mapping[str, Any] | str | bytes) -> None:
        """Replace the policy file, without telling the daemon."""
        if isinstance(policy, bytes):
            self.files.policy.write_bytes(policy)
        else:
            text = policy if isinstance(policy, str) else json.dumps(policy, indent=2) + "\n"
            self.files.policy.write_text(text, "utf-8")

    def start(self) -> None:
        """Start it, and wait until it says that it is ready and answers on the public path."""
        before = len(_READY.findall(self.log()))
        command = [sys.executable, "-m", "sockwarden", "run", "--config", str(self.files.config)]
        self._child.start(command, clean_environment(self.files.root, PYTHONUNBUFFERED="1"))
        self._child.wait_until(lambda: len(_READY.findall(self.log())) > before, READY_SECONDS, "says that it is ready")
        self._child.wait_until(lambda: engine_answers(self.listen), READY_SECONDS, "answers /_ping")

    def reload(self, policy: Mapping[str, Any] | str | bytes) -> None:
        """Replace the policy, send SIGHUP, and wait until a new generation is in force."""
        before = self.metrics().get("sockwarden_policy_generation", 0.0)
        self.write_policy(policy)
        self.hangup()
        self._child.wait_until(
            lambda: self.metrics().get("sockwarden_policy_generation", 0.0) > before,
            RELOAD_SECONDS,
            "has the new policy in force",
        )

    def hangup(self) -> None:
        """Send SIGHUP."""
        self._child.send(signal.SIGHUP)

    def alive(self) -> bool:
        """Say whether it runs."""
        return self._child.alive()

    def stop(self) -> int | None:
        """Stop it as a service manager does; return its exit status."""
        return self._child.stop()

    def kill9(self) -> None:
        """Kill it without a chance to give the socket back."""
        self._child.kill9()

    def log(self) -> str:
        """Return all that it printed."""
        return self._child.said()

    def tail(self) -> str:
        """Return the end of what it printed, for an error message."""
        return self._child.tail()

    def metrics_text(self) -> str:
        """Return the metrics page."""
        ready = _READY.findall(self.log())[-1]
        address = _METRICS.search(ready)
        if address is None:
            raise AssertionError(f"no metrics address in {ready!r}")
        with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def metrics(self) -> dict[str, float]:
        """Return every sample of the metrics page: name with labels, and value."""
        return {name: float(value) for name, value in _SAMPLE.findall(self.metrics_text())}

    def audit(self) -> list[dict[str, Any]]:
        """Return the audit records, oldest first."""
        if not self.files.audit.exists():
            return []
        return [json.loads(line) for line in self.files.audit.read_text("utf-8").splitlines()]
