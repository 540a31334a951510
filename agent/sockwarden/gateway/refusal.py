"""Turning what went wrong into what the client reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockwarden.dockerapi import texts
from sockwarden.http1.reply import reply
from sockwarden.model import Rule, Verdict, deny

if TYPE_CHECKING:
    from sockwarden.errors import ClientError, EngineError


def malformed(error: ClientError) -> Verdict:
    """Return the refusal of a request that could be read in two ways, or is over a limit."""
    message = f"{error}; {error.remedy}" if error.remedy else str(error)
    return deny(Rule.MALFORMED, f"sockwarden: {message}", error.remedy, error.status)


def engine_down(socket: str, error: EngineError) -> Verdict:
    """Return the answer to a request that the engine at ``socket`` cannot take."""
    return deny(Rule.ENGINE, texts.engine_unreachable(socket, str(error)), error.remedy, 503)


def broken() -> Verdict:
    """Return the answer to a request whose judgement failed: refused, because nobody knows that it is allowed."""
    text = "sockwarden: this request could not be judged because of a fault in sockwarden, so it was refused"
    return deny(Rule.INTERNAL, text, "see sockwarden's log, and report it", 500)


def too_many() -> Verdict:
    """Return the answer to a connection above the limit."""
    text = "sockwarden: too many connections are open; try again when some are closed"
    return deny(Rule.LIMIT, text, "close connections that are not used", 503)


def render(verdict: Verdict, *, close: bool, head_only: bool = False) -> bytes:
    """Return the response that carries a refusal."""
    return reply(verdict.status, texts.error_body(verdict.message), close=close, head_only=head_only)
