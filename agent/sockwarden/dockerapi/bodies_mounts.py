"""Where a container's mounts come from: the source of each, from a request or from the engine's inspect answers.

Owns how moby reads a bind text (daemon/volume/mounts/linux_parser.go) and which mount types exist. Must never
decide what a source shows; ``policy.mounts`` does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockwarden.dockerapi.gojson import shown
from sockwarden.errors import ClientError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOCAL_DRIVER: Final = "local"
"""The volume driver that is part of the engine."""


class MountKind(enum.Enum):
    """Mount types of the Engine API (moby: api/types/mount), by the exact text that the engine compares."""

    BIND = "bind"
    VOLUME = "volume"
    TMPFS = "tmpfs"
    IMAGE = "image"
    CLUSTER = "cluster"
    NPIPE = "npipe"


_KINDS: Final = {kind.value: kind for kind in MountKind}


@dataclass(frozen=True, slots=True)
class MountSource:
    """One mount. ``source`` is a host path (bind), a volume's name (empty: anonymous) or an image.

    ``options`` are a volume driver's, in the client's order. ``text`` is what the client wrote, for messages;
    ``place`` is where.
    """

    kind: MountKind
    source: str
    text: str
    place: str
    driver: str = ""
    options: tuple[tuple[str, str], ...] = ()


def read_bind(text: str, place: str, volume_driver: str = "") -> MountSource:
    """Return the source of one entry of ``HostConfig.Binds``: ``src:dst[:options]`` or ``dst``.

    An absolute source is a host path, anything else the name of a volume.

    Raises:
        ClientError: 400 for a text that no engine can use: no source, more than two colons, or a NUL.
    """
    parts = text.split(":")
    if not parts[0] or len(parts) > 3 or "\0" in text:
        raise ClientError(f"the request body's field {place} is not a bind: {shown(text)}")
    source = parts[0] if len(parts) > 1 else ""
    if source.startswith("/"):
        return MountSource(MountKind.BIND, source, text, place)
    return MountSource(MountKind.VOLUME, source, text, place, volume_driver)


def read_mount(mount: Mapping[str, Any], place: str) -> MountSource:
    """Return the source of one ``Mount`` object, of a container's HostConfig or of a service's ContainerSpec.

    The type must be there: a container without one is refused by the engine, a service takes it for a bind.

    Raises:
        ClientError: 400 for an unknown type or a NUL in the source.
    """
    name = mount.get("Type") or ""
    kind = _KINDS.get(name)
    if kind is None:
        raise ClientError(f"the request body's field {place}.Type is not a mount type: {shown(name) or 'empty'}")
    source = mount.get("Source") or ""
    if "\0" in source:
        raise ClientError(f"the request body's field {place}.Source holds a NUL")
    config = (mount.get("VolumeOptions") or {}).get("DriverConfig") or {}
    if kind is not MountKind.VOLUME:
        return MountSource(kind, source, source, place)
    return MountSource(kind, source, source, place, config.get("Name") or "", _options(config.get("Options")))


def read_mounts(mounts: list[dict[str, Any]] | None, place: str) -> Iterator[MountSource]:
    """Yield the source of every entry of a ``Mounts`` list that stands at ``place``."""
    for index, mount in enumerate(mounts or ()):
        yield read_mount(mount, f"{place}[{index}]")


def volume_source(inspect: Mapping[str, Any]) -> MountSource | None:
    """Return what a volume shows, from ``GET /volumes/{name}``; None for a plain local one, which shows itself only.

    Raises:
        EngineError: the answer has not the form of the Engine API.
    """
    name, driver = _text(inspect, "Name"), _text(inspect, "Driver")
    options = inspect.get("Options") or {}
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        raise EngineError(f"the engine's answer about the volume {shown(name)} has unreadable Options")
    if driver == LOCAL_DRIVER and not options:
        return None
    return MountSource(MountKind.VOLUME, name, name, "volume", driver, _options(options))


def mounts_of_inspect(inspect: Mapping[str, Any]) -> tuple[MountSource, ...]:
    """Return the sources of a container that exists, from ``GET /containers/{id}/json``.

    ``.Mounts`` has what the engine made of the request, whether it ever ran or not; ``.HostConfig`` what was asked.
    A volume stands there by its name, for the caller to look up, and a local one by its directory too, which shows
    at once what is mounted on it.

    Raises:
        EngineError: the answer has not the form of the Engine API.
    """
    found = [source for mount in _objects(inspect, "Mounts") for source in _made(mount)]
    config = inspect.get("HostConfig") or {}
    if not isinstance(config, dict):
        raise EngineError("the engine's answer about a container has an unreadable HostConfig")
    binds = config.get("Binds") or []
    if not isinstance(binds, list) or not all(isinstance(text, str) for text in binds):
        raise EngineError("the engine's answer about a container has unreadable Binds")
    driver = _text(config, "VolumeDriver")
    try:
        found += [read_bind(text, f"HostConfig.Binds[{index}]", driver) for index, text in enumerate(binds)]
    except ClientError as error:
        raise EngineError(f"the engine's answer about a container cannot be read: {error}") from None
    return tuple(dict.fromkeys(found))


def _made(mount: Mapping[str, Any]) -> Iterator[MountSource]:
    """Yield the sources of one entry of ``.Mounts`` (moby: api/types/container MountPoint)."""
    kind = _KINDS.get(_text(mount, "Type"))
    if kind is None:
        raise EngineError(f"the engine's answer about a container has an unknown mount type: {mount.get('Type')!r}")
    path, name, driver = _text(mount, "Source"), _text(mount, "Name"), _text(mount, "Driver")
    if kind is not MountKind.VOLUME:
        yield MountSource(kind, path, path, "Mounts")
        return
    yield MountSource(kind, name, name, "Mounts", driver)
    if driver == LOCAL_DRIVER and path:
        yield MountSource(MountKind.BIND, path, name, "Mounts")


def _objects(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    values = answer.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise EngineError(f"the engine's answer about a container has unreadable {key}")
    return values


def _text(answer: Mapping[str, Any], key: str) -> str:
    value = answer.get(key) or ""
    if not isinstance(value, str):
        raise EngineError(f"the engine's answer has a {key} that is not a string")
    return value


def _options(options: Mapping[str, str | None] | None) -> tuple[tuple[str, str], ...]:
    return tuple((key, value or "") for key, value in (options or {}).items())
