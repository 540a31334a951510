"""Kernels, a root file system and the tests' own disk, built from Debian's packages and kept.

Owns the cache: a folder outside the tree, each entry named by what it is made of, so that an entry is never
changed. Removing the folder makes everything anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm import archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

TREE: Final = Path(__file__).resolve().parents[2]
BOOT_INIT: Final = TREE / "tests" / "vm" / "boot" / "init"
GUEST: Final = TREE / "tests" / "vm" / "guest"

ROOT_PACKAGES: Final = (
    *("libbpf1", "mount", "procps", "python3"),
    *("python3-httpx", "python3-prometheus-client", "python3-psutil", "python3-pyroute2", "python3-uvloop"),
)
"""What every root file system has."""


@dataclass(frozen=True, slots=True)
class Root:
    """One root file system: a Debian suite and what is in it besides ``ROOT_PACKAGES``."""

    suite: str
    packages: tuple[str, ...] = ()
    headers: str = ""  # the suite whose kernel's headers are in it


ROOTS: Final = {
    "plain": Root("bookworm"),  # its Python and its libbpf are the oldest that the agent supports
    "bcc": Root("bookworm", ("python3-bpfcc",), headers="bullseye"),
    "engine": Root("bookworm", ("apparmor", "busybox-static", "docker.io", "systemd", "systemd-sysv")),
}
"""By the name that a row calls it."""

ROOT_LEFT_OUT: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

ROOT_BYTES: Final = 1 << 30
"""A sparse file: as much as is written takes room."""

KERNEL_PACKAGE: Final = "linux-image-cloud-amd64"
"""Debian's kernel for virtual machines: the flavour's own differences are in drivers."""

UNUSED_SECONDS: Final = 24 * 3600
"""After it an image that no run asked for any more is removed; its successor has another name."""

MODULES: Final = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
    *("unix_diag", "overlay"),
)
"""In the order of insertion; what a kernel has built in is not there as a file."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel to boot: ``version`` is Debian's, the files are the kernel and its initramfs."""

    version: str
    image: Path
    initramfs: Path


def cache_folder() -> Path:
    """Return where built images are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "sockwarden-vm"


def kernel(suite: str, say: Callable[[str], None]) -> Kernel:
    """Return the stock kernel of a Debian suite, from the cache or built now.

    Raises:
        ArchiveError: the archive does not have it.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise archive.ArchiveError("there is no busybox; run packaging/dev/setup-vm.sh")
    recipe = json.dumps([suite, KERNEL_PACKAGE, MODULES, BOOT_INIT.read_text("utf-8"), _digest(Path(busybox))])

    def build(folder: Path) -> None:
        say(f"kernel of {suite}: downloading")
        lists = archive.Archive(suite, folder / "apt")
        package = lists.field(KERNEL_PACKAGE, "Depends").split(" ")[0]
        unpacked = folder / "unpacked"
        subprocess.run(["dpkg-deb", "-x", lists.download(package, folder / "deb"), unpacked], check=True)
        shutil.copy(next((unpacked / "boot").glob("vmlinuz-*")), folder / "vmlinuz")
        _write_initramfs(unpacked, Path(busybox), folder)
        (folder / "version").write_text(lists.field(package, "Version") + "\n", "utf-8")
        for part in ("apt", "deb", "unpacked"):
            shutil.rmtree(folder / part)

    kept = _kept(f"kernel-{suite}", recipe, build)
    return Kernel((kept / "version").read_text("utf-8").strip(), kept / "vmlinuz", kept / "initramfs.gz")


def root_file_system(name: str, say: Callable[[str], None]) -> Path:
    """Return the ext4 image that a row boots into, by its name in ``ROOTS``; machines write to a snapshot of it.

    Raises:
        ArchiveError: the archive does not have what is in it.
    """
    root = ROOTS[name]
    packages = (*ROOT_PACKAGES, *root.packages)
    release = _release(kernel(root.headers, say).image) if root.headers else ""
    recipe = json.dumps([root.suite, packages, ROOT_LEFT_OUT, ROOT_BYTES, *([release] if release else [])])

    def build(folder: Path) -> None:
        say(f"root file system {name}: building, a minute or two")
        tree = folder / "tree"
        options = [f"--aptopt={line}" for line in archive.proxies()]
        options += [f"--dpkgopt=path-exclude={pattern}" for pattern in ROOT_LEFT_OUT]
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", *options]
        included = f"--include={','.join(packages)}"
        subprocess.run([*command, included, root.suite, tree, archive.source(root.suite)], check=True)
        if release:
            _add_headers(tree, root.headers, release, folder / "headers")
        image = folder / "root.ext4"
        with image.open("wb") as file:
            file.truncate(ROOT_BYTES)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image], check=True)
        shutil.rmtree(tree)

    return _kept(f"root-{name}", recipe, build) / "root.ext4"


