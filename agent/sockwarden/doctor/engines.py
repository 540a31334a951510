"""The processes behind the sockets, and their ways in over TCP.

Owns which process is an engine (it listens on a known socket), its options, and one harmless question to each of
its ports. Must not send anything but ``GET /_ping``, and never to a port outside of this host's own network namespace.
"""

from __future__ import annotations

import http.client
import json
import os
from typing import TYPE_CHECKING, Any, Final

import psutil

from sockwarden.doctor.facts import EngineFact, Listener, Speaks, Told, Untold
from sockwarden.kernel.connections import unixdiag
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockwarden.doctor.facts import SocketFact

ASK_SECONDS: Final = 1.0
"""For one question to a port of this host, which answers at once."""

MAX_ANSWER_BYTES: Final = 4096
"""The answer to a ping is two letters; an error is a sentence."""

MAX_FILE_BYTES: Final = 1024 * 1024
"""Of a daemon.json, which is written by hand."""

DAEMON_FILE: Final = "/etc/docker/daemon.json"

_INODE_MASK: Final = 0xFFFFFFFF
_INIT: Final = 1
"""With socket activation systemd holds the listening socket too, and is no engine."""

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


def find(sockets: Iterable[SocketFact], own_pid: int) -> Told[EngineFact] | Untold:
    """Return the processes that listen on ``sockets``, but for the agent ``own_pid``."""
    try:
        listening = _listening(sockets)
        pids = {pid: paths for pid, paths in _owners(listening) if pid not in (_INIT, own_pid)}
    except OSError as error:
        return Untold(f"socket diag failed: {error.strerror}", "run as root, on a kernel with CONFIG_UNIX_DIAG")
    found = []
    for pid, paths in pids.items():
        try:
            found.append(_fact(psutil.Process(pid), paths))
        except psutil.NoSuchProcess:
            continue
        except (psutil.Error, OSError) as error:
            return Untold(f"the engine's process {pid} cannot be looked at: {error}", "run as root")
    return Told(tuple(found))


def _listening(sockets: Iterable[SocketFact]) -> dict[int, str]:
    """Return the inodes of the listening sockets behind the files, in any network namespace."""
    wanted = {(fact.device, fact.inode & _INODE_MASK): fact.path for fact in sockets}
    pids = [int(name) for name in os.listdir(process.PROC) if name.isdigit()]
    found: dict[int, str] = {}

    def look() -> None:
        for one in unixdiag.dump():
            if one.listens and (one.device, one.file_inode) in wanted:
                found[one.inode] = wanted[one.device, one.file_inode]

    unixdiag.visit(pids, look)
    return found


def _owners(listening: dict[int, str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    links = {f"socket:[{inode}]": path for inode, path in listening.items()}
    for name in sorted(filter(str.isdigit, os.listdir(process.PROC)), key=int):
        try:
            with os.scandir(process.PROC / name / "fd") as descriptors:
                paths = {links[link] for link in map(_link, descriptors) if link in links}
        except OSError:
            continue  # it has ended
        if paths:
            yield int(name), tuple(sorted(paths))


def _link(entry: os.DirEntry[str]) -> str:
    try:
        return os.readlink(entry.path)
    except OSError:
        return ""


def _fact(found: psutil.Process, paths: tuple[str, ...]) -> EngineFact:
    ours = process.namespace(found.pid, "net") == process.namespace("self", "net")
    arguments = found.cmdline()
    # psutil 6 has renamed it, and warns of the old name.
    connections = getattr(found, "net_connections", None) or found.connections
    ports = sorted({(one.laddr.ip, one.laddr.port) for one in connections("tcp") if one.status == psutil.CONN_LISTEN})
    listeners = tuple(
        Listener(address, port, speaks_at(address, port) if ours else Speaks.SILENT) for address, port in ports
    )
    return EngineFact(found.pid, found.name(), paths, listeners, hosts_of(arguments))


def hosts_of(arguments: list[str]) -> tuple[str, ...]:
    """Return the ways in that an engine's options (moby: opts/hosts.go) and its ``daemon.json`` ask for."""
    written = _daemon_file(arguments).get("hosts")
    asked = _values(arguments, ("-H", "--host"))
    return (*asked, *(host for host in written if isinstance(host, str))) if isinstance(written, list) else tuple(asked)


def _values(arguments: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the values of an option that may be given often, in each way of writing it (pflag)."""
    found = []
    for position, argument in enumerate(arguments):
        for name in names:
            if argument == name:
                found += arguments[position + 1 : position + 2]
            elif argument.startswith(f"{name}="):
                found.append(argument.removeprefix(f"{name}="))
            elif not name.startswith("--") and argument.startswith(name):
                found.append(argument.removeprefix(name))
    return found


def _daemon_file(arguments: list[str]) -> dict[str, Any]:
    path = (_values(arguments, ("--config-file",)) or [DAEMON_FILE])[-1]
    try:
        with open(path, "rb") as file:
            answer = json.loads(file.read(MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}  # the engine starts without it, and not with a broken one
    return answer if isinstance(answer, dict) else {}


def speaks_at(address: str, port: int) -> Speaks:
    """Return what answers at a port of this host."""
    connection = http.client.HTTPConnection(_WILDCARDS.get(address, address), port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/_ping")
        response = connection.getresponse()
        body = response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        # A TLS server that is not Go's ends the connection, or answers with an alert, which is no HTTP.
        return Speaks.TLS if isinstance(error, http.client.BadStatusLine) else Speaks.SILENT
    finally:
        connection.close()
    if response.getheader("Api-Version") or (response.status == http.client.OK and body.strip() == b"OK"):
        return Speaks.ENGINE_API
    # net/http/server.go: what a TLS listener of Go says to plain HTTP.
    return Speaks.TLS if b"HTTP request to an HTTPS server" in body else Speaks.OTHER
