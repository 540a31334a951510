"""The guard on this machine's own kernel: real objects, real processes in a cgroup of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import rungs
from sockwarden.kernel.bpf import loader
from sockwarden.kernel.connections import holders
from sockwarden.kernel.connections.sockets import identify
from sockwarden.kernel.events import GuardEvent, LossEvent, Sighting, Taken
from sockwarden.kernel.guard import Guard, GuardSettings
from sockwarden.kernel.ladder import lacking, rung_named
from sockwarden.kernel.life import cgrouptree, process
from sockwarden.kernel.life.lifefeed import TRACK_PROGRAMS
from sockwarden.kernel.probes import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sockwarden.kernel.events import ConnectEvent

pytestmark = pytest.mark.bpf

DEADLINE = 20.0
MISSING_OK = frozenset(filter(None, os.environ.get("SOCKWARDEN_MISSING_OK", "").split(",")))

# Enters its cgroup, prepares, connects as often as told, says so, and stays until its input ends.
CLIENT = """
import os, socket, sys
folder, prepare, path, times, afterwards = sys.argv[1:]
with open(folder + "/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
exec(prepare)
held = []
for _ in range(int(times)):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path.format(fd=globals().get("fd")))
    held = [one]
exec(afterwards)
print("connected", flush=True)
sys.stdin.read()
"""


def require(feature: str, reason: str) -> None:
    """Fail loudly unless the environment says that this machine may lack the feature."""
    if feature in MISSING_OK:
        pytest.skip(f"{feature}: {reason} (allowed by SOCKWARDEN_MISSING_OK)")
    pytest.fail(f"{feature}: {reason}; set SOCKWARDEN_MISSING_OK={feature} if this machine may lack it")


@pytest.fixture(scope="module", autouse=True)
def _machine() -> None:
    missing = lacking(rung_named("tracepoint"), survey())
    if missing is not None:
        require("bpf", missing.reason)
    if cgrouptree.mount_point() is None:
        require("cgroup2", "no cgroup v2 tree is mounted")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


GATE = "import threading; gate = threading.Event()"

SERVE = """
import socket
listener = socket.socket(fileno=0)
kept = []
while True:
    kept.append(listener.accept()[0])
