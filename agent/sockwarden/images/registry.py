"""Asking registries what a tag points to and what a digest holds.

Owns the questions of the distribution API that the image list needs, and the cache of verified manifests. It
must never return a manifest whose bytes do not hash to its digest, and never decide about an image.
"""

from __future__ import annotations

import asyncio
import enum
import json
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sockwarden.dockerapi.manifest import ACCEPT, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from sockwarden.errors import RegistryError
from sockwarden.images.credentials import Credentials, NoCredentials
from sockwarden.images.endpoints import Endpoint, RegistrySettings, Repository, endpoints_of
from sockwarden.images.flights import Flights
from sockwarden.images.patience import LimitedError, Patience, RateLimit
from sockwarden.images.tokens import DeniedError, Tokens
from sockwarden.images.transport import Answer, Transport, UnreachableError
from sockwarden.model import DIGEST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import httpx

T = TypeVar("T")

MAX_KEPT_MANIFESTS: Final = 1024
"""Verified manifests kept by digest, about 1 KiB each. They never go stale; the oldest make room."""

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")  # distribution spec: <reference> as a tag

_NOT_FOUND_CODES: Final = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NAME_INVALID", "TAG_INVALID", "NOT_FOUND"})
"""Error codes (distribution spec and Harbor) by which a registry itself says no, unlike some proxy's 404 page."""


class Outcome(enum.Enum):
    """How one question to one endpoint ended. The value is a label of metrics."""

    ANSWERED = "answered"
    NOT_FOUND = "not-found"
    DENIED = "denied"
    LIMITED = "limited"
    UNREACHABLE = "unreachable"
    INVALID = "invalid"


class NotInRegistryError(RegistryError):
    """The registry says by its own error code that the repository has no such tag or digest."""


_OUTCOMES: Final[tuple[tuple[type[RegistryError], Outcome], ...]] = (
    (NotInRegistryError, Outcome.NOT_FOUND),
    (DeniedError, Outcome.DENIED),
    (LimitedError, Outcome.LIMITED),
    (UnreachableError, Outcome.UNREACHABLE),
)


