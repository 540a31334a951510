"""What must hold when the agent dies, comes again, is replaced by another build, or goes for good.

Each agent is a forked process with a guard of its own, told what to do over a pipe; the sockets' server and the client
that hammers at them stay. The machine mounts no bpffs: the first agent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.vm.guest import roads
from tests.vm.guest.cases import BLOCKING, same

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import bpffs, loader, pins
from sockwarden.kernel.events import GuardEvent, LossEvent
from sockwarden.kernel.guard import Guard, GuardSettings
from sockwarden.kernel.life import cgrouptree, process
from sockwarden.kernel.rungs import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.vm.guest.report import Report

    from sockwarden.kernel.events import ConnectEvent

PIN_DIR: Final = "/sys/fs/bpf/sockwarden"

FLIPS: Final = 200
"""How often an agent publishes anew while a client hammers."""

TRIES: Final = 100
"""How often the client must at least have tried while something happened, or nothing was proved."""

TURNS: Final = 100
"""Of an agent's loop, at most, for one question after its events: more than a full ring needs."""

NICENESS: Final = 5
"""Of the client that hammers: it leaves three quarters of the one processor to the agent."""

_COUNTS: Final = struct.Struct("QQ")  # tries, successes


@dataclass(frozen=True, slots=True)
class Life:
    """How an agent shall be."""

    rung: str
    objects: Path = loader.OBJECTS
    outside: bool = False
    pin_dir: str = PIN_DIR


class Agent:
    """One agent process; ``said`` is what it told when its sockets were under guard."""

    def __init__(self, life: Life, engine: Path) -> None:
        self._orders, orders = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._orders.close()
            os._exit(_be_an_agent(life, engine, orders))
        orders.close()
        self._answers = self._orders.makefile("r", encoding="utf-8")
        self.said: dict[str, Any] = self._answer()

    def ask(self, order: str) -> dict[str, Any]:
        """Give an order and wait for the answer."""
        self._orders.sendall(f"{order}\n".encode())
        return self._answer()

    def end(self) -> None:
        """Stop it as a service manager does."""
        self._orders.shutdown(socket.SHUT_WR)
        self._wait(0)

    def kill(self) -> None:
        """Kill it without a chance to do anything."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait(-signal.SIGKILL)

    def _wait(self, wanted: int) -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._answers.close()
        self._orders.close()
        same(status, wanted)

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise AssertionError("the agent has died; see the console")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Hammer:
    """A client outside the host's mount namespace, in a cgroup of its own, that connects without a pause."""

    def __init__(self, path: Path, cgroup: Path) -> None:
        self._counts = mmap.mmap(-1, _COUNTS.size)
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._swing(path, cgroup))
        self._before = 0
        while self.tries == 0:
            os.sched_yield()

    @property
    def tries(self) -> int:
        """How often it has tried."""
        return int(_COUNTS.unpack_from(self._counts)[0])

    @property
    def successes(self) -> int:
        """How often it got through."""
        return int(_COUNTS.unpack_from(self._counts)[1])

    def held(self) -> int:
        """Fail if anything got through; return how many tries there were since the last look, after enough of them."""
        while self.tries < self._before + TRIES:
            os.sched_yield()
        tries, self._before = self.tries - self._before, self.tries
        same(self.successes, 0)
        return tries

    def close(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _swing(self, path: Path, cgroup: Path) -> int:
        try:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()), "ascii")
            roads.leave_host()
            os.nice(NICENESS)
            tries = successes = 0
            while successes < 1000:  # the server's queue has no room for more
                successes += roads.connect(str(path)) != errno.EPERM
                tries += 1
                _COUNTS.pack_into(self._counts, 0, tries, successes)
        except BaseException:
            traceback.print_exc()
        return 1


