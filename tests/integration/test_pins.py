"""Pins on this machine's own kernel, in a bpffs of their own.

The rungs that are pinned need program types that this kernel may refuse; the watcher by the listener's object is of the
same kind (a tracing program with a link) and stands in for them. tests/vm plays the same with those rungs themselves.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sockwarden import abi
from sockwarden.errors import KernelError
from sockwarden.kernel import ladder
from sockwarden.kernel.bpf import bpffs, loader, pins
from sockwarden.kernel.bpf.maps import HashMap, put_single
from sockwarden.kernel.connections.sockets import SocketIdentity, identify
from sockwarden.kernel.force import Force
from sockwarden.kernel.probes import survey
from sockwarden.kernel.rungs import Setup
from sockwarden.kernel.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sockwarden.kernel.publication import Publication

pytestmark = pytest.mark.bpf

MISSING_OK = frozenset(filter(None, os.environ.get("SOCKWARDEN_MISSING_OK", "").split(",")))

RUNG = ladder.Rung("tracepoint", "stands in for a blocking rung", strength=3, blocking=True)
LOWER = ladder.Rung("tracepoint", "blocks nothing", strength=1)
SETUP = Setup(ring_bytes=64 * 1024, watcher="guard_listener")

ENGINE, HOST_ONLY, PUBLIC, CANARY = (
    abi.SocketClass.ENGINE,
    abi.SocketClass.HOST_ONLY,
    abi.SocketClass.PUBLIC,
    abi.SocketClass.CANARY,
)
SOCKETS = {SocketIdentity(1, 11): ENGINE, SocketIdentity(1, 12): PUBLIC}


@pytest.fixture(scope="module", autouse=True)
def _machine() -> None:
    for answer in survey():
        if answer.name in ladder.NEEDS["tracepoint"] and not answer.ok:
            if "bpf" in MISSING_OK:
                pytest.skip(f"bpf: {answer.reason} (allowed by SOCKWARDEN_MISSING_OK)")
            pytest.fail(f"bpf: {answer.reason}; set SOCKWARDEN_MISSING_OK=bpf if this machine may lack it")


@pytest.fixture
def pin_dir(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "bpf"
    point.mkdir()
    subprocess.run(["mount", "-t", "bpf", "-o", "mode=700", "bpf", point], check=True)
    yield point / "pins"
    subprocess.run(["umount", point], check=True)


class Agent:
    """What an agent does about pins; one after the other, in this process."""

    def __init__(self, pin_dir: Path | str, rung: ladder.Rung = RUNG, setup: Setup = SETUP) -> None:
        with ExitStack() as stack:
            self.succession = Succession(str(pin_dir))
            stack.callback(self.succession.close)
            self.force: Force = self.succession.attempt(rung, setup)
            stack.callback(self.force.close)
            self.words = self.succession.settle(rung, self.force)
            self.end = stack.pop_all().close
            """Stops it: everything is let go."""

    @property
    def publication(self) -> Publication:
        return self.force.publication


@pytest.fixture
def make_agent(pin_dir: Path) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def make(rung: ladder.Rung = RUNG, setup: Setup = SETUP, where: Path | str = pin_dir) -> Agent:
        agents.append(Agent(where, rung, setup))
        return agents[-1]

    yield make
    for agent in agents:
        agent.end()


@pytest.fixture
def another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, the package carries other objects."""

    def change() -> None:
        other = tmp_path / "objects"
        shutil.copytree(loader.OBJECTS, other)
        with (other / "guard.bpf.o").open("ab") as built:
            built.write(b"\0")
        monkeypatch.setattr(loader, "OBJECTS", other)

    return change


def program_ids(pinned: pins.PinnedSet) -> list[str]:
    """Return the ids of a set's links and maps as the kernel tells them."""
    ids = []
    for kind, names in (("links", pinned.links), ("maps", pinned.maps)):
        for name in names:
            fd = bpffs.get(pinned.folder / kind / name)
            text = Path(f"/proc/self/fdinfo/{fd}").read_text("ascii")
            os.close(fd)
            ids += [line for line in text.splitlines() if line.startswith(("link_id", "map_id"))]
    return ids


