"""HTTP to registries, with every limit that a foreign server must not be able to stretch.

Owns the connections, redirects, body sizes and time limits. It must never follow a step down from TLS, send
an Authorization header to a host it was not made for, or put a header or query into a message.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
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


MAX_LANES: Final = 32
"""Sets of connections, one for each TLS context: as many as ``certificates`` keeps."""


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
        self._lanes: OrderedDict[tuple[bool, str], _Lane] = OrderedDict()
        self._over: list[_Lane] = []

    async def close(self) -> None:
        """Close every connection."""
        self._over += self._lanes.values()
        self._lanes.clear()
        await self._close_over()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        max_bytes: int,
        *,
        endpoint: str = "",
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the final answer after at most ``MAX_REDIRECTS`` redirects.

        ``endpoint`` is the ``host[:port]`` of the registry on whose behalf is asked: its certificates count for
        hosts that have none. ``form`` is what to POST; it holds a secret, so that nobody may redirect it.

        Raises:
            UnreachableError: there is no answer within ``request_seconds``.
            RegistryError: the answer is too large, or leads where it must not.
        """
        target = httpx.URL(url)
        host = target.netloc.decode("ascii")
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                request = _Request(method, target, dict(headers), max_bytes, endpoint or host, form)
                return await self._follow(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise UnreachableError(
                f"{host} did not answer within {self._settings.request_seconds:g} seconds", remedy=_REMEDY
            ) from error
        except (httpx.TransportError, httpx.StreamError, httpx.InvalidURL, ValueError, OSError) as error:
            raise _told(error, host, plain=target.scheme == "http") from error

    async def _follow(self, request: _Request) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._once(request)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or location is None:
                return answer
            url = request.url
            if request.form is not None:
                raise RegistryError(f"{url.host} redirects a question that holds a secret")
            target = trusted_url(urljoin(str(url), location), after=url.scheme, settings=self._settings)
            if (target.scheme, target.netloc) != (url.scheme, url.netloc):
                request.headers.pop("authorization", None)
            request.url = target
        raise RegistryError(f"{request.url.host} redirects more than {MAX_REDIRECTS} times")

    async def _once(self, wanted: _Request) -> Answer:
        url = wanted.url
        if url.port is not None and url.port > MAX_PORT:
            raise RegistryError(f"{url.netloc.decode('ascii')} has no port that exists")
        lane = self._lane(url, wanted.endpoint)
        lane.busy += 1
        try:
            # The bytes that hash to the digest are wanted, not what a content coding makes of them.
            headers = {"accept-encoding": "identity", **wanted.headers}
            request = lane.client.build_request(wanted.method, url, headers=headers, data=wanted.form)
            response = await lane.client.send(request, stream=True)
            try:
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > wanted.max_bytes:
                        raise RegistryError(f"{url.host} answered with more than {wanted.max_bytes} bytes")
                return Answer(response.status_code, dict(response.headers), bytes(body))
            finally:
                await response.aclose()
        finally:
            lane.client.cookies.clear()  # no registry API needs one, and a jar would grow as servers please
            lane.busy -= 1
            if lane.retired and not lane.busy:
                self._over.append(lane)
            await self._close_over()

    def _lane(self, url: httpx.URL, endpoint: str) -> _Lane:
        """Return the client for this host's own registries, which no proxy can reach, or for all others.

        It never waits: whoever gets a lane is counted on it before anybody else can retire it.
        """
        direct = is_loopback(url.host)
        name, context = self._settings.certificates.context_for(url.netloc.decode("ascii"), endpoint)
        key = (direct, name)
        if key in self._lanes and self._lanes[key].context is not context:
            self._retire(key)
        if key not in self._lanes:
            client = httpx.AsyncClient(
                transport=self._network,
                verify=context,
                trust_env=not direct,
                auth=httpx.Auth(),  # does nothing, and keeps older httpx from reading root's ~/.netrc
                timeout=self._settings.request_seconds,
                follow_redirects=False,
            )
            self._lanes[key] = _Lane(client, context)
        self._lanes.move_to_end(key)
        while len(self._lanes) > MAX_LANES:
            self._retire(next(iter(self._lanes)))
        return self._lanes[key]

    def _retire(self, key: tuple[bool, str]) -> None:
        """Give out what is kept under ``key`` no more; it is closed when its last answer has come."""
        lane = self._lanes.pop(key)
        lane.retired = True
        if not lane.busy:
            self._over.append(lane)

    async def _close_over(self) -> None:
        while self._over:
            await self._over.pop().client.aclose()


@dataclass(slots=True)
class _Request:
    """One question on its way over redirects."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    max_bytes: int
    endpoint: str
    form: Mapping[str, str] | None


@dataclass(slots=True)
class _Lane:
    """The connections that share one TLS context."""

    client: httpx.AsyncClient
    context: ssl.SSLContext
    busy: int = 0
    retired: bool = False


_REMEDY: Final = "check that the registry runs and that this host may reach it"


def _told(error: Exception, host: str, *, plain: bool) -> RegistryError:
    """Return the error that says what happened, and what to do about it."""
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"the certificate of {host} is not trusted: {cause.verify_message}",
            remedy=f"if it is right, put the certificate of its CA into the folder {host} of registry.certs_dir",
        )
    if isinstance(cause, ssl.SSLError):
        reason = (cause.reason or "the connection was ended").replace("_", " ").lower()
        return UnreachableError(f"TLS with {host} failed: {reason}", remedy=_TLS_REMEDIES.get(cause.reason, _REMEDY))
    text = str(cause) or type(cause).__name__
    if isinstance(error, httpx.ProtocolError | httpx.InvalidURL | ValueError):
        return RegistryError(
            f"{host} answered what is not HTTP: {text}",
            remedy=f"if it speaks TLS, make a folder {host} with its CA in registry.certs_dir" if plain else "",
        )
    if isinstance(cause, ConnectionError) and cause.errno is not None:
        text = os.strerror(cause.errno)  # asyncio puts the address in place of the system's word
    return UnreachableError(f"{host} cannot be reached: {text}", remedy=_REMEDY)


_SHOW: Final = "put client.cert and client.key into the registry's folder in registry.certs_dir, as for the engine"
_TLS_REMEDIES: Final = {
    "WRONG_VERSION_NUMBER": "if it speaks no TLS, list it in registry.plain_http",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _SHOW,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _SHOW,
    "SSLV3_ALERT_BAD_CERTIFICATE": _SHOW,
    "TLSV1_ALERT_UNKNOWN_CA": _SHOW,
}
"""By OpenSSL's own names. Before TLS 1.3 a missing certificate ends in a failed handshake."""


def _innermost(error: Exception) -> BaseException:
    """Return the innermost plain reason: httpx wraps the system's sentence several times."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return cause
