"""Questions to the Docker Engine behind the gateway, over its unix socket.

Owns the connection, the time-outs, the size cap and the check of names. It never carries a client's bytes: a name that
could change the path of a request is refused before it is sent, and requests of clients are relayed elsewhere.
"""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx

from sockwarden.errors import ClientError, EngineError
from sockwarden.model import DIGEST, LocalImage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONNECT_SECONDS: Final = 2.0
"""A unix socket connects at once, unless the engine is stuck and its queue is full."""

ANSWER_SECONDS: Final = 10.0
"""The longest silence. An inspect waits for the container's lock, which a slow stop can hold for seconds."""

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""An inspect is 5 to 50 KiB; an image with thousands of tags reaches a few hundred."""

MAX_NAME_LENGTH: Final = 1024
"""The engine sets no limit; registries and file systems stop at 255 for each part."""

MAX_CONNECTIONS: Final = 8
IDLE_SECONDS: Final = 5.0
"""An engine that restarts leaves dead connections behind; they are not kept for long."""

_OBJECT_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")  # moby: daemon/names, volume/local
# A reference or an image id. Each part begins with a letter or digit, so that no part is "." or "..".
_IMAGE_NAME: Final = re.compile(
    r"(\[[0-9a-fA-F:.]+\](:[0-9]+)?/)?[a-zA-Z0-9][\w.:@-]*(/[a-zA-Z0-9][\w.:@-]*)*", re.ASCII
)

_START: Final = "start the engine (systemctl start docker), or set engine.socket in sockwarden.toml"


@dataclass(frozen=True, slots=True)
class EnginePing:
    """What ``GET /_ping`` says in its headers."""

    api_version: str
    os_type: str
    server: str
    builder_version: str


class EngineClient:
    """A small client of the engine's API. For one event loop.

    ``socket_path`` may be a function: it is called for each request, because a takeover moves the engine's socket.
    Requests use paths without a version, for which the engine answers in its own newest form.
    """

    def __init__(self, socket_path: Callable[[], str] | str) -> None:
        self._socket_path: Final = socket_path
        self._path = ""
        self._client: httpx.AsyncClient | None = None

    async def inspect_container(self, id_or_name: str, /) -> dict[str, Any] | None:
        """Return what the engine knows of a container, or None if it has none of that id, id prefix or name.

        Raises:
            ClientError: the name is not one that a container can have.
            EngineError: the engine cannot be asked, or its answer is not understood.
        """
        return await self._inspect(f"/containers/{_object_name(id_or_name, 'container')}/json")

    async def running_containers(self) -> tuple[str, ...]:
        """Return the ids of all containers that run; raises EngineError."""
        ids = (one.get("Id") for one in await self._list("/containers/json", "containers"))
        return _texts([found for found in ids if found])

    async def list_images(self) -> tuple[LocalImage, ...]:
        """Return every image of the store that has a name or is no part of another, without layers.

        Raises:
            EngineError: the engine cannot be asked, or its answer is not understood.
        """
        return tuple(local_image(one) for one in await self._list("/images/json", "images"))

    async def inspect_volume(self, name: str, /) -> dict[str, Any] | None:
        """Return what the engine knows of a volume, or None; raises as ``inspect_container`` does."""
        return await self._inspect(f"/volumes/{_object_name(name, 'volume')}")

    async def inspect_image(self, ref: str, /) -> LocalImage | None:
        """Return the local image that ``ref`` (a reference, an id or a prefix of one) means now, or None.

        Raises as ``inspect_container`` does.
        """
        if len(ref) > MAX_NAME_LENGTH or not _IMAGE_NAME.fullmatch(ref):
            raise ClientError("invalid reference format")  # the engine's own text
        answer = await self._inspect(f"/images/{quote(ref, safe='/:@')}/json")
        return None if answer is None else local_image(answer)

    async def remove_container(self, container_id: str, /, *, force: bool = False) -> bool:
        """Remove a container with its anonymous volumes; False means that there was none. Raises as above."""
        name = _object_name(container_id, "container")
        status, body, _ = await self._request("DELETE", f"/containers/{name}?v=1&force={int(force)}")
        if status == 404:
            return False
        if status not in {204, 200}:
            raise EngineError(f"the engine did not remove container {container_id}: {_message(status, body)}")
        return True

    async def info(self) -> dict[str, Any]:
        """Return the engine's description of itself; raises EngineError."""
        answer = await self._inspect("/info")
        if answer is None:
            raise EngineError("the engine does not know /info: is this the socket of a Docker Engine?", remedy=_START)
        return answer

    async def ping(self) -> EnginePing:
        """Return the headers of ``GET /_ping``; raises EngineError."""
        status, body, headers = await self._request("GET", "/_ping")
        if status != 200 or body.strip() != b"OK":
            raise EngineError(f"the engine is not well: {_message(status, body)}", remedy=_START)
        return EnginePing(
            api_version=headers.get("api-version", ""),
            os_type=headers.get("ostype", ""),
            server=headers.get("server", ""),
            builder_version=headers.get("builder-version", ""),
        )

    async def close(self) -> None:
        """Close all connections. The client may be used again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _inspect(self, target: str) -> dict[str, Any] | None:
        status, body, _ = await self._request("GET", target)
        if status == 404:
            return None
        if status != 200:
            raise EngineError(f"the engine did not answer GET {target}: {_message(status, body)}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise EngineError(f"the engine's answer to GET {target} is not a JSON object")
        return answer

    async def _list(self, target: str, what: str) -> list[dict[str, Any]]:
        status, body, _ = await self._request("GET", target)
        try:
            answer = json.loads(body) if status == 200 else None
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, list):
            raise EngineError(f"the engine did not list its {what}: {_message(status, body)}")
        return [one for one in answer if isinstance(one, dict)]

    async def _request(self, method: str, target: str) -> tuple[int, bytes, Mapping[str, str]]:
        try:
            try:
                return await _exchange(await self._connected(), method, target)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if method != "GET":
                    raise
                # An idle connection that the engine closed just now, as when it restarted: a question may be repeated.
                return await _exchange(await self._connected(), method, target)
        except httpx.TimeoutException as error:
            raise EngineError(
                f"the Docker Engine at {self._path} did not answer in time",
                remedy="look at its log: journalctl -u docker",
            ) from error
        except httpx.HTTPError as error:
            raise EngineError(f"the Docker Engine at {self._path} cannot be asked: {error}", remedy=_START) from error

    async def _connected(self) -> httpx.AsyncClient:
        path = self._socket_path if isinstance(self._socket_path, str) else self._socket_path()
        if self._client is None or path != self._path:
            old, self._client = self._client, _open(path)
            self._path = path
            if old is not None:
                await old.aclose()
        return self._client


def local_image(answer: Mapping[str, Any]) -> LocalImage:
    """Return the image of an inspect answer (moby: api/types/image).

    Raises:
        EngineError: the answer has no id.
    """
    image_id = answer.get("Id")
    if not isinstance(image_id, str) or not DIGEST.fullmatch(image_id):
        raise EngineError("the engine's description of an image has no id")
    root = answer.get("RootFS")
    descriptor = answer.get("Descriptor")
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return LocalImage(
        id=image_id,
        repo_tags=_texts(answer.get("RepoTags")),
        repo_digests=_texts(answer.get("RepoDigests")),
        layers=_texts(root.get("Layers")) if isinstance(root, dict) else (),
        manifest_digest=digest if isinstance(digest, str) and DIGEST.fullmatch(digest) else None,
    )


def _texts(value: object) -> tuple[str, ...]:
    """Return a list of the engine's as a tuple; it writes null for an empty one."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _object_name(name: str, kind: str) -> str:
    if len(name) > MAX_NAME_LENGTH or not _OBJECT_NAME.fullmatch(name):
        raise ClientError(f"not a name that a {kind} can have: {name[:64]!r}")
    return name


def _open(path: str) -> httpx.AsyncClient:
    # The context is never used over a unix socket; without one httpx reads all certificates of the host.
    transport = httpx.AsyncHTTPTransport(
        uds=path,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        limits=httpx.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        ),
    )
    return httpx.AsyncClient(
        transport=transport,
        base_url="http://docker",
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,  # a proxy of the environment has no part in this
        headers={"user-agent": "sockwarden", "accept": "application/json"},
    )


async def _exchange(client: httpx.AsyncClient, method: str, target: str) -> tuple[int, bytes, Mapping[str, str]]:
    async with client.stream(method, target) as response:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise EngineError(f"the engine's answer to {method} {target} is longer than {MAX_ANSWER_BYTES} bytes")
        return response.status_code, bytes(body), response.headers


def _message(status: int, body: bytes) -> str:
    """Return the engine's own words from an error body, or the status."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else None
    return f"{message} (status {status})" if isinstance(message, str) else f"status {status}"