class Scene:
    """An engine's socket with its server, a cgroup, and another build of the objects."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="pins-", dir="/run"))
        self._stack.callback(shutil.rmtree, self.folder)
        self.engine = self.folder / "engine.sock"
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(self.engine))
        listener.listen(4096)
        top = cgrouptree.mount_point()
        if top is None:
            raise AssertionError("the machine has no cgroup v2 tree")
        self.cgroup = Path(tempfile.mkdtemp(prefix="pins-", dir=top))
        self._stack.callback(self.cgroup.rmdir)
        self.other_build = self.folder / "objects"
        shutil.copytree(loader.OBJECTS, self.other_build)
        with loader.object_path(loader.GUARD).open("rb") as built:
            (self.other_build / f"{loader.GUARD}.bpf.o").write_bytes(built.read() + b"\0")

    def close(self) -> None:
        """Remove it."""
        self._stack.close()

    def outsider(self) -> int:
        """Return the errno of a connect() from a mount namespace of its own, in a cgroup that nobody knows."""
        return self._visit(outside=True)

    def host(self) -> int:
        """Return the errno of a connect() from the host."""
        return self._visit(outside=False)

    @contextlib.contextmanager
    def fire(self) -> Iterator[Hammer]:
        """Let a client hammer meanwhile."""
        hammer = Hammer(self.engine, self.cgroup)
        try:
            yield hammer
        finally:
            hammer.close()

    def _visit(self, *, outside: bool) -> int:
        pid = os.fork()
        if pid == 0:
            if outside:
                roads.leave_host()
            os._exit(roads.connect(str(self.engine)))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def pins_outlive_the_agent(report: Report, rung: str, rungs: Mapping[str, str]) -> None:
    """``rungs`` says what each rung does on this machine."""
    others = [one for one in BLOCKING if rungs.get(one) == "holds" and one != rung]
    first = rung == BLOCKING[0]  # what is between two rungs, or the same for each, is played once
    scene = Scene()
    try:
        _without_bpffs(report, rung, scene)
        _a_killed_agent(report, rung, scene)
        _the_next_agent(report, rung, scene)
        _other_builds_and_rungs(report, rung, scene, others if first else [])
        if first:
            _what_is_broken(report, rung, scene)
        _the_end(report, rung, scene)
    finally:
        pins.unload(PIN_DIR, force=True)
        scene.close()


def _without_bpffs(report: Report, rung: str, scene: Scene) -> None:
    if not bpffs.holds(Path(PIN_DIR)):
        with report.case(f"{rung}: no bpffs, and the agent cannot mount it: not pinned, with the reason"):
            agent = Agent(Life(rung, outside=True), scene.engine)
            same("not pinned, so it ends with the agent: bpffs is not mounted" in agent.said["reason"], True)
            agent.end()
            same((scene.outsider(), pins.survey(PIN_DIR)), (0, ()))
    with report.case(f"{rung}: a pin_dir that is not on bpffs is refused"):
        agent = Agent(Life(rung, pin_dir=str(scene.folder / "pins")), scene.engine)
        same("is not on bpffs" in agent.said["refused"], True)
        agent._wait(0)


def _a_killed_agent(report: Report, rung: str, scene: Scene) -> None:
    with report.case(f"{rung}: pinned, whole, under its name"):
        agent = Agent(Life(rung), scene.engine)
        found = pins.survey(PIN_DIR)
        same([(one.rung, one.abi, one.aside, set(one.links)) for one in found], [_whole(rung)])
        same(f"pinned as {found[0].name}" in agent.said["reason"], True)
    with report.case(f"{rung}: a killed agent leaves the wall"):
        agent.kill()
        same((scene.outsider(), scene.host()), (errno.EPERM, 0))
    with report.case(f"{rung}: a stopped agent leaves the wall"):
        Agent(Life(rung), scene.engine).end()
        same((scene.outsider(), scene.host()), (errno.EPERM, 0))


def _the_next_agent(report: Report, rung: str, scene: Scene) -> None:
    before = _ids()
    with report.case(f"{rung}: the next agent adopts it under fire"), scene.fire() as hammer:
        hammer.held()
        agent = Agent(Life(rung), scene.engine)
        report.tell(f"{rung}: tries during the adoption, all denied", hammer.held())
        same((_ids(), "adopted from" in agent.said["reason"]), (before, True))
        same(agent.ask("events")["blocked"] > 0, True)
        agent.ask(f"publish {FLIPS}")
        report.tell(f"{rung}: tries during {FLIPS} publications, all denied", hammer.held())
        agent.kill()
        hammer.held()
    with report.case(f"{rung}: what was denied without an agent is told to the next"):
        agent = Agent(Life(rung), scene.engine)
        agent.ask("events")  # the hammer has filled the ring
        agent.kill()
        pid = _of_a_denied_client(scene)
        agent = Agent(Life(rung), scene.engine)
        same(pid in agent.ask("events")["pids"], True)
    with report.case(f"{rung}: two agents at once: the second is refused, and the first is named"):
        second = Agent(Life(rung), scene.engine)
        same(f"another sockwarden (pid {agent.pid})" in second.said["refused"], True)
        second._wait(0)
        same(agent.ask("connect")["errno"], 0)
    with report.case(f"{rung}: pins are not unloaded below an agent"):
        same(_refusal_of_unload().startswith("another sockwarden"), True)
        agent.kill()
    with report.case(f"{rung}: an agent in a mount namespace of its own adopts it"):
        agent = Agent(Life(rung, outside=True), scene.engine)
        same((_ids(), agent.ask("connect")["errno"], scene.outsider()), (before, 0, errno.EPERM))
        agent.end()


def _other_builds_and_rungs(report: Report, rung: str, scene: Scene, others: list[str]) -> None:
    lives = [Life(rung, scene.other_build, outside=True), Life(rung)]
    for other in others:
        lives += [Life(other), Life(rung)]
    with scene.fire() as hammer:
        for number, life in enumerate(lives):
            build = "another build" if life.objects is scene.other_build else "this build"
            with report.case(f"{rung}: change {number} under fire, to {life.rung} of {build}"):
                old = pins.survey(PIN_DIR)
                agent = Agent(life, scene.engine)
                report.tell(f"{rung}: tries during change {number}, all denied", hammer.held())
                new = pins.survey(PIN_DIR)
                same([(one.rung, one.abi, one.aside, set(one.links)) for one in new], [_whole(life.rung)])
                if new != old:
                    same([f"removed {one.name}" in agent.said["reason"] for one in old], [True])
                same(agent.ask("connect")["errno"], 0)
                agent.kill()


def _what_is_broken(report: Report, rung: str, scene: Scene) -> None:
    with report.case(f"{rung}: a set of an unknown ABI is replaced under fire"), scene.fire() as hammer:
        known = pins.survey(PIN_DIR)[0]
        unknown = known.folder.with_name(known.name.replace(f"{abi.ABI_VERSION}-", f"{abi.ABI_VERSION + 1}-", 1))
        known.folder.rename(unknown)
        agent = Agent(Life(rung, outside=True), scene.engine)
        hammer.held()
        same(f"removes {unknown.name} once its own policy is in force" in agent.said["reason"], True)
        same(([one.name for one in pins.survey(PIN_DIR)], agent.ask("connect")["errno"]), ([known.name], 0))
        agent.kill()
        hammer.held()
    with report.case(f"{rung}: a half-written set is replaced under fire"), scene.fire() as hammer:
        whole = pins.survey(PIN_DIR)[0]
        (whole.folder / "links" / "identity_free").unlink()
        hand_made = Path(PIN_DIR) / f"{abi.ABI_VERSION}-{rung}-000000000000"
        (hand_made / "maps").mkdir(parents=True)
        agent = Agent(Life(rung), scene.engine)
        hammer.held()
        same([(one.rung, one.abi, one.aside, set(one.links)) for one in pins.survey(PIN_DIR)], [_whole(rung)])
        agent.kill()
        hammer.held()
    with report.case(f"{rung}: a set that somebody detached is found out and replaced"):
        folder = pins.survey(PIN_DIR)[0].folder / "links"
        first = folder / PROGRAMS[rung][0][0]
        first.unlink()
        same(scene.outsider(), 0)
        link = bpffs.get(folder / "identity_free")
        bpffs.pin(link, first)
        os.close(link)
        agent = Agent(Life(rung), scene.engine)
        same(("is not adopted" in agent.said["reason"], scene.outsider()), (True, errno.EPERM))
        agent.kill()
    with report.case(f"{rung}: what others put into the pin_dir stays"):
        (Path(PIN_DIR) / "somebody").mkdir()
        Agent(Life(rung), scene.engine).end()
        same((Path(PIN_DIR) / "somebody").is_dir(), True)
        (Path(PIN_DIR) / "somebody").rmdir()


def _the_end(report: Report, rung: str, scene: Scene) -> None:
    with report.case(f"{rung}: a lower rung removes it and says so"):
        name = pins.survey(PIN_DIR)[0].name
        agent = Agent(Life("tracepoint"), scene.engine)
        same((f"removed {name}" in agent.said["reason"], pins.survey(PIN_DIR)), (True, ()))
        agent.end()
        same(scene.outsider(), 0)
    with report.case(f"{rung}: unload opens the road and leaves nothing"):
        Agent(Life(rung), scene.engine).end()
        same(scene.outsider(), errno.EPERM)
        same([one.rung for one in pins.unload(PIN_DIR)], [rung])
        same((scene.outsider(), Path(PIN_DIR).exists()), (0, False))


def _be_an_agent(life: Life, engine: Path, orders: socket.socket) -> int:
    """Be the agent: a fork's whole life."""
    seen: list[GuardEvent | LossEvent] = []
    try:
        loader.OBJECTS = life.objects  # type: ignore[misc]  # as another version of the package has them
        if life.outside:
            roads.leave_host()
        loop = asyncio.new_event_loop()
        guard = Guard(GuardSettings(life.rung, abi.Action.AUDIT, pin_dir=life.pin_dir), _judge, seen.append)
        try:
            guard.start(loop)
            guard.set_action(abi.Action.BLOCK)  # as the daemon does: first a policy, then the sockets
            guard.guard_sockets([engine])
        except KernelError as error:
            orders.sendall(json.dumps({"refused": str(error)}).encode() + b"\n")
            return 0
        reason = next(row.reason for row in guard.report.rows if row.in_force)
        orders.sendall(json.dumps({"reason": reason}).encode() + b"\n")
        for line in orders.makefile("r", encoding="utf-8"):
            answer = _obey(line.split(), guard, engine, loop, seen)
            orders.sendall(json.dumps(answer).encode() + b"\n")
        guard.close()
        loop.close()
    except BaseException:  # a fork must never play the other cases
        traceback.print_exc()
        return 1
    return 0


