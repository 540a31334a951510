"""Docker Engine 26.1 beside the installed one: Debian trixie's programs, unpacked and never installed.

Owns the folder that they are kept in, outside of the tree. runc stays the installed one: trixie's needs a newer C
library than the machine has. Without a Debian mirror there is no such engine, and its tests are skipped with the
reason.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest
from tests.vm.archive import Archive, ArchiveError
from tests.vm.images import cache_folder

SUITE: Final = "trixie"
PACKAGES: Final = ("docker.io", "docker-cli", "containerd")
UNWANTED: Final = ("usr/sbin/runc", "usr/bin/runc", "usr/share")


def programs() -> tuple[Path, ...]:
    """Return the folders with the engine's programs, downloaded at the first call; skips where that fails."""
    folder = cache_folder() / f"engine-{SUITE}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f".engine-{SUITE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _unpack(folder)
    except (ArchiveError, OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED on Docker Engine 26.1: Debian {SUITE}'s packages cannot be had: {error}")
    return folder / "usr/sbin", folder / "usr/bin"


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".engine-") as building:
        archive, root = Archive(SUITE, Path(building) / "apt"), Path(building) / "root"
        for package in PACKAGES:
            file = archive.download(package, Path(building) / package)
            subprocess.run(["dpkg-deb", "--extract", str(file), str(root)], check=True, capture_output=True)
        for name in UNWANTED:
            found = root / name
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)
        root.rename(folder)
