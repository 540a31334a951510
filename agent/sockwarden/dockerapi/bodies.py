"""Typed views of the request bodies that grant power over the host.

Owns what policy may look at, and that a view exists only for a body that can be read in one way: what is judged
is what the engine reads. Must never decide. The client's bytes go on as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sockwarden.dockerapi.bodies_mounts import MountKind, MountSource, read_bind, read_mounts
from sockwarden.dockerapi.bodies_schema import read_struct
from sockwarden.dockerapi.bodies_swarm import SERVICE
from sockwarden.dockerapi.bodies_tables import (
    COMMIT,
    CREATE,
    EXEC_CREATE,
    EXEC_START,
    NETWORK_CONNECT,
    NETWORK_CREATE,
    UPDATE,
    VOLUME_CREATE,
)
from sockwarden.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

MAX_MOUNTS: Final = 1000
"""Mounts of one container or service, inherited ones too: each costs a dozen system calls to judge. People use tens."""


@dataclass(frozen=True, slots=True)
class CreateBody:
    """``POST /containers/create``. An absent field is empty, as it is for the engine.

    ``volumes_from`` are containers whose mounts are inherited, by name or id, without the mode. The modes are the
    client's text: ``host``, ``container:ID`` …  ``devices`` are paths on the host.
    """

    image: str
    mounts: tuple[MountSource, ...] = ()
    volumes_from: tuple[str, ...] = ()
    volume_driver: str = ""
    privileged: bool = False
    pid_mode: str = ""
    ipc_mode: str = ""
    network_mode: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecCreateBody:
    """``POST /containers/{id}/exec``."""

    privileged: bool = False
    user: str = ""


@dataclass(frozen=True, slots=True)
class ExecStartBody:
    """``POST /exec/{id}/start``: unless ``detach``, the connection becomes the process's streams."""

    detach: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class VolumeBody:
    """``POST /volumes/create``: ``source`` is what a container that mounts the volume would get."""

    name: str
    source: MountSource


@dataclass(frozen=True, slots=True)
class ServiceBody:
    """``POST /services/create`` and ``/services/{id}/update``. ``plugin`` is the reference of a plugin to install."""

    image: str
    mounts: tuple[MountSource, ...] = ()
    plugin: str = ""


def read_create(data: bytes) -> CreateBody:
    """Return the view of a container-create body.

    Raises:
        ClientError: 400 naming the field that is misspelt, doubled, misplaced, unknown or of a wrong type.
    """
    body = read_struct(data, CREATE)
    host = body.get("HostConfig") or {}
    _bounded(host.get("Binds"), host.get("Mounts"), host.get("VolumesFrom"), body.get("Volumes"))
    return CreateBody(
        image=body.get("Image") or "",
        mounts=tuple(_mounts_of_create(body, host)),
        volumes_from=tuple(text.partition(":")[0] for text in host.get("VolumesFrom") or ()),
        volume_driver=host.get("VolumeDriver") or "",
        privileged=host.get("Privileged") or False,
        pid_mode=host.get("PidMode") or "",
        ipc_mode=host.get("IpcMode") or "",
        network_mode=host.get("NetworkMode") or "",
        devices=tuple(device.get("PathOnHost") or "" for device in host.get("Devices") or ()),
    )


def _bounded(*sources: Sized | None) -> None:
    if sum(len(source) for source in sources if source) > MAX_MOUNTS:
        raise ClientError(f"the request body asks for more than {MAX_MOUNTS} mounts")


def _mounts_of_create(body: dict[str, Any], host: dict[str, Any]) -> Iterator[MountSource]:
    driver = host.get("VolumeDriver") or ""
    for index, text in enumerate(host.get("Binds") or ()):
        yield read_bind(text, f"HostConfig.Binds[{index}]", driver)
    yield from read_mounts(host.get("Mounts"), "HostConfig.Mounts")
    for target in body.get("Volumes") or ():
        yield MountSource(MountKind.VOLUME, "", target, "Volumes", driver)


def read_exec_create(data: bytes) -> ExecCreateBody:
    """Return the view of an exec-create body, or raise ``ClientError`` as ``read_create`` does."""
    body = read_struct(data, EXEC_CREATE)
    return ExecCreateBody(privileged=body.get("Privileged") or False, user=body.get("User") or "")


def read_exec_start(data: bytes) -> ExecStartBody:
    """Return the view of an exec-start body, or raise ``ClientError`` as ``read_create`` does."""
    body = read_struct(data, EXEC_START)
    return ExecStartBody(detach=body.get("Detach") or False, tty=body.get("Tty") or False)


def read_volume(data: bytes) -> VolumeBody:
    """Return the view of a volume-create body, or raise ``ClientError`` as ``read_create`` does."""
    body = read_struct(data, VOLUME_CREATE)
    name, options = body.get("Name") or "", body.get("DriverOpts") or {}
    source = MountSource(
        MountKind.VOLUME,
        name,
        options.get("device") or name,
        "DriverOpts",
        body.get("Driver") or "",
        tuple((key, value or "") for key, value in options.items()),
    )
    return VolumeBody(name=name, source=source)


def read_service(data: bytes) -> ServiceBody:
    """Return the view of a service-create or -update body, or raise ``ClientError`` as ``read_create`` does."""
    task = read_struct(data, SERVICE).get("TaskTemplate") or {}
    spec, plugin = task.get("ContainerSpec") or {}, task.get("PluginSpec") or {}
    _bounded(spec.get("Mounts"))
    return ServiceBody(
        image=spec.get("Image") or "",
        mounts=tuple(read_mounts(spec.get("Mounts"), "TaskTemplate.ContainerSpec.Mounts")),
        plugin=plugin.get("remote") or plugin.get("Remote") or "",
    )


def check_update(data: bytes) -> None:
    """Raise ``ClientError`` unless the body of ``POST /containers/{id}/update`` can be read in one way."""
    read_struct(data, UPDATE)


def check_commit(data: bytes) -> None:
    """Raise ``ClientError`` unless the body of ``POST /commit`` can be read in one way."""
    read_struct(data, COMMIT)


def check_network_create(data: bytes) -> None:
    """Raise ``ClientError`` unless the body of ``POST /networks/create`` can be read in one way."""
    read_struct(data, NETWORK_CREATE)


def check_network_connect(data: bytes) -> None:
    """Raise ``ClientError`` unless the body of ``POST /networks/{id}/connect`` can be read in one way."""
    read_struct(data, NETWORK_CONNECT)