def _obey(
    order: list[str], guard: Guard, engine: Path, loop: asyncio.AbstractEventLoop, seen: list[GuardEvent | LossEvent]
) -> dict[str, Any]:
    if order[0] == "publish":
        for _ in range(int(order[1])):
            guard.guard_sockets([engine])
            os.sched_yield()  # one processor: the client must have its turn
        return {}
    if order[0] == "connect":
        return {"errno": roads.connect(str(engine))}
    before = -1
    for _ in range(TURNS):  # while a client hammers there is no end
        if before == len(seen):
            break
        before = len(seen)
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
    events = [one for one in seen if isinstance(one, GuardEvent)]
    return {"blocked": len(events), "pids": [one.connect.pid for one in events]}


def _of_a_denied_client(scene: Scene) -> int:
    pid = os.fork()
    if pid == 0:
        roads.leave_host()
        os._exit(roads.connect(str(scene.engine)))
    same(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), errno.EPERM)
    return pid


def _refusal_of_unload() -> str:
    try:
        pins.unload(PIN_DIR)
    except KernelError as error:
        return str(error)
    return "it was unloaded"


def _whole(rung: str) -> tuple[str, int, bool, set[str]]:
    return rung, abi.ABI_VERSION, False, set(PROGRAMS[rung][0])


def _ids() -> list[int]:
    """Return the programs' ids of everything that is pinned."""
    ids = []
    for one in pins.survey(PIN_DIR):
        for name in one.links:
            link = bpffs.get(one.folder / "links" / name)
            text = Path(f"/proc/self/fdinfo/{link}").read_text("ascii")
            os.close(link)
            ids += [int(line.split()[1]) for line in text.splitlines() if line.startswith("link_id:")]
    return ids


def _judge(event: ConnectEvent) -> bool:
    return event.mnt_ns == process.host_mount_namespace()
