"""HTTP to registries, with every limit that a foreign server must not be able to stretch.

Owns the connections, redirects, body sizes and time limits. It must never follow a step down from TLS, send
an Authorization header to a host it was not made for, or put a header or query into a message.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

import httpx

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import is_loopback, trusted_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwarden.images.endpoints import RegistrySettings

MAX_REDIRECTS: Final = 3
"""Registries redirect manifests once at most; three leaves room for a renamed host."""

MAX_PORT: Final = 65535
"""The reference grammar and httpx let larger ones pass, and the event loop then fails in its own way."""


class UnreachableError(RegistryError):
    """No HTTP answer came: connection refused, TLS failed, or the time was over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole HTTP answer. ``headers`` has lower-case names; repeated fields are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends one request at a time per call, and returns whole answers.

    ``transport`` replaces the network, for tests of the rules between hosts that one machine cannot show.
    """

    def __init__(self, settings: RegistrySettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._network = transport
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def send(self, method: str, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        """Return the final answer after at most ``MAX_REDIRECTS`` redirects.

        Raises:
            UnreachableError: there is no answer within ``request_seconds``.
            RegistryError: the answer is too large, or leads where it must not.
        """
        target = httpx.URL(url)
        host = target.netloc.decode("ascii")
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                return await self._follow(method, target, dict(headers), max_bytes)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise UnreachableError(
                f"{host} did not answer within {self._settings.request_seconds:g} seconds", remedy=_REMEDY
            ) from error
        except (httpx.ProtocolError, httpx.InvalidURL, ValueError) as error:
            raise RegistryError(f"{host} answered what is not HTTP: {_cause(error)}") from error
        except (httpx.TransportError, httpx.StreamError, OSError) as error:
            raise UnreachableError(f"{host} cannot be reached: {_cause(error)}", remedy=_REMEDY) from error

    async def _follow(self, method: str, url: httpx.URL, headers: dict[str, str], max_bytes: int) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._once(method, url, headers, max_bytes)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or location is None:
                return answer
            target = trusted_url(urljoin(str(url), location), after=url.scheme, settings=self._settings)
            if (target.scheme, target.netloc) != (url.scheme, url.netloc):
                headers.pop("authorization", None)
            url = target
        raise RegistryError(f"{url.host} redirects more than {MAX_REDIRECTS} times")

    async def _once(self, method: str, url: httpx.URL, headers: Mapping[str, str], max_bytes: int) -> Answer:
        if url.port is not None and url.port > MAX_PORT:
            raise RegistryError(f"{url.netloc.decode('ascii')} has no port that exists")
        client = self._client(direct=is_loopback(url.host))
        # The bytes that hash to the digest are wanted, not what a content coding makes of them.
        request = client.build_request(method, url, headers={"accept-encoding": "identity", **headers})
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise RegistryError(f"{url.host} answered with more than {max_bytes} bytes")
            return Answer(response.status_code, dict(response.headers), bytes(body))
        finally:
            await response.aclose()
            client.cookies.clear()  # no registry API needs one, and a jar would grow as servers please

    def _client(self, *, direct: bool) -> httpx.AsyncClient:
        """Return the client for this host's own registries, which no proxy can reach, or for all others."""
        if direct not in self._clients:
            self._clients[direct] = httpx.AsyncClient(
                transport=self._network,
                # OpenSSL's own roots, which update-ca-certificates keeps, as the engine uses them.
                verify=ssl.create_default_context(),
                trust_env=not direct,
                auth=httpx.Auth(),  # does nothing, and keeps older httpx from reading root's ~/.netrc
                timeout=self._settings.request_seconds,
                follow_redirects=False,
            )
        return self._clients[direct]


_REMEDY: Final = "check that the registry runs and that this host may reach it"


def _cause(error: Exception) -> str:
    """Return the innermost plain reason: httpx wraps the system's sentence several times."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    if isinstance(cause, ConnectionError) and cause.errno is not None:
        return os.strerror(cause.errno)  # asyncio puts the address in place of the system's word
    return str(cause) or type(cause).__name__
