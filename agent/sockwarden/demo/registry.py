"""A throw-away image registry on a free loopback port.

Owns one docker-registry process and its storage directory. It must never listen beyond loopback.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Final

from sockwarden.demo.child import Child, ChildError, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS: Final = 20.0
_LISTENING: Final = re.compile(r"listening on (127\.0\.0\.1:[0-9]+)")


class ThrowAwayRegistry:
    """docker-registry in a directory of its own; it also plays docker.io's mirror for the engine."""

    def __init__(self, root: Path) -> None:
        self._root: Final = root
        self._child: Final = Child("docker-registry", root / "registry.log")
        self._address = ""

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``."""
        return self._address

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"http://{self._address}"

    def start(self) -> None:
        """Start it on a port that the kernel picks, and wait until it listens."""
        if shutil.which("docker-registry") is None:
            raise ChildError("docker-registry is not installed", remedy="run 'make setup' (Debian: docker-registry)")
        configuration = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self._root / "registry")}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:0", "secret": "throw-away"},
        }
        file = self._root / "registry.yml"
        file.write_text(json.dumps(configuration), "utf-8")  # JSON is YAML
        self._child.start(["docker-registry", "serve", str(file)], clean_environment(self._root))
        self._address = self._child.wait_until(self._listening, START_SECONDS, "listens")

    def stop(self) -> None:
        """End it. Its storage goes with the directory."""
        self._child.stop()

    def _listening(self) -> str | None:
        found = _LISTENING.search(self._child.said())
        return found[1] if found else None