def connect_once(folder: Path, agent: Agent) -> int:
    """Guard a socket of the engine's class and connect to it from elsewhere; return who did."""
    path = folder / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        agent.publication.publish({identify(path): ENGINE}, abi.Action.BLOCK)
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        client = subprocess.Popen(["python3", "-I", "-S", "-c", code])
        assert client.wait() == 0
    return client.pid


def test_what_is_in_force_is_pinned_whole(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    agent = make_agent()
    (found,) = pins.survey(str(pin_dir))
    assert agent.words == f"pinned as {found.name}"
    assert (found.rung, found.links) == ("tracepoint", ("guard_listener",))
    assert {"sw_config", "sw_guarded", "sw_verdicts", "sw_connects", "sw_guard_stats"} <= set(found.maps)


def test_the_next_agent_goes_on_with_the_same_programs_and_maps(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    make_agent().end()
    before = pins.survey(str(pin_dir))
    ids = program_ids(before[0])
    agent = make_agent()
    assert agent.words == f"adopted from {before[0].name}"
    assert pins.survey(str(pin_dir)) == before
    assert program_ids(before[0]) == ids


def test_the_next_agent_goes_on_with_the_policy(make_agent: Callable[..., Agent]) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.KILL)
    first.publication.put_verdict(7, ENGINE, abi.KernelVerdict.ALLOW)
    generation = first.publication.generation
    first.end()
    second = make_agent().publication
    assert (second.sockets, second.action) == (SOCKETS, abi.Action.KILL)
    assert second.verdicts == {(7, ENGINE): abi.KernelVerdict.ALLOW}
    assert second.generation > generation


def test_what_containers_were_told_by_an_older_policy_ends_with_its_agent(make_agent: Callable[..., Agent]) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.BLOCK)
    first.publication.put_verdict(7, PUBLIC, abi.KernelVerdict.DENY)
    first.end()
    assert make_agent().publication.verdicts == {}


def test_a_canary_of_an_agent_that_died_in_the_flight_is_not_guarded_on(make_agent: Callable[..., Agent]) -> None:
    first = make_agent()
    first.publication.publish({**SOCKETS, SocketIdentity(1, 13): CANARY}, abi.Action.BLOCK)
    first.end()
    assert make_agent().publication.sockets == SOCKETS


def test_a_generation_that_an_agent_left_half_written_never_comes_into_force(make_agent: Callable[..., Agent]) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.BLOCK)
    guarded = HashMap(first.force.map_fd("sw_guarded"), abi.RawSocketKey)
    guarded.put(abi.RawSocketKey(99, 1, first.publication.generation + 1), ENGINE)
    first.end()
    second = make_agent()
    guarded = HashMap(second.force.map_fd("sw_guarded"), abi.RawSocketKey)
    assert 99 not in {key.inode for key in guarded.keys()}  # noqa: SIM118 - no dict


def test_another_build_takes_the_policy_over_before_the_old_one_goes(
    make_agent: Callable[..., Agent], another_build: Callable[[], None], pin_dir: Path
) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.BLOCK)
    first.publication.put_verdict(7, HOST_ONLY, abi.KernelVerdict.ALLOW)
    first.end()
    (old,) = pins.survey(str(pin_dir))
    another_build()
    second = make_agent()
    (new,) = pins.survey(str(pin_dir))
    assert second.words == f"pinned as {new.name}; removed {old.name}"
    assert (second.publication.sockets, second.publication.action) == (SOCKETS, abi.Action.BLOCK)
    assert second.publication.verdicts == {(7, HOST_ONLY): abi.KernelVerdict.ALLOW}


