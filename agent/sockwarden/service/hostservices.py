"""Services of the host that systemd gave a mount namespace of their own: which cgroups are theirs.

Owns the rule, and telling the guard. The kernel guard takes who is not in the host's mount namespace for a container;
systemd's sandboxing (PrivateTmp=, ProtectSystem= and two dozen more, systemd.exec(5)) and snaps make such namespaces
for services that are nobody's container. Must never hold a container's cgroup for a service's, whoever chose its
parent.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from sockwarden.abi import CgroupRecord
from sockwarden.errors import KernelError
from sockwarden.identity.cgroup import Place, placement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

MAX_SERVICES: Final = 1024
"""Services told to the kernel; a host has one or two hundred. Two classes and three generations of each take 6,144 of
the map's 16,384 entries."""

_UNIT: Final = r"[A-Za-z0-9:_.\\@-]{1,247}"
"""A unit's name without its suffix (systemd: src/basic/unit-name.h, VALID_CHARS and UNIT_NAME_MAX)."""

_SERVICE: Final = re.compile(rf"/system\.slice(?P<slices>(?:/{_UNIT}\.slice)*)/{_UNIT}\.service")

_log = logging.getLogger(__name__)


def is_host_service(path: str) -> bool:
    """Return whether the cgroup at ``path`` of the v2 tree is that of one of systemd's system services, none other's.

    That is the leaf itself. What lies below may be a container: with ``--cgroup-parent=/system.slice/x.service``, with
    Podman's split cgroups, with systemd-nspawn's ``--keep-unit``. Every engine puts a container into a cgroup that it
    names by the container's id, or into a scope; none of them ends in ``.service``. A slice in between must be named as
    systemd names it, after the one that it is in (systemd.slice(5)); and nothing in the path may be a sign of a
    container, so that this agrees with who is judged by /proc/PID/cgroup.
    """
    found = _SERVICE.fullmatch(path)
    if found is None:
        return False
    outer = "system"
    for name in found["slices"].removeprefix("/").split("/") if found["slices"] else ():
        if not name.startswith(f"{outer}-"):
            return False
        outer = name.removesuffix(".slice")
    return placement(f"0::{path}\n").place is Place.HOST


class HostServices:
    """Keeps the guard's list of the host's services up to date.

    ``allow`` takes the cgroup ids of all of them at once; it may raise KernelError.
    """

    def __init__(self, allow: Callable[[Collection[int]], None]) -> None:
        self._allow: Final = allow
        self._services: Final[set[int]] = set()
        self.left_out = 0
        self.fault = ""
        """Why the kernel does not know them; "" while it does."""

    def __len__(self) -> int:
        return len(self._services)

    def problems(self) -> list[str]:
        """Return why a service of the host may be refused what it may touch, as clauses without a full stop."""
        found = []
        if self.fault:
            found.append(f"the kernel guard does not know the host's services: {self.fault}")
        if self.left_out:
            found.append(f"{self.left_out} services of the host were more than the kernel guard is told of")
        return found

    def begin(self, cgroups: Iterable[tuple[int, str]]) -> None:
        """Take the (id, path) pairs of a walk through the tree; forget those of an agent before."""
        self._services.clear()
        for cgroup_id, path in cgroups:
            if is_host_service(path):
                self._add(cgroup_id)
        self._tell()

    def lived(self, record: object) -> None:
        """Learn from a record of the kernel that a service began or ended."""
        if not isinstance(record, CgroupRecord):
            return
        if not record.made:
            if record.cgroup_id in self._services:
                self._services.remove(record.cgroup_id)
                self._tell()
        elif not record.truncated and is_host_service(record.path) and self._add(record.cgroup_id):
            self._tell()

    def _add(self, cgroup_id: int) -> bool:
        if len(self._services) >= MAX_SERVICES:
            self.left_out += 1
            return False
        self._services.add(cgroup_id)
        return True

    def _tell(self) -> None:
        try:
            self._allow(self._services)
        except KernelError as error:
            if str(error) != self.fault:
                _log.warning("the kernel guard does not know the host's services: %s", error)
            self.fault = str(error)
        else:
            self.fault = ""
