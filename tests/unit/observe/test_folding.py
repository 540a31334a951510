"""A flood of denials becomes a few records with counts; nobody's first denial is hidden."""

from __future__ import annotations

from dataclasses import replace

from sockwarden.model import (
    Client,
    Container,
    ContainerClient,
    HostClient,
    IdentitySource,
    Mode,
    Peer,
    Rule,
    UnknownClient,
)
from sockwarden.observe.audit import AuditRecord
from sockwarden.observe.folding import FOLD_SECONDS, MAX_FOLDED_CLIENTS, MAX_KINDS, Folding
from sockwarden.observe.metrics import Decision

PEER = Peer(7, 0, 0, 70, IdentitySource.PIDFD)


def container(number: int = 1, pid: int = 7) -> ContainerClient:
    return ContainerClient(replace(PEER, pid=pid), Container(f"{number:064x}", f"sha256:{'1' * 64}", "img"))


def denial(client: Client | None = None, target: str = "/x", rule: Rule = Rule.COMMAND_LIST) -> AuditRecord:
    who = container() if client is None else client
    return AuditRecord(0.0, Decision.DENY, rule, "push", "POST", target, who, 1, Mode.ENFORCE, "no")


def test_the_first_denial_is_written_at_once() -> None:
    record = denial()
    assert Folding().take(record, 0.0) == (record,)


def test_the_same_again_is_counted_and_told_when_the_second_is_over() -> None:
    folding = Folding()
    for number in range(4):
        folding.take(denial(container(pid=number)), 0.1 * number)
    assert folding.due(FOLD_SECONDS - 0.01) == ()
    assert [(one.repeated, one.client) for one in folding.due(FOLD_SECONDS)] == [(3, container(pid=3))]


def test_a_denial_of_another_kind_is_written_at_once() -> None:
    folding = Folding()
    folding.take(denial(), 0.0)
    other = denial(target="/y")
    assert folding.take(other, 0.1) == (other,)


def test_a_denial_of_another_container_is_written_at_once_whatever_the_first_one_does() -> None:
    folding = Folding()
    for number in range(1000):
        folding.take(denial(target=f"/{number}"), 0.0)
    other = denial(container(2))
    assert folding.take(other, 0.0) == (other,)


def test_texts_that_vary_become_one_count() -> None:
    folding = Folding()
    written = [one for n in range(MAX_KINDS + 5) for one in folding.take(denial(target=f"/{n}"), 0.0)]
    assert len(written) == MAX_KINDS
    assert [(one.others, one.target) for one in folding.due(FOLD_SECONDS)] == [(5, f"/{MAX_KINDS + 4}")]


def test_the_next_denial_after_the_second_tells_the_count_first_and_is_written() -> None:
    folding = Folding()
    folding.take(denial(), 0.0)
    folding.take(denial(), 0.5)
    assert [one.repeated for one in folding.take(denial(), FOLD_SECONDS)] == [1, 0]


def test_what_was_not_repeated_is_not_told_again() -> None:
    folding = Folding()
    folding.take(denial(), 0.0)
    assert folding.due(FOLD_SECONDS) == ()


def test_the_table_is_empty_again_when_all_is_told() -> None:
    folding = Folding()
    folding.take(denial(), 0.0)
    folding.due(FOLD_SECONDS)
    assert len(folding) == 0


def test_what_comes_from_a_client_that_nobody_knows_is_always_written() -> None:
    folding = Folding()
    record = replace(denial(), client=None)
    assert [folding.take(record, 0.0), folding.take(record, 0.0)] == [(record,), (record,)]


def test_processes_of_an_unknown_container_are_counted_together() -> None:
    folding = Folding()
    for pid in (1, 2):
        client = UnknownClient(replace(PEER, pid=pid), Rule.UNKNOWN_CONTAINER, "its cgroup is that of '/x'")
        folding.take(denial(client), 0.0)
    assert [one.repeated for one in folding.due(FOLD_SECONDS)] == [1]


def test_other_processes_are_counted_one_by_one() -> None:
    folding = Folding()
    told = [folding.take(denial(HostClient(replace(PEER, pid=pid))), 0.0) for pid in (1, 2)]
    assert [len(records) for records in told] == [1, 1]


def test_above_the_limit_of_clients_all_is_written() -> None:
    folding = Folding()
    for number in range(MAX_FOLDED_CLIENTS):
        folding.take(denial(container(number)), 0.0)
    late = denial(container(MAX_FOLDED_CLIENTS))
    assert [folding.take(late, 0.0), folding.take(late, 0.0)] == [(late,), (late,)]
    assert len(folding) == MAX_FOLDED_CLIENTS
