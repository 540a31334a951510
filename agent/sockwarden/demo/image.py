"""Small images made from what is on this machine: no network, no foreign binary.

Owns the file trees: Debian's static busybox, and the docker CLI and curl with the libraries that they
load. It must never put anything else of the host into an image.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.demo.engine import docker_cli, program

if TYPE_CHECKING:
    from sockwarden.demo.engine import ThrowAwayEngine

_LIBRARY: Final = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
"""A line of ldd(1) that names a file."""


def libraries(binary: str) -> list[str]:
    """Return the shared libraries and the loader that ``binary`` needs; none for a static one."""
    done = subprocess.run(["ldd", binary], check=False, capture_output=True, text=True)
    return _LIBRARY.findall(done.stdout) if done.returncode == 0 else []


class _Tree:
    """A root file system in the making, as a tar archive."""

    def __init__(self, file: Path) -> None:
        self._archive: Final = tarfile.open(file, "w")  # noqa: SIM115 # closed by close()
        self._known: Final[set[str]] = set()

    def directory(self, name: str) -> None:
        self._add(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)

    def text(self, name: str, content: str) -> None:
        self._add(name, tarfile.REGTYPE, 0o644, content.encode())

    def binary(self, name: str, source: str) -> None:
        self._add(name, tarfile.REGTYPE, 0o755, Path(source).read_bytes())

    def link(self, name: str, target: str) -> None:
        self._add(name, tarfile.SYMTYPE, 0o777, target=target)

    def close(self) -> None:
        self._archive.close()

    def _add(self, name: str, kind: bytes, mode: int, content: bytes = b"", target: str = "") -> None:
        if name in self._known:
            return
        self._known.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname, entry.size = kind, mode, target, len(content)
        self._archive.addfile(entry, BytesIO(content))


def busybox_tree(file: Path, *, marker: str = "", clients: bool = False) -> None:
    """Write a root file system to ``file``. ``marker`` makes its content unique, ``clients`` adds docker and curl."""
    tree = _Tree(file)
    for name in ("bin", "etc", "lib", "lib64", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"):
        tree.directory(name)
    tree.link("var/run", "../run")
    tree.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    tree.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    if marker:
        tree.text("etc/marker", f"{marker}\n")
    busybox = program("busybox", "busybox-static")
    tree.binary("bin/busybox", busybox)
    for library in libraries(busybox):  # none, unless somebody replaced busybox-static
        tree.binary(library.lstrip("/"), library)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            tree.link(f"bin/{applet}", "busybox")
    if clients:
        for name, binary in (("docker", docker_cli()), ("curl", program("curl", "curl"))):
            tree.binary(f"usr/bin/{name}", binary)
            for library in libraries(binary):
                tree.binary(library.lstrip("/"), library)
    tree.close()


def import_image(engine: ThrowAwayEngine, file: Path, *references: str) -> str:
    """Import the root file system into the engine under all ``references``; return the image id."""
    first, *others = references
    done = engine.docker("import", "--change", 'CMD ["sh"]', "--change", "ENV PATH=/bin:/usr/bin", str(file), first)
    for other in others:
        engine.docker("tag", first, other)
    return done.stdout.decode().strip()