class RegistryClient:
    """Questions to registries: verified, bounded, at most one under way for each.

    ``requests`` counts questions by outcome and ``cache_hits`` those answered from memory: plain integers that
    metrics read; ``seconds`` is how long they took in all. ``transport`` replaces the network in tests; ``clock`` is
    monotonic seconds.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        credentials: Credentials | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.cache_hits = 0
        self.seconds = 0.0
        self._settings = settings
        self._clock = clock
        self._transport = Transport(settings, transport)
        self._credentials = credentials or NoCredentials()
        self._patience = Patience(clock)
        self._tokens = Tokens(self._transport, settings, self._credentials, self._patience, clock)
        self._flights = Flights()
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the credentials that are set up, one sentence each. None holds a secret."""
        return self._credentials.faults

    @property
    def limits(self) -> Mapping[str, RateLimit]:
        """What registries last said of their pull limits, by host."""
        return self._patience.limits

    async def close(self) -> None:
        """End what is under way and close every connection."""
        await self._flights.close()
        await self._transport.close()

    async def head(self, repository: Repository, reference: str) -> str:
        """Return the digest that a tag points to now, or ``reference`` itself where the digest is there.

        A HEAD does not count against Docker Hub's pull limit.

        Raises:
            NotInRegistryError: the repository has no such tag or digest.
            RegistryError: no registry could be asked, or its answer cannot be trusted.
        """

        async def ask(endpoint: Endpoint) -> str:
            answer = await self._request("HEAD", endpoint, repository.path, reference)
            digest = answer.headers.get("docker-content-digest", "")
            named = answer.status == 200 and DIGEST.fullmatch(digest) is not None
            if not named or (DIGEST.fullmatch(reference) and digest != reference):
                # A 404 without a body says not who speaks, and a digest may be left out: the GET tells both.
                return (await self._get(endpoint, repository, reference)).digest
            return digest

        return await self._flights.once(("HEAD", repository, reference), lambda: self._first(repository, ask))

    async def manifest(self, repository: Repository, reference: str) -> Manifest:
        """Fetch and verify the manifest under a tag or digest of this very repository.

        Raises:
            NotInRegistryError: the repository has no such tag or digest.
            RegistryError: no registry could be asked, or its answer cannot be trusted.
        """

        async def ask(endpoint: Endpoint) -> Manifest:
            return await self._get(endpoint, repository, reference)

        return await self._flights.once(("GET", repository, reference), lambda: self._first(repository, ask))

    def known(self, digest: str) -> Manifest | None:
        """Return the verified content of ``digest`` from memory. It says nothing about who holds it."""
        manifest = self._manifests.get(digest)
        if manifest is not None:
            self._manifests.move_to_end(digest)
            self.cache_hits += 1
        return manifest

    async def _first(self, repository: Repository, ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Return the first answer of mirror and origin; the origin's word counts where both have none."""
        failure = RegistryError(f"{repository} has no registry")
        for endpoint in endpoints_of(repository.domain, self._settings):
            try:
                answer = await self._counted(endpoint, ask)
            except RegistryError as error:
                failure = error
            else:
                return answer
        raise failure

    async def _counted(self, endpoint: Endpoint, ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        slots = self._slots.setdefault(endpoint.base, asyncio.Semaphore(self._settings.parallel_per_registry))
        async with slots:
            self._patience.check(endpoint)
            began = self._clock()
            try:
                answer = await ask(endpoint)
            except RegistryError as error:
                self.requests[_outcome(error)] += 1
                if isinstance(error, UnreachableError):
                    self._patience.unreachable(endpoint, error)
                raise
            finally:
                self.seconds += self._clock() - began
            self.requests[Outcome.ANSWERED] += 1
            return answer

    async def _get(self, endpoint: Endpoint, repository: Repository, reference: str) -> Manifest:
        answer = await self._request("GET", endpoint, repository.path, reference)
        if answer.status == 404 and _error_codes(answer.body) & _NOT_FOUND_CODES:
            raise NotInRegistryError(
                f"{endpoint.host} has no {repository}{'@' if ':' in reference else ':'}{reference}",
                remedy="check the name in the image list, or push the image",
            )
        if answer.status == 400 and endpoint.base.startswith("http:"):
            raise RegistryError(  # how most servers answer HTTP where they speak TLS
                f"{endpoint.host} answered 400 to a question over plain HTTP",
                remedy=f"if it speaks TLS, make a folder {endpoint.host} with its CA in registry.certs_dir",
            )
        if answer.status != 200:
            raise RegistryError(
                f"{endpoint.host} answered {answer.status} for {repository.path}, which no registry should",
                remedy="check that the address is a registry's, and what proxy stands before it",
            )
        promised = answer.headers.get("docker-content-digest")
        expected = reference if DIGEST.fullmatch(reference) else promised
        manifest = parse_manifest(answer.body, answer.headers.get("content-type", ""), expected)
        self._manifests[manifest.digest] = manifest
        while len(self._manifests) > MAX_KEPT_MANIFESTS:
            self._manifests.popitem(last=False)
        return manifest

    async def _request(self, method: str, endpoint: Endpoint, path: str, reference: str) -> Answer:
        """Send one request with the authorization that is known, and once more if challenged."""
        if not (_TAG.fullmatch(reference) or DIGEST.fullmatch(reference)):
            raise AssertionError(f"neither a tag nor a digest: {reference!r}")
        url = f"{endpoint.base}/v2/{path}/manifests/{reference}"
        headers = {"accept": ACCEPT}
        if (value := self._tokens.current(endpoint, path)) is not None:
            headers["authorization"] = value
        answer = await self._transport.send(method, url, headers, MAX_MANIFEST_BYTES, endpoint=endpoint.host)
        if answer.status == 401:
            challenge = answer.headers.get("www-authenticate", "")
            headers["authorization"] = await self._tokens.answer(endpoint, path, challenge, value)
            answer = await self._transport.send(method, url, headers, MAX_MANIFEST_BYTES, endpoint=endpoint.host)
        if answer.status in (429, 503):
            raise self._patience.limited(endpoint, endpoint.host, answer.headers.get("retry-after", ""))
        self._patience.answered(endpoint, answer.headers)
        if answer.status in (401, 403):
            raise DeniedError(
                f"{endpoint.host} refuses {path}",
                remedy="check the name in the image list, and run 'docker login' as root for a private repository",
            )
        return answer


def _outcome(error: RegistryError) -> Outcome:
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return Outcome.INVALID


def _error_codes(body: bytes) -> set[str]:
    """Return the codes of a registry's error body, none where it is not one."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return set()
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return set()
    return {error["code"] for error in errors if isinstance(error, dict) and isinstance(error.get("code"), str)}
