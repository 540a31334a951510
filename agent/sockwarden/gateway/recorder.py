"""Turns what the connections report into metrics and audit records.

Never: an exception into the request path; what cannot be written is counted by the sink.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sockwarden.dockerapi.commands import command_for
from sockwarden.model import Client, Mode, Rule, Verdict
from sockwarden.observe.audit import AuditRecord
from sockwarden.observe.metrics import Decision, kind_of

if TYPE_CHECKING:
    from sockwarden.gateway.ports import Exchange
    from sockwarden.observe.audit import AuditLog
    from sockwarden.observe.metrics import Metrics
    from sockwarden.policy.decide import Generation


class DecisionRecorder:
    """Counts and records every decision."""

    def __init__(self, metrics: Metrics, audit: AuditLog) -> None:
        """Count in ``metrics``, record in ``audit``."""
        self._metrics = metrics
        self._audit = audit
        self.generation: Generation | None = None

    def opened(self, client: Client) -> None:
        """A connection's client is known."""
        self._metrics.count_connection(kind_of(client))
        if client.peer is not None:
            self._metrics.count_identity(client.peer.source)

    def decided(self, exchange: Exchange, client: Client, verdict: Verdict) -> None:
        """A request was judged."""
        seconds = time.perf_counter() - exchange.started
        generation = exchange.generation
        decision = _decision(verdict, generation.mode)
        command = command_for(exchange.key) if exchange.key is not None else "other"
        self._metrics.count_request(command, decision, seconds)
        if decision is Decision.DENY:
            self._metrics.count_denial(verdict.rule)
        self._audit.write(
            AuditRecord(
                time=time.time(),
                decision=decision,
                rule=verdict.rule,
                command=command,
                method=exchange.head.method,
                target=exchange.target.raw,
                client=client,
                generation=generation.number,
                mode=generation.mode,
                message=verdict.message,
                remedy=verdict.remedy,
                image=verdict.image or exchange.image,
            )
        )

    def malformed(self, client: Client | None, verdict: Verdict, method: str, target: str) -> None:
        """Bytes were refused before they were a request."""
        self._metrics.count_request("other", Decision.DENY, 0.0)
        self._metrics.count_denial(verdict.rule)
        generation = self.generation
        self._audit.write(
            AuditRecord(
                time=time.time(),
                decision=Decision.DENY,
                rule=verdict.rule,
                command="other",
                method=method,
                target=target,
                client=client,
                generation=generation.number if generation else 0,
                mode=generation.mode if generation else Mode.ENFORCE,
                message=verdict.message,
            )
        )

    def failed(self, rule: Rule) -> None:
        """A request could not be carried out for a reason that is not the client's."""
        self._metrics.count_denial(rule)


def _decision(verdict: Verdict, mode: Mode) -> Decision:
    if verdict.allowed:
        return Decision.ALLOW
    return Decision.DENY if mode is Mode.ENFORCE else Decision.WOULD_DENY
