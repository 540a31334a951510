"""What is pinned, and by which agent: read from bpffs and from the pinned maps themselves.

Must change nothing: a map is opened, read, and closed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sockwarden import abi
from sockwarden.doctor.facts import Keeper, PinFact, Told, Untold
from sockwarden.errors import SockwardenError
from sockwarden.kernel.bpf import bpffs, maps, pins
from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from sockwarden.kernel.bpf.pins import PinnedSet


def find(pin_dir: str) -> Told[PinFact] | Untold:
    """Return what is pinned in ``pin_dir``, whole or not; "" is a place where nothing is."""
    if not pin_dir:
        return Told(())
    try:
        return Told(tuple(map(_fact, pins.survey(pin_dir))))
    except (SockwardenError, OSError) as error:
        return Untold(f"{pin_dir} cannot be read: {error}", "run as root")


def _fact(one: PinnedSet) -> PinFact:
    return PinFact(one.name, one.rung, one.build, one.links, one.maps, one.readable, one.aside, keeper_of(one))


def keeper_of(one: PinnedSet) -> Keeper | None:
    """Return who published the policy of a set; None where its map is not there or of another version."""
    if not one.readable:
        return None
    try:
        descriptor = bpffs.get(one.folder / "maps" / "sw_config")
    except SockwardenError:
        return None
    try:
        config = maps.single(descriptor, abi.RawConfig)
    except SockwardenError:
        return None
    finally:
        os.close(descriptor)
    runs = process.start_ticks(config.agent_tgid) == config.agent_start_ticks
    return Keeper(config.agent_tgid, runs=runs, generation=config.generation)
