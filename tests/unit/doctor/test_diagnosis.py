"""What facts mean: never more than they say."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.doctor.facts_of_a_host import AGENT, DOCKERD, FOREIGN, HOST, PIN

from sockwarden.doctor.diagnosis import Line, Mark, diagnose
from sockwarden.doctor.facts import ContainerFact, EngineFact, Facts, HolderFact, Listener, Speaks, Told, Untold
from sockwarden.kernel.ladder import Row, State
from sockwarden.kernel.probes import Answer

NOBODY = Untold("nobody answers", "start it")


def lines(facts: Facts, section: str) -> tuple[Line, ...]:
    return next(one.lines for one in diagnose(facts).sections if one.name == section)


def line(facts: Facts, section: str, subject: str) -> Line:
    return next(one for one in lines(facts, section) if one.subject == subject)


def listening(speaks: Speaks) -> Told[EngineFact]:
    return Told((replace(DOCKERD, listeners=(Listener("0.0.0.0", 2375, speaks),)),))


def test_a_host_without_an_open_road_is_told_so_and_no_more() -> None:
    found = diagnose(HOST)
    assert (found.is_open, found.conclusion, found.advice) == (False, "nothing open was found", ())


OPEN: dict[str, dict[str, Any]] = {
    "no agent": {"agent": NOBODY},
    "a problem of the agent": {"agent": replace(AGENT, problems=("the engine does not answer",))},
    "a socket that nobody guards": {"sockets": (*HOST.sockets, FOREIGN)},
    "the Engine API over TCP": {"engines": listening(Speaks.ENGINE_API)},
    "a port with certificates": {"engines": listening(Speaks.TLS)},
    "a container with power": {"containers": Told((ContainerFact("a" * 64, "ci", "busybox", ("privileged",)),))},
    "a connection that is held": {"holders": Told((HolderFact(9, "sh", "/docker/a", "/run/x.sock"),))},
    "engines that cannot be told": {"engines": NOBODY},
    "containers that cannot be told": {"containers": NOBODY},
    "holders that cannot be told": {"holders": NOBODY},
}


@pytest.mark.parametrize("name", OPEN)
def test_this_is_open_and_says_what_to_do(name: str) -> None:
    found = diagnose(replace(HOST, **OPEN[name]))
    assert found.is_open
    assert len(found.advice) == 1


@pytest.mark.parametrize("name", OPEN)
def test_a_host_with_an_open_road_is_never_called_protected(name: str) -> None:
    found = diagnose(replace(HOST, **OPEN[name]))
    assert "protected" not in str(dataclasses.asdict(found))
    assert found.conclusion != "nothing open was found"


@pytest.mark.parametrize(
    ("change", "conclusion"),
    [
        ({"engines": NOBODY}, "nothing open was found, but 1 question without an answer"),
        ({"engines": NOBODY, "holders": NOBODY}, "nothing open was found, but 2 questions without an answer"),
        ({"agent": NOBODY}, "1 thing open"),
        ({"agent": NOBODY, "engines": NOBODY}, "1 thing open, and 1 question without an answer"),
        ({"agent": replace(AGENT, problems=("a", "b"))}, "2 things open"),
    ],
)
def test_the_conclusion_counts(change: dict[str, Any], conclusion: str) -> None:
    assert diagnose(replace(HOST, **change)).conclusion == conclusion


def test_without_an_agent_sockets_are_not_called_unguarded_one_by_one() -> None:
    found = diagnose(replace(HOST, agent=NOBODY, sockets=(FOREIGN,)))
    assert [one.subject for one in found.marked(Mark.OPEN)] == ["agent"]


def test_a_guarded_socket_shows_its_object() -> None:
    assert line(HOST, "sockets", "/run/sockwarden/engine.sock").text == "engine, device 25:3, inode 1001"


def test_a_socket_that_is_not_there_yet_is_waited_for() -> None:
    facts = replace(HOST, agent=replace(AGENT, waiting=("/run/later.sock",)))
    assert line(facts, "sockets", "waiting").text == "guarded as soon as there is a socket: /run/later.sock"
    assert not diagnose(facts).is_open


@pytest.mark.parametrize(
    ("pin", "mark", "said"),
    [
        (PIN, Mark.OK, "rung fmod_ret"),
        (replace(PIN, links=()), Mark.WARN, "not whole"),
        (replace(PIN, maps=()), Mark.WARN, "not whole"),
        (replace(PIN, current=False), Mark.WARN, "of another version"),
        (replace(PIN, aside=True), Mark.WARN, "replaced, and still in force"),
    ],
)
def test_a_pinned_set_is_told_with_what_is_wrong_with_it(pin: Any, mark: Mark, said: str) -> None:
    found = line(replace(HOST, pins=Told((pin,))), "pins", PIN.name)
    assert found.mark is mark
    assert said in found.text
    assert bool(found.remedy) is (mark is Mark.WARN)


def test_pins_without_an_agent_are_in_force_by_the_last_generation() -> None:
    assert "without an agent" in line(replace(HOST, agent=NOBODY), "pins", PIN.name).text


@pytest.mark.parametrize(("pins", "said"), [(Told(()), "none"), (NOBODY, "cannot be told: nobody answers")])
def test_no_pins_are_no_harm_in_themselves(pins: Any, said: str) -> None:
    found = line(replace(HOST, pins=pins), "pins", "pins")
    assert (found.mark, found.text) == (Mark.NO, said)


@pytest.mark.parametrize(
    ("change", "mark"),
    [({}, Mark.OK), ({"pinned": ""}, Mark.WARN), ({"pinned": "", "blocking": False}, Mark.NO)],
)
def test_a_blocking_rung_that_is_not_pinned_is_warned_of(change: dict[str, Any], mark: Mark) -> None:
    assert line(replace(HOST, agent=replace(AGENT, **change)), "guard", "pinned").mark is mark


def test_a_rung_that_is_no_wall_is_named() -> None:
    facts = replace(HOST, agent=replace(AGENT, rung="kprobe", blocking=False))
    assert line(facts, "guard", "wall").text == "the rung in force is kprobe, which is no wall"


@pytest.mark.parametrize(("identity", "said"), [("peercred (2)", "peercred (2)"), ("", "nobody has connected")])
def test_the_source_of_identity_is_told(identity: str, said: str) -> None:
    assert said in line(replace(HOST, agent=replace(AGENT, identity=identity)), "guard", "identity").text


def test_a_refused_rung_has_its_reason_and_its_remedy() -> None:
    facts = replace(HOST, rows=(Row("lsm", State.REFUSED, "no BTF", "another kernel"),))
    assert line(facts, "guard", "lsm").text == "refused: no BTF (remedy: another kernel)"


@pytest.mark.parametrize(("state", "told"), [(State.NOT_TRIED, True), (State.REFUSED, False)])
def test_rungs_that_were_not_tried_can_be(state: State, told: bool) -> None:
    facts = replace(HOST, agent=NOBODY, rows=(Row("lsm", state, "x"),))
    assert any("--try" in one.text for one in lines(facts, "guard")) is told


@pytest.mark.parametrize(
    ("rung", "preempt", "warned"),
    [
        ("fmod_ret", Answer("preempt", ok=False, reason="unknown", told=False), True),
        ("lsm", Answer("preempt", ok=False, reason="unknown", told=False), False),
        ("fmod_ret", Answer("preempt", ok=False, reason="full"), False),  # the agent says it itself
        ("fmod_ret", Answer("preempt", ok=True, reason="none"), False),
    ],
)
def test_a_kernel_that_does_not_say_whether_it_skips_programs_is_warned_of(
    rung: str, preempt: Answer, warned: bool
) -> None:
    facts = replace(HOST, agent=replace(AGENT, rung=rung), features=(preempt,))
    assert bool(diagnose(facts).marked(Mark.WARN)) is warned


def test_a_port_that_speaks_something_else_is_named_and_not_judged() -> None:
    found = line(replace(HOST, engines=listening(Speaks.OTHER)), "roads", "tcp://0.0.0.0:2375")
    assert found.mark is Mark.WARN


@pytest.mark.parametrize(
    ("hosts", "subjects"),
    [
        (("tcp://0.0.0.0:2375",), ["tcp://0.0.0.0:2375"]),
        (("tcp://0.0.0.0:2376",), ["tcp://0.0.0.0:2375", "tcp://0.0.0.0:2376"]),
        (("unix:///run/docker.sock", "fd://"), ["tcp://0.0.0.0:2375"]),
    ],
)
def test_a_way_in_that_was_asked_for_and_not_seen_is_named(hosts: tuple[str, ...], subjects: list[str]) -> None:
    (engine,) = listening(Speaks.ENGINE_API).values
    facts = replace(HOST, engines=Told((replace(engine, hosts=hosts),)))
    assert [one.subject for one in lines(facts, "roads") if one.subject.startswith("tcp")] == subjects


@pytest.mark.parametrize(
    ("engines", "said"),
    [(Told(()), "no engine's process was found"), (HOST.engines, "no port for the Engine API: dockerd (pid 7)")],
)
def test_where_no_port_is_open_it_says_whose_ports_were_looked_at(engines: Any, said: str) -> None:
    assert line(replace(HOST, engines=engines), "roads", "TCP").text == said


def test_a_container_without_a_name_is_named_by_its_id() -> None:
    facts = replace(HOST, containers=Told((ContainerFact("a" * 64, "", "busybox", ("pid=host",)),)))
    assert line(facts, "roads", f"container {'a' * 12}").mark is Mark.OPEN


def test_there_is_one_line_of_advice_for_each_problem() -> None:
    facts = replace(HOST, agent=replace(AGENT, problems=("a; more", "b", "b")))
    assert diagnose(facts).advice == (
        "agent: a: look this text up in docs/troubleshooting.md",
        "agent: b: look this text up in docs/troubleshooting.md",
    )


def test_an_address_of_ipv6_is_written_as_in_a_url() -> None:
    assert str(Listener("::", 2375, Speaks.OTHER)) == "[::]:2375"
