"""One Debian suite's package archive, asked through this machine's own apt.

Owns a private set of apt lists per suite, so that the machine's own lists stay as they are. The mirror, proxies
and keys are those that the machine's apt uses; none is written down here.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Signs every suite of the matrix (Debian package debian-archive-keyring)."""


class ArchiveError(Exception):
    """The archive does not give what was asked for."""


def mirror() -> str:
    """Return the address of the Debian mirror that this machine's apt uses.

    Raises:
        ArchiveError: apt knows none.
    """
    found = _mirror_by_lists()
    if found is None:  # apt knows whose a mirror is by its lists, and a fresh machine may have none
        _output("apt-get", "-q", "update")
        found = _mirror_by_lists()
    if found is None:
        raise ArchiveError("apt knows no Debian mirror; add one to /etc/apt, then try again")
    return found


def _mirror_by_lists() -> str | None:
    wanted = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    for line in _output("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines():
        origin, label, address = line.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return address
    return None


def source(suite: str) -> str:
    """Return the line of sources.list for the main part of a suite."""
    return f"deb [signed-by={KEYRING}] {mirror()} {suite} main"


def proxies() -> tuple[str, ...]:
    """Return the lines of the machine's apt configuration that say by which proxy it downloads."""
    return tuple(line for line in _output("apt-config", "dump", "Acquire").splitlines() if "::Proxy" in line)


class Archive:
    """The packages of one suite; ``folder`` keeps its lists."""

    def __init__(self, suite: str, folder: Path) -> None:
        """Fetch the suite's lists.

        Raises:
            ArchiveError: apt failed.
        """
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(source(suite) + "\n", "utf-8")
        settings = {
            "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": folder / "lists",
            "Dir::State::Status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",  # the folder is root's own
        }
        self._options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        _output("apt-get", "-q", *self._options, "update")

    def field(self, package: str, name: str) -> str:
        """Return one field of the newest version of a package.

        Raises:
            ArchiveError: there is no such package or field.
        """
        shown = _output("apt-cache", *self._options, "show", "--no-all-versions", package)
        for line in shown.splitlines():
            if line.startswith(f"{name}: "):
                return line.partition(": ")[2]
        raise ArchiveError(f"{package} has no {name}")

    def download(self, package: str, folder: Path) -> Path:
        """Download a package into an empty ``folder`` and return its file."""
        folder.mkdir(parents=True)
        _output("apt-get", "-q", *self._options, "download", package, folder=folder)
        return next(folder.glob("*.deb"))


def _output(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    if done.returncode != 0:
        raise ArchiveError(f"{command[0]} {command[-1]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
