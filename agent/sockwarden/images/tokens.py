"""Getting past a registry's 401: Basic, or a Bearer token from the realm that it names.

A token comes by GET, anonymously or with Basic (distribution: docs/spec/auth/token.md), or for an identity token
by POST (docs/spec/auth/oauth.md).

Owns the tokens and how long each lives. It must never send a stored credential anywhere but to the endpoint
it belongs to and to the token realm which that endpoint names.
"""

from __future__ import annotations

import asyncio
import json
import re
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from sockwarden.dockerapi.challenge import Challenge, parse_challenges
from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import trusted_url
from sockwarden.images.secret import Basic, IdentityToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockwarden.images.credentials import Credentials
    from sockwarden.images.endpoints import Endpoint, RegistrySettings
    from sockwarden.images.patience import Patience
    from sockwarden.images.secret import Secret
    from sockwarden.images.transport import Transport

MAX_TOKENS: Final = 1024
"""One per repository: more entries than that fetch their token again at each refresh."""

MAX_TOKEN_BYTES: Final = 64 * 1024
"""A token answer of Docker Hub has about 5 KiB."""

DEFAULT_SECONDS: Final = 60
"""How long a token lives that does not say so (distribution: docs/spec/auth/token.md)."""

MAX_SECONDS: Final = 3600
"""No server's word makes us keep a token for longer."""

MARGIN_SECONDS: Final = 10
"""A token this near its end is not used any more: the request itself takes time."""

_BEARER: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 section 2.1: nothing that could end a header


class DeniedError(RegistryError):
    """The registry, or its token server, refuses this repository to us."""


class Tokens:
    """The Authorization value per endpoint and repository, fetched when challenged and kept while valid."""

    def __init__(
        self,
        transport: Transport,
        settings: RegistrySettings,
        credentials: Credentials,
        patience: Patience,
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._credentials = credentials
        self._patience = patience
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    def current(self, endpoint: Endpoint, path: str) -> str | None:
        """Return the Authorization value to begin with, if one is known that still lives."""
        value, until = self._kept.get((endpoint.base, path), ("", 0.0))
        return value if value and self._clock() < until else None

    async def answer(self, endpoint: Endpoint, path: str, header: str, refused: str | None = None) -> str:
        """Return the Authorization value that answers the WWW-Authenticate ``header``.

        ``refused`` is the value that was answered so. Who comes while another fetches takes what that one got.

        Raises:
            DeniedError: no way in is offered that we can take, or the token server refuses.
            LimitedError: the token server asked for a wait.
            RegistryError: the challenge or the token cannot be trusted or read.
        """
        key = (endpoint.base, path)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            value = self.current(endpoint, path)
            if value is not None and value != refused:
                return value
            self._kept.pop(key, None)
            value, seconds = await self._fetch(endpoint, path, header)
            self._kept[key] = (value, self._clock() + seconds)
            while len(self._kept) > MAX_TOKENS:
                self._kept.popitem(last=False)
            return value

    async def _fetch(self, endpoint: Endpoint, path: str, header: str) -> tuple[str, float]:
        challenges = {challenge.scheme: challenge for challenge in reversed(parse_challenges(header))}
        secret = await self._credentials.find(endpoint.credentials_for) if challenges else None
        if "bearer" in challenges:
            return await self._bearer(endpoint, path, challenges["bearer"], secret)
        if "basic" in challenges and isinstance(secret, Basic):
            return secret.header(), float(MAX_SECONDS)
        raise self._denied(endpoint, f"{endpoint.host} wants credentials for {path}")

    async def _bearer(
        self, endpoint: Endpoint, path: str, challenge: Challenge, secret: Secret | None
    ) -> tuple[str, float]:
        after = endpoint.base.partition(":")[0]
        realm = trusted_url(challenge.parameters.get("realm", ""), after=after, settings=self._settings)
        # Some registries map a host name to a path of their own, so that their scope is the right one.
        scope = challenge.parameters.get("scope") or f"repository:{path}:pull"
        service = challenge.parameters.get("service", "")
        headers = {"accept": "application/json"}
        form = None
        if isinstance(secret, IdentityToken):
            form = secret.form(service, scope)
        else:
            realm = realm.copy_merge_params({"scope": scope} | ({"service": service} if service else {}))
        if isinstance(secret, Basic):
            headers["authorization"] = secret.header()
        method = "GET" if form is None else "POST"
        url = str(realm)
        answer = await self._transport.send(method, url, headers, MAX_TOKEN_BYTES, endpoint=endpoint.host, form=form)
        server = f"the token server {realm.host} of {endpoint.host}"
        if answer.status in (429, 503):
            raise self._patience.limited(endpoint, server, answer.headers.get("retry-after", ""))
        if answer.status in (400, 401, 403, 404, 405):
            raise self._denied(endpoint, f"{server} refuses {path}")
        if answer.status != 200:
            raise RegistryError(f"{server} answered {answer.status}")
        return _read_token(answer.body, realm.host)

    def _denied(self, endpoint: Endpoint, text: str) -> DeniedError:
        """Say as well why there are no credentials, if there should be."""
        fault = self._credentials.fault_of(endpoint.credentials_for)
        return DeniedError(f"{text}; {fault}" if fault else text, remedy=_LOGIN)


def _read_token(body: bytes, host: str) -> tuple[str, float]:
    """Return the Authorization value and for how many seconds it may be used."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryError(f"the token server {host} did not answer with a JSON object")
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not _BEARER.fullmatch(token):
        raise RegistryError(f"the token server {host} answered without a usable token")
    seconds = document.get("expires_in")
    lives = seconds if type(seconds) is int and seconds > 0 else DEFAULT_SECONDS
    return f"Bearer {token}", float(min(lives, MAX_SECONDS) - MARGIN_SECONDS)


_LOGIN: Final = "check the name in the image list, and run 'docker login' as root for a private repository"