def test_what_nobody_has_read_of_a_set_that_goes_is_handed_on(
    make_agent: Callable[..., Agent], another_build: Callable[[], None], tmp_path: Path
) -> None:
    first = make_agent()
    pid = connect_once(tmp_path, first)
    first.end()
    another_build()
    assert pid in {record.actor.tgid for record in make_agent().succession.waiting}


def test_what_nobody_has_read_of_a_set_that_stays_waits_in_its_ring(
    make_agent: Callable[..., Agent], pin_dir: Path, tmp_path: Path
) -> None:
    # The watcher's proof reads the ring, so this looks at it as the next agent finds it.
    first = make_agent()
    pid = connect_once(tmp_path, first)
    first.end()
    (found,) = pins.survey(str(pin_dir))
    force = Force(found.links, pins.PinnedHolding(found))
    records = [abi.decode(data) for data in force.ring.consume(100)]
    force.close()
    assert pid in {record.actor.tgid for record in records}


def test_a_ring_of_another_size_is_loaded_anew(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    make_agent().end()
    (old,) = pins.survey(str(pin_dir))
    second = make_agent(setup=Setup(ring_bytes=2 * SETUP.ring_bytes, watcher=SETUP.watcher))
    assert second.words == f"pinned as {old.name}; removed {old.name}-old0"
    assert [one.name for one in pins.survey(str(pin_dir))] == [old.name]


def test_a_set_without_all_of_its_links_is_replaced_with_its_policy(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.BLOCK)
    first.end()
    (old,) = pins.survey(str(pin_dir))
    link = bpffs.get(old.folder / "links" / "guard_listener")
    (old.folder / "links" / "guard_listener").unlink()
    bpffs.pin(link, old.folder / "links" / "other")
    os.close(link)
    assert make_agent().publication.sockets == SOCKETS
    assert [one.links for one in pins.survey(str(pin_dir))] == [("guard_listener",)]


def test_a_set_with_nothing_but_maps_is_replaced(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    make_agent().end()
    (old,) = pins.survey(str(pin_dir))
    (old.folder / "links" / "guard_listener").unlink()
    make_agent()
    assert [one.links for one in pins.survey(str(pin_dir))] == [("guard_listener",)]


def test_a_set_whose_programs_do_nothing_is_found_out(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    make_agent().end()
    (old,) = pins.survey(str(pin_dir))
    stranger = loader.BpfObject(loader.GUARD, ("guard_syscall",))
    stranger.attach("guard_syscall")
    (old.folder / "maps" / "sw_guarded").unlink()
    bpffs.pin(stranger.map_fd("sw_guarded"), old.folder / "maps" / "sw_guarded")
    stranger.close()
    words = make_agent().words
    assert words.startswith(f"{old.name} was pinned and is not adopted: tracepoint loads and attaches, but")


def test_a_set_of_another_abi_stays_until_the_policy_of_now_is_in_force(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    make_agent().end()
    (old,) = pins.survey(str(pin_dir))
    unknown = old.folder.with_name(f"{abi.ABI_VERSION + 1}-tracepoint-{old.build}")
    old.folder.rename(unknown)
    agent = make_agent()
    assert agent.words.endswith(f"removes {unknown.name} once its own policy is in force")
    assert unknown.exists()
    agent.succession.published()
    assert not unknown.exists()


def test_a_rung_that_blocks_nothing_is_not_pinned_and_replaces_what_is(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.BLOCK)
    first.end()
    (old,) = pins.survey(str(pin_dir))
    second = make_agent(LOWER, Setup(2 * SETUP.ring_bytes, SETUP.watcher))
    assert second.words == f"ends with the agent; removed {old.name}"
    assert second.publication.sockets == SOCKETS
    assert pins.survey(str(pin_dir)) == ()


def test_an_adopted_set_that_was_given_up_again_is_replaced_with_its_policy(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    first = make_agent()
    first.publication.publish(SOCKETS, abi.Action.BLOCK)
    first.end()
    succession = Succession(str(pin_dir))
    succession.attempt(RUNG, SETUP).close()
    lower = succession.attempt(LOWER, Setup(2 * SETUP.ring_bytes, SETUP.watcher))
    succession.settle(LOWER, lower)
    assert lower.publication.sockets == SOCKETS
    assert pins.survey(str(pin_dir)) == ()
    lower.close()
    succession.close()


def test_where_no_rung_is_in_force_pins_stay_and_are_named(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    make_agent().end()
    (old,) = pins.survey(str(pin_dir))
    succession = Succession(str(pin_dir))
    assert succession.settle(ladder.rung_named("none"), None) == f"pins of an agent before stay in force: {old.name}"
    succession.published()
    succession.close()
    assert pins.survey(str(pin_dir)) == (old,)


def test_a_set_that_cannot_be_removed_is_told_and_stops_nothing(
    make_agent: Callable[..., Agent], another_build: Callable[[], None], pin_dir: Path
) -> None:
    make_agent().end()
    (old,) = pins.survey(str(pin_dir))
    (old.folder / "maps" / "folder").mkdir()
    (old.folder / "links" / "guard_listener").unlink()
    another_build()
    assert make_agent().words.endswith(f"{old.folder} cannot be removed: Is a directory")


def test_without_a_pin_dir_nothing_is_pinned(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    assert make_agent(where="").words == "not pinned: it ends with the agent"
    assert pins.survey(str(pin_dir)) == ()


def test_a_second_agent_is_refused_and_the_first_is_named(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    make_agent()
    with pytest.raises(KernelError, match=rf"another sockwarden \(pid {os.getpid()}\) has {pin_dir}"):
        make_agent()


def test_programs_that_are_pinned_run_on_when_nobody_holds_them(
    make_agent: Callable[..., Agent], pin_dir: Path, tmp_path: Path
) -> None:
    agent = make_agent()
    agent.end()
    (found,) = pins.survey(str(pin_dir))
    force = Force(found.links, pins.PinnedHolding(found))
    before = force.stat(abi.GuardStat.SEEN)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "a.sock"))
        listener.listen()
        client.connect(str(tmp_path / "a.sock"))
    assert force.stat(abi.GuardStat.SEEN) > before
    force.close()


def test_a_folder_that_cannot_be_made_is_done_without_for_a_reason(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    words = make_agent(where=pin_dir.with_name("a.b")).words
    assert words.startswith("not pinned, so it ends with the agent: ")
    assert "cannot be used for pins: Operation not permitted" in words
    assert "bpffs takes no dot in a name" in words


def test_a_folder_that_cannot_be_made_matters_not_below_a_blocking_rung(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    assert make_agent(LOWER, where=pin_dir.with_name("a.b")).words == "ends with the agent"


def test_an_object_that_a_set_lacks_is_named(make_agent: Callable[..., Agent], pin_dir: Path) -> None:
    make_agent().end()
    (found,) = pins.survey(str(pin_dir))
    holding = pins.PinnedHolding(found)
    assert os.fstat(holding.program_fd("guard_listener"))
    with pytest.raises(KernelError, match="has no map sw_none"):
        holding.map_fd("sw_none")
    with pytest.raises(KernelError, match="has no program guard_none"):
        holding.program_fd("guard_none")
    holding.close()


def test_pins_with_what_is_no_policy_stay_until_the_policy_of_now_is_in_force(
    make_agent: Callable[..., Agent], pin_dir: Path
) -> None:
    first = make_agent()
    put_single(first.force.map_fd("sw_config"), abi.RawConfig(action=99))
    first.end()
    (old,) = pins.survey(str(pin_dir))
    agent = make_agent()
    assert agent.words == f"pinned as {old.name}; removes {old.name}-old0 once its own policy is in force"
    agent.succession.published()
    assert [one.name for one in pins.survey(str(pin_dir))] == [old.name]
