"""What the kernel offers to the guard: each rung, by the agent's word or by a trial.

Owns the trial: one rung at a time, proved by its own live canary and taken down again. It guards nothing but the
canary's own socket, so that nobody else notices it, an agent that runs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockwarden.doctor.facts import Untold
from sockwarden.kernel import ladder, rungs
from sockwarden.kernel.guard import RING_BYTES

if TYPE_CHECKING:
    from sockwarden.doctor.facts import AgentFact
    from sockwarden.kernel.ladder import Row, Rung
    from sockwarden.kernel.probes import Answer


def rows(agent: AgentFact | Untold, features: tuple[Answer, ...], *, try_rungs: bool) -> tuple[Row, ...]:
    """Return the row of every rung: the agent's own, and those of trials for what it did not try."""
    if isinstance(agent, Untold):
        return ladder.trial(features, _prove if try_rungs else None)
    if not try_rungs:
        return agent.rows or ladder.trial(features, None)
    own = {row.name: row for row in agent.rows}
    untried = (ladder.State.NOT_TRIED, ladder.State.NOT_NEEDED)
    return tuple(
        row if row.name not in own or own[row.name].state in untried else own[row.name]
        for row in ladder.trial(features, _prove)
    )


def _prove(rung: Rung) -> str:
    rungs.attempt(rung, rungs.Setup(RING_BYTES)).close()
    return f"{rung.effect}; proved by the canary, and taken down"
