"""Paths of sockets and of what lies beside them.

Owns which paths are one and which default follows from which. Pure: looks at no path of the machine.
"""

from __future__ import annotations

import posixpath


def same_socket(one: str, other: str) -> bool:
    """Return whether two paths name one socket, /var/run being /run (FHS 3.0, section 5.13)."""
    return _without_var(one) == _without_var(other)


def default_run_dir(listen: str) -> str:
    """Return the directory beside the public socket, so that a rename between the two stays on one file system."""
    directory, name = posixpath.split(listen)
    if name == "docker.sock":
        return posixpath.join(directory, "sockwarden")
    return posixpath.join(directory, f"sockwarden-{name.removesuffix('.sock')}")


def default_state_dir(run_dir: str) -> str:
    """Return the directory for what outlives the host: in /var/lib for one in /run, else beside ``run_dir``.

    No two agents have one ``run_dir``, so that none takes the answers of another for its own.
    """
    plain = _without_var(run_dir)
    if plain.startswith("/run/"):
        return f"/var/lib/{plain.removeprefix('/run/')}"
    return f"{run_dir}-state"


def _without_var(path: str) -> str:
    return path.removeprefix("/var") if path.startswith("/var/run/") else path
