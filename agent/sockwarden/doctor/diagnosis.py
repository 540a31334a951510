"""What the facts mean: sections of lines, each with a mark, and for what is not well a remedy.

Pure. Never says that a host is protected: it says what is open, and what could not be told.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.doctor.facts import Speaks, Untold
from sockwarden.kernel.ladder import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockwarden.doctor.facts import AgentFact, EngineFact, Facts, PinFact, SocketFact

TRACING: Final = frozenset({"fmod_ret"})
"""Blocking rungs whose program a fully preemptible kernel can skip."""


class Mark(enum.Enum):
    """How a line is meant."""

    OK = "ok"
    NO = "-"  # not there, and no harm in itself
    WARN = "warn"  # to be looked at; no road that is known
    UNTOLD = "untold"  # a question about a road that has no answer
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing. ``remedy`` says in a sentence what to do, where there is something to do."""

    mark: Mark
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines about one question. ``name`` is a word for machines."""

    name: str
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The whole answer."""

    sections: tuple[Section, ...]

    def marked(self, *marks: Mark) -> tuple[Line, ...]:
        """Return the lines with one of these marks."""
        return tuple(line for section in self.sections for line in section.lines if line.mark in marks)

    @property
    def is_open(self) -> bool:
        """Whether a road is open, or it cannot be told that it is not."""
        return bool(self.marked(Mark.OPEN, Mark.UNTOLD))

    @property
    def conclusion(self) -> str:
        """One sentence for all."""
        open_lines, untold = self.marked(Mark.OPEN), self.marked(Mark.UNTOLD)
        if open_lines:
            more = f", and {_counted(len(untold), 'question')} without an answer" if untold else ""
            return f"{_counted(len(open_lines), 'thing')} open{more}"
        if untold:
            return f"nothing open was found, but {_counted(len(untold), 'question')} without an answer"
        return "nothing open was found"

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do, one line for each problem, the open ones first."""
        lines = (line for mark in (Mark.OPEN, Mark.UNTOLD, Mark.WARN) for line in self.marked(mark))
        return tuple(dict.fromkeys(f"{line.subject}: {line.remedy}" for line in lines if line.remedy))


def diagnose(facts: Facts) -> Diagnosis:
    """Return what the facts mean."""
    return Diagnosis(
        (
            Section("agent", "Agent", tuple(_agent(facts.agent))),
            Section("kernel", "What the kernel offers", tuple(_features(facts))),
            Section("guard", "Rungs of the guard", tuple(_rungs(facts))),
            Section("sockets", "Guarded sockets", tuple(_sockets(facts))),
            Section("pins", "Pinned in bpffs", tuple(_pins(facts))),
            Section("roads", "Other roads to an engine", tuple(_roads(facts))),
        )
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _untold(subject: str, answer: Untold) -> Line:
    return Line(Mark.UNTOLD, subject, f"cannot be told: {answer.reason}", answer.remedy)


def _agent(agent: AgentFact | Untold) -> Iterator[Line]:
    if isinstance(agent, Untold):
        yield Line(Mark.OPEN, "agent", f"no agent answers: {agent.reason}", agent.remedy)
        return
    yield Line(Mark.OK, "agent", f"sockwarden {agent.version}, pid {agent.pid}, mode {agent.mode}")
    for problem in agent.problems:
        remedy = f"{problem.partition(';')[0]}: look this text up in docs/troubleshooting.md"
        yield Line(Mark.OPEN, "agent", problem, remedy)


def _features(facts: Facts) -> Iterator[Line]:
    for answer in facts.features:
        yield Line(Mark.OK if answer.ok else Mark.NO, answer.name, answer.reason)
    agent = facts.agent
    preempt = next((answer for answer in facts.features if answer.name == "preempt"), None)
    if isinstance(agent, Untold) or preempt is None or preempt.ok or preempt.told or agent.rung not in TRACING:
        return  # where the kernel says so itself, the agent has it among its problems
    text = f"the rung {agent.rung} may have a gap; {preempt.reason}"
    yield Line(Mark.WARN, "preempt", text, "mount debugfs and ask again; " + preempt.remedy)


def _rungs(facts: Facts) -> Iterator[Line]:
    for row in facts.rows:
        mark = Mark.OK if row.state in (State.IN_FORCE, State.PROVED) else Mark.NO
        remedy = f" (remedy: {row.remedy})" if row.remedy else ""
        yield Line(mark, row.name, f"{row.state.value}: {row.reason}{remedy}")
    agent = facts.agent
    if isinstance(agent, Untold):
        if any(row.state is State.NOT_TRIED for row in facts.rows):
            yield Line(Mark.NO, "trial", "sockwarden doctor --try proves each by its canary, and takes it down again")
        return
    if not agent.blocking:
        text = f"the rung in force is {agent.rung}, which is no wall"
        yield Line(Mark.NO, "wall", text)
    yield Line(Mark.OK, "identity", f"who connects is known by {agent.identity or 'no word yet: nobody has connected'}")
    yield _pinned_or_not(agent)


def _pinned_or_not(agent: AgentFact) -> Line:
    if agent.pinned:
        return Line(Mark.OK, "pinned", f"the guard outlives the agent: {agent.pinned}")
    if agent.blocking:
        text = "not pinned: the guard ends with the agent"
        return Line(Mark.WARN, "pinned", text, "set guard.pin_dir to a folder on bpffs")
    return Line(Mark.NO, "pinned", "only blocking rungs are pinned")


def _sockets(facts: Facts) -> Iterator[Line]:
    for fact in facts.sockets:
        if fact.guarded:
            yield Line(Mark.OK, fact.path, f"{fact.kind}, {_object(fact)}")
    if isinstance(facts.agent, Untold):
        yield Line(Mark.NO, "sockets", "none is under guard by a running agent")
        return
    if facts.agent.waiting:
        text = f"guarded as soon as there is a socket: {', '.join(facts.agent.waiting)}"
        yield Line(Mark.NO, "waiting", text)


def _object(fact: SocketFact) -> str:
    return f"device {fact.device >> 20}:{fact.device & 0xFFFFF}, inode {fact.inode}"


def _pins(facts: Facts) -> Iterator[Line]:
    if isinstance(facts.pins, Untold):
        yield Line(Mark.NO, "pins", f"cannot be told: {facts.pins.reason}")
        return
    if not facts.pins.values:
        yield Line(Mark.NO, "pins", "none")
    for pin in facts.pins.values:
        yield _pin(pin, alone=isinstance(facts.agent, Untold))


def _pin(pin: PinFact, *, alone: bool) -> Line:
    what = f"rung {pin.rung}, build {pin.build}, {len(pin.links)} programs, {len(pin.maps)} maps"
    if pin.keeper is not None:
        what += f", {pin.keeper}"
    if not pin.whole:
        text = f"{what}: it is not whole, and guards nothing"
        return Line(Mark.WARN, pin.name, text, "start the agent, or sockwarden guard unload")
    if not pin.current:
        text = f"{what}: of another version, in force until it is replaced"
        return Line(Mark.WARN, pin.name, text, "start the agent of this version, which replaces it")
    if pin.aside:
        return Line(Mark.WARN, pin.name, f"{what}: replaced, and still in force", "restart the agent")
    if alone:
        return Line(Mark.OK, pin.name, f"{what}: in force by the last generation, without an agent")
    return Line(Mark.OK, pin.name, what)


def _roads(facts: Facts) -> Iterator[Line]:
    for fact in facts.sockets:
        if not fact.guarded and not isinstance(facts.agent, Untold):
            text = f"a socket with an engine's power ({fact.kind}) that is not under guard"
            yield Line(Mark.OPEN, fact.path, text, "add the path to guard.host_only, and restart the agent")
    yield from _engines(facts)
    yield from _containers(facts)
    yield from _holders(facts)


def _engines(facts: Facts) -> Iterator[Line]:
    if isinstance(facts.engines, Untold):
        yield _untold("TCP", facts.engines)
        return
    quiet = []
    for engine in facts.engines.values:
        lines = tuple(_ways_in(engine))
        yield from lines
        if not lines:
            quiet.append(f"{engine.name} (pid {engine.pid})")
    if not facts.engines.values:
        yield Line(Mark.NO, "TCP", "no engine's process was found")
    if quiet:
        yield Line(Mark.OK, "TCP", f"no port for the Engine API: {', '.join(quiet)}")


def _ways_in(engine: EngineFact) -> Iterator[Line]:
    who = f"{engine.name} (pid {engine.pid})"
    for listener in engine.listeners:
        text = f"{who} answers {listener.speaks.value}"
        if listener.speaks in (Speaks.ENGINE_API, Speaks.TLS):
            remedy = f"take tcp://{listener} out of the engine's -H options and of hosts in its daemon.json"
            yield Line(Mark.OPEN, f"tcp://{listener}", text, remedy)
        else:
            yield Line(Mark.WARN, f"tcp://{listener}", text)
    ports = {listener.port for listener in engine.listeners}
    for host in engine.hosts:
        if host.startswith("tcp://") and not any(host.endswith(f":{port}") for port in ports):
            text = f"{who} is told to listen there; no such port was seen"
            yield Line(Mark.WARN, host, text, "take it out of the engine's options, and look where it listens")


def _containers(facts: Facts) -> Iterator[Line]:
    if isinstance(facts.containers, Untold):
        yield _untold("containers", facts.containers)
        return
    for found in facts.containers.values:
        text = f"{found.image}: {', '.join(found.powers)}: it has power over the host, whatever the guard does"
        remedy = "run it without, or count everything in it as root of the host"
        yield Line(Mark.OPEN, f"container {found.name or found.container_id[:12]}", text, remedy)
    if not facts.containers.values:
        yield Line(Mark.OK, "containers", "none that runs was given power over the host")


def _holders(facts: Facts) -> Iterator[Line]:
    if isinstance(facts.holders, Untold):
        yield _untold("connections", facts.holders)
        return
    for holder in facts.holders.values:
        text = f"{holder.name} in {holder.container} holds a connection to {holder.socket}"
        yield Line(Mark.OPEN, f"pid {holder.pid}", text, "end it, or restart its container")
    if not facts.holders.values:
        yield Line(Mark.OK, "connections", "no process in a container holds one to an engine's socket")
