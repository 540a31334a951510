"""A host where nothing is open, as facts; each test takes away what it is about."""

from __future__ import annotations

from sockwarden.doctor.facts import AgentFact, EngineFact, Facts, PinFact, SocketFact, Told
from sockwarden.kernel.ladder import Row, State
from sockwarden.kernel.probes import Answer

ENGINE = SocketFact("/run/sockwarden/engine.sock", "engine", 25 << 20 | 3, 1001, guarded=True)
PUBLIC = SocketFact("/run/docker.sock", "public", 25, 1002, guarded=True)
FOREIGN = SocketFact("/run/podman/podman.sock", "Podman", 25, 1003, guarded=False)

AGENT = AgentFact(
    pid=42,
    version="1.0",
    mode="enforce",
    rung="fmod_ret",
    blocking=True,
    identity="peerpidfd (3)",
    pinned="2-fmod_ret-0123456789ab",
    engine_socket=ENGINE.path,
    public_socket=PUBLIC.path,
    problems=(),
    rows=(),
    sockets=(ENGINE, PUBLIC),
    waiting=(),
)
PIN = PinFact("2-fmod_ret-0123456789ab", "fmod_ret", "0123456789ab", ("a",), ("m",), current=True, aside=False)
DOCKERD = EngineFact(7, "dockerd", (ENGINE.path,), (), ("fd://",))

HOST = Facts(
    agent=AGENT,
    features=(Answer("btf", ok=True, reason="there"), Answer("preempt", ok=True, reason="none")),
    rows=(Row("fmod_ret", State.IN_FORCE, "EPERM"), Row("lsm", State.NOT_NEEDED, "fmod_ret is in force")),
    sockets=(ENGINE, PUBLIC),
    pins=Told((PIN,)),
    engines=Told((DOCKERD,)),
    containers=Told(()),
    holders=Told(()),
)
