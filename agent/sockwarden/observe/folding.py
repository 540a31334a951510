"""Keeps a flood of denials from filling the audit trail: what one client repeats within a second becomes one record.

Owns what is written at once, what is only counted, and when the count is told. Nothing is hidden: the first denial of
each kind is written at once for every client, and every later one is in a count. What passed is never folded.

Pure: records and moments in, records out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from sockwarden.model import ContainerClient, Rule, UnknownClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockwarden.model import Client
    from sockwarden.observe.audit import AuditRecord

FOLD_SECONDS: Final = 1.0
"""How long denials are counted before the count is told."""

MAX_KINDS: Final = 32
"""Different denials of one client written within FOLD_SECONDS; more is a flood made of texts that vary."""

MAX_FOLDED_CLIENTS: Final = 512
"""Clients counted at once, each with at most MAX_KINDS records; those of any more are all written."""

_BY_REASON: Final = frozenset({Rule.UNKNOWN_CONTAINER, Rule.GUARD})
"""Refusals of a client without a container whose reason names its cgroup, which it cannot change by forking."""


@dataclass(slots=True)
class _Fold:
    count: int = 0
    last: AuditRecord | None = None  # held only where it stands for others: a target may be long

    def add(self, record: AuditRecord) -> None:
        self.count += 1
        self.last = record


@dataclass(slots=True)
class _Burst:
    since: float
    kinds: dict[int, _Fold] = field(default_factory=dict)
    others: _Fold = field(default_factory=_Fold)

    def told(self) -> Iterator[AuditRecord]:
        """Yield a record for each count."""
        for fold in self.kinds.values():
            if fold.last is not None:
                yield replace(fold.last, repeated=fold.count)
        if self.others.last is not None:
            yield replace(self.others.last, others=self.others.count)


class Folding:
    """For one thread; times are in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._bursts: Final[OrderedDict[object, _Burst]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bursts)

    def take(self, record: AuditRecord, now: float) -> tuple[AuditRecord, ...]:
        """Return what is to be written now: counts that are due for this client, and the record unless it is counted.

        Only for denials, those of audit mode too.
        """
        who = _who(record.client)
        if who is None:
            return (record,)
        due: tuple[AuditRecord, ...] = ()
        burst = self._bursts.get(who)
        if burst is not None and now - burst.since >= FOLD_SECONDS:
            due = tuple(burst.told())
            del self._bursts[who]
            burst = None
        if burst is None:
            if len(self._bursts) >= MAX_FOLDED_CLIENTS:
                return (*due, record)
            burst = self._bursts[who] = _Burst(now)
        # Python keys its hashes of texts by a secret of the process: nobody can make two kinds look like one.
        kind = hash((record.decision, record.rule, record.command, record.method, record.target, record.message))
        fold = burst.kinds.get(kind)
        if fold is None and len(burst.kinds) < MAX_KINDS:
            burst.kinds[kind] = _Fold()
            return (*due, record)
        (fold or burst.others).add(record)
        return due

    def due(self, now: float) -> tuple[AuditRecord, ...]:
        """Return every count whose time has come."""
        told: list[AuditRecord] = []
        while self._bursts:
            who, burst = next(iter(self._bursts.items()))  # the oldest
            if now - burst.since < FOLD_SECONDS:
                break
            told += burst.told()
            del self._bursts[who]
        return tuple(told)


def _who(client: Client | None) -> object:
    """Return whose denials are counted together; None for those that are always written."""
    if isinstance(client, ContainerClient):
        return client.container.id
    if client is None or client.peer is None:
        return None
    if isinstance(client, UnknownClient) and client.rule in _BY_REASON:
        return client.reason
    return (client.peer.pid, client.peer.start_ticks)
