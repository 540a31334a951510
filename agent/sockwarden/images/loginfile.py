"""What a docker ``config.json`` says of registries: stored secrets, and which helper holds the others.

Owns the file's format (docker/cli: cli/config/configfile). It must never run a helper, and never put a value
of the file into a text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sockwarden.images.secret import Basic, IdentityToken, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

HUB: Final = "docker.io"
HUB_SERVER: Final = "https://index.docker.io/v1/"
"""The name under which ``docker login`` keeps Docker Hub, in the file and in helpers (docker/cli: IndexServer)."""

_ALIASES: Final = MappingProxyType({"index.docker.io": HUB, "registry-1.docker.io": HUB})

_WHOLE: Final = ("", "v1", "v2")
"""Paths in the key of an entry that mean the registry as such."""

_HELPER: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}")
"""No dot and no slash: the name becomes part of the name of a program."""


def canonical(registry: str) -> str:
    """Return the name of a registry as references have it, from any of the ways to write it in the file."""
    host = registry.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    return _ALIASES.get(host, host)


@dataclass(frozen=True, slots=True)
class LoginFile:
    """The parts of one state of the file. All registries are canonical; ``faults`` are whole sentences' ends."""

    auths: Mapping[str, Secret] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""
    faults: tuple[str, ...] = ()

    def helper_of(self, registry: str) -> str:
        """Return the name of the helper that is to be asked for ``registry``, "" for none.

        Where a helper is set, it alone counts: ``docker login`` then leaves no secret in the file.
        """
        return self.helpers.get(registry, self.store)


def parse_login_file(text: bytes) -> LoginFile:
    """Return what the bytes of a ``config.json`` say.

    Raises:
        ValueError: it is not JSON, or its tables are none. The text says where, not what.
    """
    try:
        document: Any = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the file is at fault, not the caller
    faults: list[str] = []
    auths = {}
    for key, value in _by_weight(_table(document, "auths")):
        secret = _secret(value) if isinstance(value, dict) else None
        if secret is not None:
            auths[canonical(key)] = secret
    helpers = {}
    for key, value in _by_weight(_table(document, "credHelpers")):
        helpers[canonical(key)] = _helper(value, f"credHelpers of {canonical(key)!r}", faults)
    store = _helper(document.get("credsStore", ""), "credsStore", faults)
    return LoginFile(auths, helpers, store, tuple(faults))


def _table(document: dict[str, Any], key: str) -> dict[str, Any]:
    table = document.get(key)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ValueError(f"its {key!r} is not an object")  # noqa: TRY004 - the file is at fault, not the caller
    return table


def _by_weight(table: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the entries that speak of a registry, those of a whole one last, so that they count.

    ``docker login`` to Docker Hub by browser keeps what it needs itself beside the password, under paths of its own
    (docker/cli: cli/internal/oauth/manager).
    """
    found = []
    for key, value in table.items():
        path = key.removeprefix("https://").removeprefix("http://").partition("/")[2].strip("/")
        whole = path in _WHOLE
        if whole or canonical(key) != HUB:
            found.append((whole, key, value))
    return [(key, value) for _, key, value in sorted(found, key=lambda one: one[0])]


def _helper(value: object, place: str, faults: list[str]) -> str:
    """Return the name, "" for none and for one that is refused."""
    if value == "" or (isinstance(value, str) and _HELPER.fullmatch(value)):
        return str(value)
    faults.append(f"{place} is not the name of a credential helper: letters, digits, - and _ are")
    return ""


def _secret(entry: dict[str, Any]) -> Secret | None:
    """Return what one entry holds, None where that is nothing of use."""
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return IdentityToken(token)
    user, password = entry.get("username"), entry.get("password")
    if isinstance(auth := entry.get("auth"), str) and auth:
        user, password = _pair(auth)
    if isinstance(user, str) and isinstance(password, str) and user and password:
        return Basic(user, password)
    return None


def _pair(auth: str) -> tuple[str, str]:
    """Return the user and password in base64 that docker stores; both empty where it is not one."""
    try:
        user, _, password = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password
