"""Laws of the decisions: they always answer, and a longer deny list never allows more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockwarden.dockerapi.commands import ALWAYS, COMMAND_NAMES
from sockwarden.dockerapi.routes import OPERATION_KEYS
from sockwarden.model import (
    Container,
    ContainerClient,
    HostClient,
    IdentitySource,
    ImageAnswer,
    Mode,
    Peer,
    Rule,
    UnknownClient,
)
from sockwarden.policy.commandlist import CommandRules, Kind
from sockwarden.policy.decide import Generation, decide_client, decide_operation
from sockwarden.policy.document import parse_policy

PEER = Peer(pid=1, uid=0, gid=0, start_ticks=0, source=IdentitySource.CRED)
HOST = HostClient(PEER)
CONTAINER = ContainerClient(PEER, Container("0" * 64, "sha256:" + "0" * 64, "alpine"))
UNKNOWN = UnknownClient(PEER, Rule.IDENTITY, "nobody knows it")
ON, OFF = (
    parse_policy(b'{"configurationFileVersion": 2, "enhancedContainerIsolation": {"value": %b}}' % value, "p")
    for value in (b"true", b"false")
)

clients = st.sampled_from([HOST, CONTAINER, UNKNOWN])
keys = st.none() | st.sampled_from(sorted(OPERATION_KEYS))
lists = st.lists(st.sampled_from(sorted(COMMAND_NAMES)), max_size=4).map(tuple)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["deny", "allow"])


def generation(kind: Kind, names: tuple[str, ...], *, on: bool = True, enforce_host: bool = False) -> Generation:
    rules = CommandRules.compile(kind, names)
    return Generation(1, ON if on else OFF, rules, Mode.ENFORCE, enforce_host=enforce_host, walled=False)


policies = st.builds(generation, kinds, lists, on=st.booleans(), enforce_host=st.booleans())


@given(policies, clients, keys, st.booleans())
def test_every_question_is_answered_and_every_refusal_has_a_text(policy, client, key, listed) -> None:
    for verdict in (
        decide_client(policy, client, ImageAnswer(allowed=listed)),
        decide_operation(policy, client, key, "/x"),
    ):
        assert verdict.allowed or (verdict.message and verdict.status in {403, 404})


@given(lists, lists, keys)
def test_a_longer_deny_list_allows_no_more(names, more, key) -> None:
    before = decide_operation(generation("deny", names), CONTAINER, key, "/x")
    after = decide_operation(generation("deny", names + more), CONTAINER, key, "/x")
    assert before.allowed or not after.allowed


@given(lists, lists, keys)
def test_a_longer_allow_list_denies_no_more(names, more, key) -> None:
    before = decide_operation(generation("allow", names), CONTAINER, key, "/x")
    after = decide_operation(generation("allow", names + more), CONTAINER, key, "/x")
    assert after.allowed or not before.allowed


@given(kinds, lists, keys)
def test_an_enforced_host_client_is_judged_as_a_container(kind, names, key) -> None:
    policy = generation(kind, names, enforce_host=True)
    assert decide_operation(policy, HOST, key, "/x") == decide_operation(policy, CONTAINER, key, "/x")


@given(kinds, lists, clients, keys)
def test_a_policy_that_is_off_allows_everything(kind, names, client, key) -> None:
    policy = generation(kind, names, on=False)
    assert decide_client(policy, client, None).rule is Rule.POLICY_OFF
    assert decide_operation(policy, client, key, "/x").allowed


@given(kinds, lists, clients, st.sampled_from(sorted(ALWAYS)))
def test_negotiation_always_passes(kind, names, client, key) -> None:
    assert decide_operation(generation(kind, names), client, key, "/x").rule is Rule.NEGOTIATION


@given(kinds, lists)
def test_a_route_that_the_engine_lacks_is_404_for_a_container(kind, names) -> None:
    verdict = decide_operation(generation(kind, names), CONTAINER, None, "/x")
    assert (verdict.rule, verdict.status) == (Rule.UNKNOWN_ROUTE, 404)
