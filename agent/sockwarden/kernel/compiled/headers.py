"""Kernel headers of the running kernel: where they are, of which version, and which BCC cannot read them.

Owns the places where distributions put them and the known limits. Must not compile anything.
"""

from __future__ import annotations

import contextlib
import errno
import platform
import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterator

Version = tuple[int, ...]

OLDEST: Final[Version] = (5, 8)
"""BPF ring buffers are of Linux 5.8."""

UNREADABLE: Final[tuple[tuple[Version, Version], ...]] = (
    ((6, 18), (0, 36, 1)),
    ((6, 10), (0, 31)),
    ((6, 3), (0, 28)),
    ((6, 2), (0, 26)),
    ((5, 15), (0, 21)),
)
"""From this kernel on, at least this BCC. include/linux/bpf.h asks for the size of structs (bpf_task_work, bpf_wq,
bpf_rb_root, bpf_list_head, bpf_timer) that an older BCC's own copy of the user space header lacks. Seen: BCC 0.26 with
headers of 6.12 ends in "incomplete type 'struct bpf_refcount'"."""

REMEDY: Final = (
    "install the kernel's headers: apt install linux-headers-{release}, or dnf install kernel-devel-{release}"
)

ARCHIVE: Final = "sys/kernel/kheaders.tar.xz"
"""With CONFIG_IKHEADERS the kernel carries its headers; as a module, after ``modprobe kheaders``."""

ARCHIVE_BYTES: Final = 1 << 30
"""Linux's own headers unpack to some 50 MB."""

_MARK: Final = "include/linux/kconfig.h"
_GENERATED: Final = "include/generated/utsrelease.h"
"""BCC begins with the first; the second says whose headers they are."""


@dataclass(frozen=True, slots=True)
class Headers:
    """``source`` is what BCC must be told (BCC_KERNEL_SOURCE), or None where it finds them by itself."""

    release: str
    version: Version
    source: Path | None = None


def find(root: Path = Path("/"), release: str = "") -> Headers:
    """Return the headers of the kernel ``release`` (the running one) below ``root``.

    An archive of the kernel's own counts too, and has no ``source`` yet; see ``unpacked``.

    Raises:
        KernelError: there are none, they are another kernel's, or the kernel is too old.
    """
    release = release or platform.release()
    version = parse(release)
    if version < OLDEST:
        raise KernelError(
            f"Linux {release} has no BPF ring buffers", errno=errno.ENOSYS, remedy="use Linux 5.8 or later"
        )
    modules = root / "lib/modules" / release
    told = ""
    for build, source in (
        (modules / "build", modules / "source"),  # Debian's two packages: BCC puts them together by itself
        (modules / "build", modules / "build"),
        (root / "usr/src/kernels" / release,) * 2,  # Fedora's, where /lib/modules is another's (a container)
        (root / "usr/src" / f"linux-headers-{release}",) * 2,
    ):
        if (source / _MARK).is_file() and build.is_dir():
            told = _release(build) or told
            if told == release:
                return Headers(release, version, None if source != build else build)
    if told:
        raise KernelError(
            f"the installed kernel headers are of {told}, the running kernel is {release}",
            errno=errno.ENOENT,
            remedy=REMEDY.format(release=release),
        )
    if (root / ARCHIVE).is_file():
        return Headers(release, version, root / ARCHIVE)
    raise KernelError(
        f"no kernel headers of {release} are installed", errno=errno.ENOENT, remedy=REMEDY.format(release=release)
    )


def parse(text: str) -> Version:
    """Return the numbers that a version or release begins with.

    Raises:
        KernelError: there are none.
    """
    found = re.match(r"\d+(?:\.\d+)*", text)
    if found is None:
        raise KernelError(f"{text!r} is no version", remedy="report it with the output of uname -r")
    return tuple(int(part) for part in found[0].split("."))


def check_readable(headers: Headers, bcc: str) -> None:
    """Say before the compiler does that this BCC cannot read these headers.

    Raises:
        KernelError: it is known not to.
    """
    for kernel, needed in UNREADABLE:
        if headers.version >= kernel and parse(bcc) < needed:
            raise KernelError(
                f"BCC {bcc} cannot compile against the headers of Linux {headers.release}",
                errno=errno.ENOTSUP,
                remedy=f"install BCC {'.'.join(map(str, needed))} or later, or a kernel with CONFIG_DEBUG_INFO_BTF,"
                " which needs no compiler",
            )


@contextlib.contextmanager
def unpacked(headers: Headers) -> Iterator[dict[str, str]]:
    """Yield the environment that leads BCC to the headers.

    BCC would unpack the kernel's archive itself, under a name in /tmp that anybody can make first.

    Raises:
        KernelError: the archive cannot be unpacked.
    """
    if headers.source is None or headers.source.is_dir():
        yield {} if headers.source is None else {"BCC_KERNEL_SOURCE": str(headers.source)}
        return
    with tempfile.TemporaryDirectory(prefix="sockwarden-kheaders-") as folder:
        try:
            with tarfile.open(headers.source) as archive:
                members = archive.getmembers()
                if sum(member.size for member in members) > ARCHIVE_BYTES:
                    raise KernelError(f"{headers.source} is too large", errno=errno.EFBIG)
                archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
                archive.extractall(folder, members)  # noqa: S202 - what is there is the kernel's own
        except (OSError, tarfile.TarError) as error:
            raise KernelError(
                f"{headers.source} cannot be unpacked: {error}", remedy=REMEDY.format(release=headers.release)
            ) from error
        yield {"BCC_KERNEL_SOURCE": folder}


def _release(build: Path) -> str:
    try:
        found = re.search(r'#define UTS_RELEASE "([^"]+)"', (build / _GENERATED).read_text("ascii"))
    except (OSError, ValueError):
        return ""
    return found[1] if found else ""
