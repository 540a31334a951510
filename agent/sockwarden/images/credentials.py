"""Credentials for registries, as ``docker login`` left them.

Owns which secret belongs to which registry: from the ``config.json`` itself, or from the helper that it names.
It must never hand a secret to anyone but the caller that names the registry it was stored for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from sockwarden.errors import RegistryError
from sockwarden.images.credhelper import CredentialHelper
from sockwarden.images.loginfile import HUB, HUB_SERVER, LoginFile, canonical, parse_login_file
from sockwarden.images.ownfile import Stamp, read_own, stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sockwarden.images.secret import Secret

MAX_CONFIG_BYTES: Final = 1024 * 1024
"""A config.json with a thousand registries has about 100 KiB."""

HELPER_KEPT_SECONDS: Final = 60.0
"""A helper's word is kept for this long, good or bad: one process for a round of questions, not one for each."""

MAX_KEPT_ANSWERS: Final = 256
"""Registries whose helper's word is kept."""


class Credentials(Protocol):
    """Where credentials come from."""

    async def find(self, registry: str) -> Secret | None:
        """Return what is stored for ``registry`` (``docker.io``, ``host`` or ``host:port``), None for anonymous."""

    def fault_of(self, registry: str) -> str:
        """Return why ``find`` had to answer None though something is set up for ``registry``, else ""."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that is wrong with what is set up, one sentence each."""


class NoCredentials:
    """Ask every registry anonymously."""

    faults: tuple[str, ...] = ()

    async def find(self, registry: str) -> Secret | None:  # noqa: ARG002 - the name belongs to the protocol
        """Return None, whatever the registry."""
        return None

    def fault_of(self, registry: str) -> str:  # noqa: ARG002 - the name belongs to the protocol
        """Return "", because nothing is set up."""
        return ""


@dataclass(slots=True)
class _Kept:
    """What a helper last said, and the lock that lets one question at a time go to it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    until: float = float("-inf")
    secret: Secret | None = None
    fault: str = ""


class DockerConfig:
    """A docker ``config.json``, read again when the file changed, and the helpers that it names.

    A file that is absent or damaged counts as empty and a helper that fails as one that has nothing, because
    public images must still resolve; ``faults`` then says in one sentence each what is wrong.
    """

    def __init__(
        self,
        path: Path,
        helper: CredentialHelper | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._helper = helper or CredentialHelper()
        self._clock = clock
        self._seen: Stamp | None = None
        self._login = LoginFile()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._fault = ""

    async def find(self, registry: str) -> Secret | None:
        """Return what ``docker login`` stored for ``registry``."""
        self._refresh()
        name = canonical(registry)
        helper = self._login.helper_of(name)
        if not helper:
            return self._login.auths.get(name)
        kept = self._kept.setdefault(name, _Kept())
        self._kept.move_to_end(name)
        while len(self._kept) > MAX_KEPT_ANSWERS:
            self._kept.popitem(last=False)
        async with kept.lock:
            if self._clock() >= kept.until:
                kept.secret, kept.fault = await self._ask(helper, name)
                kept.until = self._clock() + HELPER_KEPT_SECONDS
        return kept.secret

    def fault_of(self, registry: str) -> str:
        """Return why the last ``find`` for ``registry`` gave nothing although a file or helper should have."""
        kept = self._kept.get(canonical(registry))
        return kept.fault if kept is not None and kept.fault else self._fault

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the file, and with each helper that was asked."""
        file = (f"{self._path}: {fault}" for fault in self._login.faults)
        helpers = (kept.fault for kept in self._kept.values())
        return tuple(dict.fromkeys(filter(None, (self._fault, *file, *helpers))))

    async def _ask(self, helper: str, name: str) -> tuple[Secret | None, str]:
        try:
            return await self._helper.get(helper, HUB_SERVER if name == HUB else name), ""
        except RegistryError as error:
            return None, f"{name} is asked without credentials: {error}"

    def _refresh(self) -> None:
        try:
            seen = stamp_of(os.stat(self._path))
            if seen == self._seen:
                return
            self._seen = seen
            self._login, self._fault = parse_login_file(read_own(self._path, MAX_CONFIG_BYTES)), ""
        except FileNotFoundError:
            self._seen, self._login, self._fault = None, LoginFile(), ""
        except (OSError, ValueError) as error:
            # A JSONDecodeError says where, not what: no secret gets into the text.
            self._login, self._fault = LoginFile(), f"{self._path} is ignored: {error}"
            if isinstance(error, OSError):  # says nothing of the file's contents, so that they are tried again
                self._seen, self._fault = None, f"{self._path} is ignored: {error.strerror}"
        self._kept.clear()
