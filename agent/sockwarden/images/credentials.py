"""Credentials for registries, as ``docker login`` left them.

Owns the reading of a docker ``config.json``. It must never hand a credential to anyone but the caller that
names the registry it was stored for, and never put one into a text: ``Basic`` hides itself in its repr.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONFIG_BYTES: Final = 1024 * 1024
"""A config.json with a thousand registries has about 100 KiB."""

_HUB: Final = "docker.io"
_ALIASES: Final = {"index.docker.io": _HUB, "registry-1.docker.io": _HUB}
"""``docker login`` stores Docker Hub under https://index.docker.io/v1/ (docker/cli: registry.IndexServer)."""


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and its password or access token."""

    user: str
    password: str = field(repr=False)

    def header(self) -> str:
        """Return the value of an Authorization header, RFC 7617."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class Credentials(Protocol):
    """Where credentials come from."""

    def find(self, registry: str) -> Basic | None:
        """Return what is stored for ``registry`` (``docker.io``, ``host`` or ``host:port``), None for anonymous."""


class NoCredentials:
    """Ask every registry anonymously."""

    def find(self, registry: str) -> Basic | None:  # noqa: ARG002 - the name belongs to the protocol
        """Return None, whatever the registry."""
        return None


class DockerConfig:
    """The ``auths`` of a docker ``config.json``, read again when the file changed.

    Credential helpers and identity tokens are not read: an entry that has only those counts as anonymous.
    A file that is absent or damaged counts as empty, because public images must still resolve; ``fault``
    then says in one sentence what is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._auths: dict[str, Basic] = {}
        self.fault = ""

    def find(self, registry: str) -> Basic | None:
        """Return what ``docker login`` stored for ``registry``."""
        self._refresh()
        return self._auths.get(_ALIASES.get(registry, registry))

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            if stat.st_size > MAX_CONFIG_BYTES:
                raise ValueError(f"it has more than {MAX_CONFIG_BYTES} bytes")  # noqa: TRY301 - one handler for all faults
            self._seen, self._auths, self.fault = seen, _read_auths(self._path.read_bytes()), ""
        except FileNotFoundError:
            self._seen, self._auths, self.fault = None, {}, ""
        except (OSError, ValueError) as error:
            # A JSONDecodeError says where, not what: no credential gets into the text.
            self._seen, self._auths, self.fault = None, {}, f"ignoring {self._path}: {error}"


def _read_auths(text: bytes) -> dict[str, Basic]:
    try:
        document: Any = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    auths = document.get("auths", {}) if isinstance(document, dict) else None
    if not isinstance(auths, dict):
        raise ValueError("it has no object 'auths'")  # noqa: TRY004 - the file is at fault, not the caller
    found = {}
    for key, value in auths.items():
        basic = _decode(value.get("auth")) if isinstance(value, dict) else None
        if basic is not None:
            host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
            found[_ALIASES.get(host, host)] = basic
    return found


def _decode(auth: object) -> Basic | None:
    """Return the pair in base64 that docker stores, None where it is not one."""
    if not isinstance(auth, str):
        return None
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Basic(user, password) if colon and user and password else None
