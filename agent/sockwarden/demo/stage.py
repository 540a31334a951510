"""The stage of the demonstration: engine, registry, images and sockwarden, put up and taken down.

Owns the order of building up and of cleaning up. Everything lives in private mount and network
namespaces, so that the socket can have its usual path while an engine that runs already keeps its own.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.demo import image, isolation
from sockwarden.demo.engine import ThrowAwayEngine
from sockwarden.demo.registry import ThrowAwayRegistry
from sockwarden.demo.warden import ThrowAwayWarden

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLIC_SOCKET: Final = Path("/run/docker.sock")
"""The usual path, in our own mount namespace."""

BULK: Final = ("data", "exec", "registry", "docker-config")
"""What nobody wants to keep: images and sockets."""


class Stage:
    """Put up by ``build``, taken down by ``clean`` whatever happened in between."""

    def __init__(self) -> None:
        self.root: Final = Path(tempfile.mkdtemp(prefix="sockwarden-demo-"))
        self.registry: Final = ThrowAwayRegistry(self.root)
        self._undo: Final[list[Callable[[], object]]] = []
        self._engine: ThrowAwayEngine | None = None
        self._warden: ThrowAwayWarden | None = None

    @property
    def engine(self) -> ThrowAwayEngine:
        """The engine, once built."""
        if self._engine is None:
            raise AssertionError("the stage is not built")
        return self._engine

    @property
    def warden(self) -> ThrowAwayWarden:
        """The sockwarden in front of it, once built."""
        if self._warden is None:
            raise AssertionError("the stage is not built")
        return self._warden

    def build_engine(self) -> None:
        """Enter the private namespaces; start registry and engine."""
        made = isolation.enter(network=True)
        self._undo.append(lambda: isolation.forget(made))
        self._undo.append(self.registry.stop)
        self.registry.start()
        self._engine = ThrowAwayEngine(self.root, socket_path=PUBLIC_SOCKET, mirror=self.registry.url, private=False)
        self._undo.append(self._engine.stop)
        self._engine.start()

    def build_images(self) -> None:
        """Publish ``docker:cli`` on the registry that plays docker.io, and make two local images."""
        published = f"{self.registry.address}/library/docker:cli"
        tree = self.root / "tree.tar"
        image.busybox_tree(tree, clients=True)
        image.import_image(self.engine, tree, published)
        self.engine.docker("push", published)
        self.engine.docker("image", "rm", published)
        image.busybox_tree(tree, marker="evil")
        image.import_image(self.engine, tree, "evil", "myimage")
        tree.unlink()

    def build_warden(self, policy: dict[str, object]) -> None:
        """Start sockwarden; it swaps its socket into the public path, live."""
        self._warden = ThrowAwayWarden(
            self.root / "warden", engine_socket=PUBLIC_SOCKET, listen=PUBLIC_SOCKET, takeover="swap"
        )
        self._warden.configure(policy, registry={"mirrors": {"docker.io": self.registry.url}})
        self._undo.append(self._warden.stop)
        self._warden.start()

    def stop_warden(self) -> int | None:
        """Stop sockwarden; it gives the socket back."""
        return self.warden.stop()

    def clean(self, *, keep: bool) -> list[str]:
        """Take everything down; ``keep`` leaves the directory with logs and records. Returns what is left behind."""
        while self._undo:
            self._undo.pop()()
        for directory in [self.root / name for name in BULK] if keep else [self.root]:
            with contextlib.suppress(OSError):
                shutil.rmtree(directory)
        return self._traces(keep=keep)

    def _traces(self, *, keep: bool) -> list[str]:
        traces = [] if keep or not self.root.exists() else [str(self.root)]
        if self._engine is not None:
            traces += self._engine.traces()
        return traces