"""


class Box:
    """A cgroup with processes in it, a guarded socket, an ordinary one, and a running guard."""

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: Path, settings: GuardSettings) -> None:
        self.loop = loop
        self.folder = folder
        self.seen: list[GuardEvent | LossEvent] = []
        self.life: list[abi.CgroupRecord | abi.ProcessRecord] = []
        self._stirred = asyncio.Event()
        self.stack = contextlib.ExitStack()
        top = cgrouptree.mount_point()
        assert top is not None
        self.cgroup = top / f"sockwarden-test-{uuid.uuid4().hex[:12]}"
        self.guarded = self._listen("guarded.sock")
        self.ordinary = self._listen("ordinary.sock")
        self.may: Callable[[ConnectEvent], bool] = lambda event: event.cgroup_path != f"/{self.cgroup.name}"
        self.guard = Guard(settings, self._judge, self._sink)
        self.stack.callback(self.guard.close)
        self.guard.on_life = self._on_life
        self.guard.start(loop)
        self.make_cgroup(self.cgroup)
        self.guard.guard_sockets(engine=[self.guarded])

    def make_cgroup(self, path: Path) -> None:
        path.mkdir()
        self.stack.callback(self._remove_cgroup, path)

    def run_client(
        self, path: str, *, prepare: str = "", times: int = 1, afterwards: str = ""
    ) -> subprocess.Popen[str]:
        command = ["unshare", "--mount", sys.executable, "-I", "-S", "-c", CLIENT]
        client = subprocess.Popen(
            [*command, str(self.cgroup), prepare, path, str(times), afterwards],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(self._end, client)
        assert client.stdout is not None
        line = client.stdout.readline()
        assert line == "connected\n" or client.wait() == -signal.SIGKILL, client.communicate()[1]
        return client

    def until(self, found: Callable[[], bool]) -> None:
        """Run the loop until ``found``; fail after the deadline with what was seen."""

        async def wait() -> None:
            while not found():
                self._stirred.clear()
                await self._stirred.wait()

        try:
            self.loop.run_until_complete(asyncio.wait_for(wait(), DEADLINE))
        except TimeoutError:
            pytest.fail(f"not seen; events {self.seen[-5:]}, counters {self.guard.counters()}")

    def connects(self, pid: int) -> list[GuardEvent]:
        return [event for event in self.seen if isinstance(event, GuardEvent) and event.connect.pid == pid]

    def _listen(self, name: str) -> Path:
        path = self.folder / name
        listener = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(2048)
        return path

    def _judge(self, event: ConnectEvent) -> bool:
        return self.may(event)

    def _sink(self, event: GuardEvent | LossEvent) -> None:
        self.seen.append(event)
        self._stirred.set()

    def _on_life(self, record: abi.CgroupRecord | abi.ProcessRecord) -> None:
        self.life.append(record)
        self._stirred.set()

    @staticmethod
    def _remove_cgroup(path: Path) -> None:
        """Remove it when the last process has left: the kernel says so by an exceptional condition."""
        poll = select.poll()
        with (path / "cgroup.events").open() as events:
            poll.register(events, select.POLLPRI)
            while "populated 1" in (events.seek(0), events.read())[1]:
                assert poll.poll(DEADLINE * 1000), f"processes stay in {path}"
        path.rmdir()

    @staticmethod
    def _end(client: subprocess.Popen[str]) -> None:
        if client.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                client.stdin.close()
        client.wait()
        for stream in (client.stdout, client.stderr):
            if stream is not None:
                stream.close()


WATCHERS = tuple(rungs.WATCHERS)


@pytest.fixture
def make_box(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def make(**settings: object) -> Box:
        try:
            boxes.append(Box(loop, tmp_path, GuardSettings(**{"mode": "tracepoint"} | settings)))  # type: ignore[arg-type]
        except KernelError as error:
            require(str(settings.get("watcher", "tracepoint")), str(error))
        return boxes[-1]

    yield make
    for box in boxes:
        box.stack.close()


ROADS = {
    "direct": ("", "{guarded}"),
    "symlink": ("os.symlink('{guarded}', '{folder}/link')", "{folder}/link"),
    "relative symlink": ("os.symlink('guarded.sock', '{folder}/link')", "{folder}/../{name}/link"),
    "hard link": ("os.link('{guarded}', '{folder}/hard')", "{folder}/hard"),
    "bind mount": (
        (
            "open('{folder}/spot', 'w').close(); import subprocess;"
            "subprocess.run(['mount', '--bind', '{guarded}', '{folder}/spot'], check=True)"
        ),
        "{folder}/spot",
    ),
    "root of a process": ("", "/proc/{agent}/root{guarded}"),
    "own root": ("", "/proc/self/root{guarded}"),
    "own descriptor": ("fd = os.open('{guarded}', os.O_PATH)", "/proc/self/fd/{{fd}}"),
    "relative path": ("os.chdir('{folder}')", "guarded.sock"),
    "parent folder": ("os.mkdir('{folder}/sub'); os.chdir('{folder}/sub')", "../guarded.sock"),
    "new root": (
        "os.symlink('/guarded.sock', '{folder}/link'); os.chroot('{folder}')",
        "/../link",
    ),
}


@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("road", ROADS)
def test_every_road_to_the_guarded_socket_is_reported_with_process_and_object(
    make_box: Callable[..., Box], watcher: str, road: str
) -> None:
    box = make_box(watcher=watcher)
    names = {"guarded": box.guarded, "folder": box.folder, "name": box.folder.name, "agent": os.getpid()}
    prepare, path = (text.format(**names) for text in ROADS[road])
    client = box.run_client(path, prepare=prepare)
    box.until(lambda: bool(box.connects(client.pid)))
    event = box.connects(client.pid)[0]
    assert (event.connect.socket, event.connect.socket_class, event.connect.sighting, event.taken) == (
        box.guarded,
        abi.SocketClass.ENGINE,
        Sighting.CONNECT,
        Taken.CUT,
    )


@pytest.mark.parametrize("watcher", WATCHERS)
def test_an_ordinary_socket_is_not_reported(make_box: Callable[..., Box], watcher: str) -> None:
    box = make_box(watcher=watcher)
    innocent = box.run_client(str(box.ordinary))
    guilty = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(guilty.pid)))
    assert box.connects(innocent.pid) == []


@pytest.mark.parametrize("watcher", WATCHERS)
def test_an_event_names_the_process_as_proc_does(make_box: Callable[..., Box], watcher: str) -> None:
    box = make_box(watcher=watcher)
    client = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(client.pid)))
    connect = box.connects(client.pid)[0].connect
    assert (connect.start_ticks, connect.cgroup_path, connect.cgroup_id, connect.mnt_ns, connect.pid_ns) == (
        process.start_ticks(client.pid),
        f"/{box.cgroup.name}",
        box.cgroup.stat().st_ino,
        process.namespace(client.pid, "mnt"),
        process.namespace(client.pid, "pid"),
    )


@pytest.mark.parametrize("watcher", WATCHERS)
def test_the_kill_action_kills_exactly_the_process_that_connected(make_box: Callable[..., Box], watcher: str) -> None:
    box = make_box(watcher=watcher, action=abi.Action.KILL)
    bystander = box.run_client(str(box.ordinary))
    client = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(client.pid)))
    assert (box.connects(client.pid)[0].taken, client.wait(DEADLINE), bystander.poll()) == (
        Taken.KILLED,
        -signal.SIGKILL,
        None,
    )


def test_a_process_that_the_judge_allows_lives(make_box: Callable[..., Box]) -> None:
    box = make_box(action=abi.Action.KILL)
    box.may = lambda _event: True
    client = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(client.pid)))
    assert (box.connects(client.pid)[0].taken, client.poll()) == (Taken.ALLOWED, None)


def test_a_later_action_is_in_force_for_connections_that_are_held_already(make_box: Callable[..., Box]) -> None:
    box = make_box(action=abi.Action.AUDIT)
    client = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(client.pid)))
    box.guard.set_action(abi.Action.KILL)
    box.until(lambda: len(box.connects(client.pid)) == 2)
    assert [event.taken for event in box.connects(client.pid)] == [Taken.REPORTED, Taken.KILLED]


def test_a_socket_that_is_added_is_guarded_in_the_generation_in_force(make_box: Callable[..., Box]) -> None:
    box = make_box(watcher="guard_listener")
    assert box.guard._force is not None
    before = box.guard._force.publication.generation
    box.guard.guard_sockets(engine=[box.guarded], host_only=[box.ordinary])
    client = box.run_client(str(box.ordinary))
    box.until(lambda: bool(box.connects(client.pid)))
    assert (box.guard._force.publication.generation, box.connects(client.pid)[0].connect.socket_class) == (
        before,
        abi.SocketClass.HOST_ONLY,
    )


def test_a_socket_that_is_taken_out_is_not_guarded_any_more(make_box: Callable[..., Box]) -> None:
    box = make_box(watcher="guard_listener")
    box.guard.guard_sockets(engine=[box.guarded], host_only=[box.ordinary])
    box.guard.guard_sockets(engine=[box.guarded])
    innocent, guilty = box.run_client(str(box.ordinary)), box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(guilty.pid)))
    assert box.connects(innocent.pid) == []


HIDE = (
    "import ctypes, threading; held[0].close();"
    "threading.Thread(target=lambda: (ctypes.CDLL(None).unshare(0x400), held.append(socket.socket(socket.AF_UNIX)),"
    " held[-1].connect(path), gate.set(), held[-1].recv(1), print('cut', flush=True))).start(); gate.wait()"
)


@pytest.mark.parametrize("watcher", WATCHERS)
def test_a_thread_that_hides_its_descriptors_is_found_by_the_servers_end_and_cut(
    make_box: Callable[..., Box], watcher: str
) -> None:
    box = make_box(watcher=watcher)
    with socket.socket(socket.AF_UNIX) as listener:
        path = box.folder / "serving.sock"
        listener.bind(str(path))
        listener.listen()
        server = subprocess.Popen([sys.executable, "-I", "-S", "-c", SERVE], stdin=listener.fileno())
        box.stack.callback(server.wait)
        box.stack.callback(server.kill)
    box.guard.guard_sockets(engine=[path])
    client = box.run_client(str(box.ordinary), afterwards=HIDE.replace("path", repr(str(path))), prepare=GATE)
    assert client.stdout is not None
    box.until(lambda: any(event.taken is Taken.CUT for event in box.connects(client.pid)))
    assert client.stdout.readline() == "cut\n"


def test_a_connection_from_before_the_guard_is_found_and_judged(make_box: Callable[..., Box]) -> None:
    box = make_box()
    box.guard.guard_sockets(engine=[box.ordinary])
    client = box.run_client(str(box.guarded))
    box.guard.guard_sockets(engine=[box.guarded])
    box.until(lambda: bool(box.connects(client.pid)))
    assert box.connects(client.pid)[0].connect.sighting is Sighting.HELD


def test_a_path_that_was_re_pointed_after_the_connect_is_seen_through_by_socket_diag(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(watcher="guard_syscall", action=abi.Action.KILL)
    link = box.folder / "link"
    link.symlink_to(box.guarded)
    client = box.run_client(str(link), afterwards=f"os.unlink('{link}'); os.symlink('{box.ordinary}', '{link}')")
    box.until(lambda: bool(box.connects(client.pid)))
    event = box.connects(client.pid)[0]
    assert (event.connect.sighting, event.taken) == (Sighting.HELD, Taken.KILLED)


def test_a_child_that_inherited_the_connection_of_a_killed_process_is_killed_too(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(action=abi.Action.KILL)
    client = box.run_client(str(box.guarded), afterwards="child = os.fork() or sys.stdin.read()")
    box.until(lambda: len([event for event in box.seen if isinstance(event, GuardEvent)]) == 2)
    first, second = (event for event in box.seen if isinstance(event, GuardEvent))
    assert (first.connect.pid, second.connect.sighting, second.taken) == (client.pid, Sighting.HELD, Taken.KILLED)


def test_socket_diag_finds_a_holder_in_another_network_namespace(make_box: Callable[..., Box]) -> None:
    box = make_box()
    prepare = "import ctypes; assert ctypes.CDLL(None).unshare(0x40000000) == 0"
    client = box.run_client(str(box.guarded), prepare=prepare)
    found = holders.scan([identify(box.guarded)]).holders
    assert [holder.pid for holder in found] == [client.pid]


def test_socket_diag_finds_a_holder_whose_connection_was_accepted(make_box: Callable[..., Box]) -> None:
    box = make_box()
    with socket.socket(socket.AF_UNIX) as listener:
        path = box.folder / "accepting.sock"
        listener.bind(str(path))
        listener.listen()
        client = box.run_client(str(path))
        with listener.accept()[0]:
            assert [holder.pid for holder in holders.scan([identify(path)]).holders] == [client.pid]


def test_the_object_watcher_leaves_the_agent_itself_alone(make_box: Callable[..., Box]) -> None:
    box = make_box(watcher="guard_listener")
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(str(box.guarded))
    client = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(client.pid)))
    assert box.connects(os.getpid()) == []


@pytest.mark.parametrize("watcher", WATCHERS)
def test_what_does_not_fit_into_a_tiny_ring_is_counted_and_told(make_box: Callable[..., Box], watcher: str) -> None:
    box = make_box(watcher=watcher, ring_bytes=4096)
    box.run_client(str(box.guarded), times=200)
    box.until(lambda: any(isinstance(event, LossEvent) for event in box.seen))
    told = sum(event.count for event in box.seen if isinstance(event, LossEvent))
    assert told == box.guard.counters()["guard_dropped"] == box.guard.counters()["lost"] > 0


def test_a_process_whose_event_was_lost_is_found_by_socket_diag(make_box: Callable[..., Box]) -> None:
    box = make_box(ring_bytes=4096, action=abi.Action.KILL)
    # The agent does not run meanwhile: the ring is full before the second client connects.
    first = box.run_client(str(box.guarded), times=200)
    second = box.run_client(str(box.guarded))
    box.until(lambda: bool(box.connects(first.pid) and box.connects(second.pid)))
    event = box.connects(second.pid)[0]
    assert (event.connect.sighting, event.taken) == (Sighting.HELD, Taken.KILLED)


@pytest.mark.parametrize("watcher", WATCHERS)
def test_a_flood_of_connects_is_counted_in_full_and_does_not_grow_the_agent(
    make_box: Callable[..., Box], watcher: str
) -> None:
    box = make_box(watcher=watcher)
    client = box.run_client(str(box.guarded), times=1000)
    box.until(lambda: any(event.taken is Taken.CUT for event in box.connects(client.pid)))
    counters = box.guard.counters()
    told = counters["guard_reported"] + counters["guard_muted"]
    assert (counters["lost"], told >= 1000, len(box.guard._dealer._judged)) == (0, True, 1)


def test_a_cgroup_is_known_while_it_exists_and_its_path_after_that(make_box: Callable[..., Box]) -> None:
    box = make_box()
    made = box.cgroup / "inner"
    made.mkdir()
    number = made.stat().st_ino
    box.until(lambda: any(isinstance(record, abi.CgroupRecord) and record.cgroup_id == number for record in box.life))
    while_there = box.guard.tracker.find(number)
    made.rmdir()
    box.until(lambda: any(isinstance(record, abi.CgroupRecord) and not record.made for record in box.life))
    after = (box.guard.tracker.find(number), box.guard.cgroup_path(number))
    assert (while_there is not None, *after) == (True, None, f"/{box.cgroup.name}/inner")


def test_a_cgroup_from_before_the_guard_is_known(make_box: Callable[..., Box]) -> None:
    assert make_box().guard.cgroup_path(cgrouptree.own_id(cgrouptree.mount_point())) != ""


def test_the_init_of_a_new_pid_namespace_is_told_from_birth_to_end(make_box: Callable[..., Box]) -> None:
    box = make_box()
    subprocess.run(["unshare", "--pid", "--fork", "true"], check=True)
    box.until(lambda: any(isinstance(r, abi.ProcessRecord) and r.kind is abi.Kind.INIT_EXIT for r in box.life))
    told = [record for record in box.life if isinstance(record, abi.ProcessRecord)]
    assert [(r.kind, r.actor.ns_pid, r.actor.ns_level > 0) for r in told] == [
        (abi.Kind.INIT_BORN, 1, True),
        (abi.Kind.INIT_EXEC, 1, True),
        (abi.Kind.INIT_EXIT, 1, True),
    ]


def test_the_report_has_a_row_for_every_rung(make_box: Callable[..., Box]) -> None:
    report = make_box(mode="auto").guard.report
    assert [row.name for row in report.rows] == ["fmod_ret", "lsm", "kprobe", "bcc", "tracepoint", "none"]


def test_exactly_one_rung_is_in_force_and_every_other_row_says_why_not(make_box: Callable[..., Box]) -> None:
    report = make_box(mode="auto").guard.report
    assert [row.name for row in report.rows if row.in_force] == [report.rung.name]
    assert all(row.reason for row in report.rows)


def test_a_rung_that_cannot_be_had_is_refused_when_it_is_asked_for(loop: asyncio.AbstractEventLoop) -> None:
    guard = Guard(GuardSettings(mode="bcc"), lambda _event: True, lambda _event: None)
    with pytest.raises(KernelError, match="the guard rung bcc cannot be had"):
        guard.start(loop)


def test_the_rung_none_guards_nothing_and_works_everywhere(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    guard = Guard(GuardSettings(mode="none"), lambda _event: True, lambda _event: None)
    guard.start(loop)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a.sock"))
        guard.guard_sockets(engine=[tmp_path / "a.sock"])
    counters = guard.counters()
    guard.close()
    assert (counters["sweeps"], counters["lost"], "guard_seen" in counters) == (0, 0, False)


@pytest.mark.parametrize(("name", "programs"), [(loader.TRACK, TRACK_PROGRAMS), (loader.GUARD, ("guard_kprobe",))])
def test_the_verifier_accepts_the_object(name: str, programs: tuple[str, ...]) -> None:
    loader.BpfObject(name, programs).close()


def test_a_program_that_the_object_lacks_is_named() -> None:
    with pytest.raises(KernelError, match="has no program no_such"):
        loader.BpfObject(loader.TRACK, ("no_such",))


START = """
import asyncio, sys
from sockwarden.errors import KernelError
from sockwarden.kernel.guard import Guard, GuardSettings
guard = Guard(GuardSettings(mode=sys.argv[1]), lambda event: True, lambda event: None)
try:
    guard.start(asyncio.new_event_loop())
except KernelError as error:
    sys.exit(f"{error}; {error.remedy}")
print(guard.report.rung.name, guard.report.rows[-2].reason, sep=": ")
"""


def start_without_capabilities(mode: str) -> subprocess.CompletedProcess[str]:
    bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-c", START, mode]
    return subprocess.run(bare, check=False, capture_output=True, text=True)


def test_without_capabilities_auto_falls_to_none_and_says_why() -> None:
    assert start_without_capabilities("auto").stdout == "none: CAP_BPF and CAP_PERFMON are not held\n"


def test_without_capabilities_an_explicit_rung_is_refused_with_a_remedy() -> None:
    done = start_without_capabilities("tracepoint")
    assert (done.returncode, "CAP_BPF and CAP_PERFMON are not held; run as root" in done.stderr) == (1, True)
