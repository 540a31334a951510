"""A throw-away Docker Engine: the installed programs on data, sockets and cgroups of their own.

Owns one dockerd, its containerd and everything that they leave behind. It must never touch an engine
that runs already: not its socket, its data, its containerd, its cgroups or its configuration.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.demo import isolation
from sockwarden.demo.child import Child, ChildError, clean_environment, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS: Final = 60.0
"""A cold dockerd on a slow disk needs some seconds; a minute means that it will not come."""

COMMAND_SECONDS: Final = 120.0
"""No docker command on these small images takes longer."""

LEFTOVER_SECONDS: Final = 5.0
"""Shims and cgroups go away by themselves soon after the engine; then they are removed."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""``sun_path`` has 108 bytes with its final NUL (unix(7))."""

LONGEST_SOCKET: Final = "exec/containerd/containerd.sock.ttrpc"
"""The longest name of a socket that dockerd or containerd makes below our directory."""

CONTAINERD_STORE: Final = "containerd-snapshotter"
"""The feature that keeps images in containerd's store, where the id of an image is the digest of its index."""

CGROUPS: Final = Path("/sys/fs/cgroup")


def engine_answers(socket_path: Path) -> bool:
    """Say whether an HTTP server answers ``GET /_ping`` on the unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(2)
        connection.sock.connect(str(socket_path))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.client.OK
    return False


def program(name: str, package: str, path: str | None = None) -> str:
    """Return where a program is on ``path``, by default PATH. Raises ``ChildError`` that names the package."""
    found = shutil.which(name, path=path)
    if found is None:
        raise ChildError(f"{name} is not installed", remedy=f"run 'make setup' (Debian: {package})")
    return found


def docker_cli() -> str:
    """Return the docker CLI that was installed with the engine, else the first on PATH."""
    beside = Path(program("dockerd", "docker.io")).resolve().parents[1] / "bin" / "docker"
    return str(beside) if os.access(beside, os.X_OK) else program("docker", "docker.io")


class ThrowAwayEngine:
    """A dockerd below ``root``. ``private``: in its own mount namespace (else the caller made one).

    ``programs`` are folders that are looked into before PATH, for another version than the installed one;
    ``features`` those of dockerd's configuration file.
    """

    def __init__(
        self,
        root: Path,
        *,
        socket_path: Path | None = None,
        mirror: str = "",
        private: bool = True,
        programs: tuple[Path, ...] = (),
        features: Mapping[str, bool] | None = None,
    ) -> None:
        self.root: Final = root
        self.socket: Final = socket_path or root / "docker.sock"
        self.cgroup_parent: Final = f"/{root.name}"
        self._mirror: Final = mirror
        self._private: Final = private
        self._programs: Final = programs
        self._features: Final = features or {}
        self._child: Final = Child("dockerd", root / "dockerd.log")
        self._made: list[Path] = []

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._child.pid

    @property
    def log(self) -> Path:
        """The engine's log, kept until the directory goes."""
        return self._child.log

    def start(self) -> None:
        """Start dockerd and wait until it answers."""
        if len(os.fsencode(self.root / LONGEST_SOCKET)) > MAX_SOCKET_PATH_BYTES:
            raise ChildError(f"{self.root}: too long a path for unix sockets", remedy="set TMPDIR to a shorter one")
        if self._private:
            self._made += [each for each in isolation.PRIVATE_DIRECTORIES if not each.exists()]
        (self.root / "daemon.json").write_text(json.dumps({"features": dict(self._features)}), "utf-8")
        environment = clean_environment(self.root)
        environment["PATH"] = os.pathsep.join([*map(str, self._programs), environment["PATH"]])
        command = [
            *(program("dockerd", "docker.io", environment["PATH"]), "--config-file", str(self.root / "daemon.json")),
            *("--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec")),
            *("--pidfile", str(self.root / "dockerd.pid"), "--host", f"unix://{self.socket}"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--userland-proxy=false"),
            *("--cgroup-parent", self.cgroup_parent),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--shutdown-timeout", "3"),
            *("--insecure-registry", "127.0.0.0/8"),
        ]
        if not self._features.get(CONTAINERD_STORE):  # its snapshotters have other names than graph drivers
            command += ["--storage-driver", self._storage_driver()]
        if self._private:  # in the host's network namespace: its settings are not ours to change
            command.append("--ip-forward=false")
        if self._mirror:
            command += ["--registry-mirror", self._mirror]
        self._child.start(command, environment, private=self._private)
        self._child.wait_until(lambda: engine_answers(self.socket), START_SECONDS, "answers /_ping")

    def restart(self) -> None:
        """Stop dockerd as a service manager does, with its containers, and start it again on the same data."""
        self._child.stop()
        self._end_leftovers()
        self.start()

    def environment(self, host: Path | None = None) -> dict[str, str]:
        """Return the environment in which the docker CLI talks to this engine (or to ``host``)."""
        config = self.root / "docker-config"
        config.mkdir(exist_ok=True)
        environment = clean_environment(
            self.root, DOCKER_HOST=f"unix://{host or self.socket}", DOCKER_CONFIG=str(config), DOCKER_CLI_HINTS="false"
        )
        environment["PATH"] = f"{Path(docker_cli()).parent}:{environment['PATH']}"
        return environment

    def docker(
        self, *arguments: str, host: Path | None = None, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the docker CLI against this engine. Raises ``ChildError`` on failure if ``check``."""
        try:
            done = subprocess.run(
                [docker_cli(), *arguments],
                env=self.environment(host),
                input=stdin,
                capture_output=True,
                check=False,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"docker {' '.join(arguments)}: no end within {COMMAND_SECONDS:g} s") from None
        if check and done.returncode != 0:
            text = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
            raise ChildError(f"docker {' '.join(arguments)}: {text}")
        return done

    def stop(self) -> None:
        """End the engine and all that it started, and remove every trace outside of ``root``."""
        if self._child.alive():
            with contextlib.suppress(ChildError):
                containers = self.docker("ps", "-aq", check=False).stdout.decode().split()
                if containers:
                    self.docker("rm", "-f", "-v", *containers, check=False)
        self._child.stop()
        self._end_leftovers()
        self._remove_cgroups()
        self._unmount()
        isolation.forget(self._made)

    def traces(self) -> list[str]:
        """Return what is left outside of ``root``: cgroups, processes, mounts. Empty after ``stop``."""
        mounts = [each for each in self._mounts() if each.startswith(f"{self.root}/")]
        processes = [f"process {pid}" for pid in self._leftovers()]
        return [*(str(each) for each in self._cgroups()), *mounts, *processes]

    def tail(self) -> str:
        """Return the end of the engine's log, for an error message."""
        return self._child.tail()

    def _storage_driver(self) -> str:
        """Return ``overlay2`` where the kernel can mount it on this file system, else ``vfs``."""
        trial = self.root / "trial"
        lower, upper, work, merged = (trial / name for name in ("lower", "upper", "work", "merged"))
        for directory in (lower, upper, work, merged):
            directory.mkdir(parents=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        works = subprocess.run(["unshare", "--mount", *mount], check=False, capture_output=True).returncode == 0
        shutil.rmtree(trial)
        return "overlay2" if works else "vfs"

    def _leftovers(self) -> Iterator[int]:
        """Yield the processes whose command line names our directory: containerd, shims, runc."""
        needle = os.fsencode(self.root)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                name = os.path.basename(words[0])
                if name.startswith((b"containerd", b"runc", b"dockerd")) and any(needle in word for word in words):
                    yield int(entry.name)

    def _end_leftovers(self) -> None:
        with contextlib.suppress(ChildError):
            wait_until(lambda: not list(self._leftovers()), LEFTOVER_SECONDS, "the engine's helpers end")
        for pid in self._leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _cgroups(self) -> list[Path]:
        name = self.cgroup_parent.strip("/")
        return [each for each in (CGROUPS / name, *(top / name for top in CGROUPS.iterdir())) if each.is_dir()]

    def _remove_cgroups(self) -> None:
        for top in self._cgroups():
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()

    def _mounts(self) -> list[str]:
        return [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]

    def _unmount(self) -> None:
        """Unmount what is left below ``root``, deepest first (only where no private namespace took it along)."""
        for mount in sorted((each for each in self._mounts() if each.startswith(f"{self.root}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
