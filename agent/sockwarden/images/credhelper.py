"""Asking a credential helper, the program ``docker-credential-NAME``.

Owns the process: where it is looked for, what it is given, how long and how much it may talk
(docker/docker-credential-helpers: client). It must never block the event loop, and never put anything that a
helper says into a text: even its complaints may hold a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sockwarden.errors import RegistryError
from sockwarden.images.secret import Basic, IdentityToken, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

HELPER_SECONDS: Final = 10.0
"""How long a helper may take; those of clouds ask a server themselves."""

MAX_HELPER_BYTES: Final = 64 * 1024
"""Tokens of clouds have up to four thousand characters."""

HELPERS_AT_ONCE: Final = 2
"""Each takes a thread, and the event loop's other threads look names up."""

_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Never the agent's own PATH: what runs as root is looked for where only root installs."""

_PASSED_ON: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Helpers of clouds ask over the network, as the agent itself does."""

_IDENTITY: Final = "<token>"
"""The user name by which a helper says that the secret is an identity token (docker/cli: tokenUsername)."""

_NOT_FOUND: Final = b"credentials not found in native keychain"
"""What every helper prints that has nothing for this server (docker-credential-helpers: credentials/error.go)."""


class CredentialHelper:
    """Runs helpers. ``home`` is the HOME that they see, ``search`` the folders that hold them."""

    def __init__(self, home: str = "/root", search: str = _SEARCH, seconds: float = HELPER_SECONDS) -> None:
        self._search = search
        self._seconds = seconds
        self._environment: Mapping[str, str] = MappingProxyType(
            {"PATH": search, "HOME": home, "LANG": "C.UTF-8"}
            | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        )
        self._slots = asyncio.Semaphore(HELPERS_AT_ONCE)

    async def get(self, name: str, server: str) -> Secret | None:
        """Return what ``docker-credential-<name>`` keeps for ``server``, None where it keeps nothing.

        Raises:
            RegistryError: the helper is absent, fails, or answers what is no answer.
        """
        program = shutil.which(f"docker-credential-{name}", path=self._search)
        if program is None:
            raise RegistryError(f"docker-credential-{name} is not installed in {self._search}")
        async with self._slots:
            run = _Run([program, "get"], server.encode(), self._environment, self._seconds)
            try:
                status, output = await asyncio.to_thread(run.to_end)
            except TimeoutError as error:  # an OSError too
                raise RegistryError(f"docker-credential-{name} did not end within {self._seconds:g} seconds") from error
            except OSError as error:
                raise RegistryError(f"docker-credential-{name} cannot be run: {error.strerror}") from error
            finally:
                run.stop()
        if len(output) > MAX_HELPER_BYTES:
            raise RegistryError(f"docker-credential-{name} answered with more than {MAX_HELPER_BYTES} bytes")
        if status != 0 and output.strip() == _NOT_FOUND:
            return None
        if status != 0:
            raise RegistryError(f"docker-credential-{name} failed with status {status}")
        return _read(name, output)


class _Run:
    """One process in a session of its own, driven by one thread; any other may stop it."""

    def __init__(self, command: list[str], told: bytes, environment: Mapping[str, str], seconds: float) -> None:
        self._command = command
        self._told = told
        self._environment = environment
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    def to_end(self) -> tuple[int, bytes]:
        """Return its exit status and output, which is cut off one byte after the limit.

        Raises:
            OSError: it cannot be started.
            TimeoutError: it was ended because the time was over, or by ``stop``.
        """
        with self._lock:
            if self._stopped:
                raise TimeoutError
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=self._environment,
                start_new_session=True,
            )
        assert process.stdin is not None  # noqa: S101 - narrows the type: both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            with contextlib.suppress(BrokenPipeError):  # one that never reads may still answer
                process.stdin.write(self._told)
                process.stdin.close()
            output = self._listen(process.stdout.fileno())
            if len(output) <= MAX_HELPER_BYTES:
                process.wait(max(self._deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            self._end(process)
        return process.returncode, output

    def stop(self) -> None:
        """End it if it still runs, and let it not start if it has not."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()  # does nothing to one that is over

    def _listen(self, number: int) -> bytes:
        output = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(number, selectors.EVENT_READ)
            while len(output) <= MAX_HELPER_BYTES:
                if not selector.select(max(self._deadline - time.monotonic(), 0)):
                    raise TimeoutError
                chunk = os.read(number, MAX_HELPER_BYTES + 1 - len(output))
                if not chunk:
                    break
                output += chunk
        return bytes(output)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """Leave nothing behind: not the process, not what it started, no pipe."""
        if process.returncode is None:  # not reaped, so that its number is still that of its own group
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for pipe in filter(None, (process.stdin, process.stdout)):
            with contextlib.suppress(OSError):
                pipe.close()
        process.wait()


def _read(name: str, output: bytes) -> Secret | None:
    try:
        document: Any = json.loads(output)
    except (ValueError, RecursionError):
        document = None
    user = document.get("Username") if isinstance(document, dict) else None
    secret = document.get("Secret") if isinstance(document, dict) else None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise RegistryError(f"docker-credential-{name} did not answer with a Username and a Secret")
    if not secret or not user:
        return None
    return IdentityToken(secret) if user == _IDENTITY else Basic(user, secret)