def programs(folder: Path) -> tuple[Path, ...]:
    """Compile what the tests need besides Python; static, so that any root file system runs it."""
    compiler = shutil.which("cc") or "clang"
    made = tuple(folder / source.stem for source in sorted(GUEST.glob("*.c")))
    for program in made:
        source = GUEST / f"{program.name}.c"
        subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-static", "-o", program, source], check=True)
    return made


def write_payload(target: Path, made: Iterable[Path], expectations: Mapping[str, object]) -> None:
    """Write the second disk: a plain tar with the agent, the guest's tests and what they should find."""
    with tarfile.open(target, "w") as tar, tempfile.TemporaryDirectory(prefix="sockwarden-vm-") as folder:
        tar.add(TREE / "agent" / "sockwarden", "agent/sockwarden", filter=_without_caches)
        tar.add(GUEST, "tests/vm/guest", filter=_without_caches)
        for program in made:
            tar.add(program, program.name)
        told = Path(folder) / "expectations.json"
        told.write_text(json.dumps(expectations), "utf-8")
        tar.add(told, "expectations.json")


def _release(image: Path) -> str:
    """Return what ``uname -r`` says once this kernel runs (Documentation/arch/x86/boot.rst: kernel_version)."""
    data = image.read_bytes()
    place = int.from_bytes(data[0x20E:0x210], "little") + 0x200
    return data[place : data.index(b" ", place)].decode("ascii")


def _add_headers(tree: Path, suite: str, release: str, folder: Path) -> None:
    """Unpack the headers of one kernel: their package, and the common one that it depends on."""
    lists = archive.Archive(suite, folder / "apt")
    package = f"linux-headers-{release}"
    common = next(name for name in lists.field(package, "Depends").replace(",", " ").split() if "-common" in name)
    for name in (package, common):
        deb = lists.download(name, folder / name)
        content = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True).stdout
        # /lib is a link to /usr/lib here and a directory there: dpkg-deb would put the one in the place of the other.
        unpack = ("tar", "--extract", "--keep-directory-symlink", "--directory", str(tree))
        subprocess.run(unpack, input=content, check=True)
    shutil.rmtree(folder)


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry


def _write_initramfs(unpacked: Path, busybox: Path, folder: Path) -> None:
    top = folder / "initramfs"
    for part in ("bin", "proc", "sys", "dev", "new", "m"):
        (top / part).mkdir(parents=True)
    shutil.copy(busybox, top / "bin" / "busybox")
    shutil.copy(BOOT_INIT, top / "init")
    (top / "init").chmod(0o755)
    insertion = []
    for name in MODULES:
        for found in unpacked.rglob(f"{name}.ko*"):
            data = found.read_bytes()
            (top / "m" / f"{name}.ko").write_bytes(lzma.decompress(data) if found.suffix == ".xz" else data)
            insertion.append(name)
    (top / "m" / "order").write_text("".join(f"{name}\n" for name in insertion), "utf-8")
    names = "".join(f"{path.relative_to(top)}\n" for path in sorted(top.rglob("*")))
    packed = subprocess.run(
        [busybox, "cpio", "-o", "-H", "newc"], input=names.encode(), cwd=top, check=True, capture_output=True
    )
    (folder / "initramfs.gz").write_bytes(gzip.compress(packed.stdout))
    shutil.rmtree(top)


def _kept(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """Return the cache's entry for a recipe; built beside it first, so that a broken build leaves none.

    Two runs may share the cache: one of them builds, and what another has used within a day is not removed.
    """
    entry = cache_folder() / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not entry.is_dir():
            with _building(entry) as folder:
                build(folder)
                folder.rename(entry)
        os.utime(entry)
        for older in cache_folder().glob(f"{name}-*"):
            if older.stat().st_mtime < time.time() - UNUSED_SECONDS:
                shutil.rmtree(older)
    return entry


@contextlib.contextmanager
def _building(entry: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
