"""Who may use the socket, and for what: the order of the questions and the words of the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sockwarden.dockerapi import texts
from sockwarden.dockerapi.commands import ALWAYS
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
    Verdict,
)
from sockwarden.policy.commandlist import CommandRules
from sockwarden.policy.decide import (
    Generation,
    container_of,
    decide_client,
    decide_operation,
    deny_image,
    shown_image,
)
from sockwarden.policy.document import parse_policy

PEER = Peer(pid=1, uid=0, gid=0, start_ticks=0, source=IdentitySource.PIDFD)
BOX = Container("0a" * 32, "sha256:" + "0" * 64, "docker:cli")
HOST = HostClient(PEER)
CONTAINER = ContainerClient(PEER, BOX)
PUSH = "POST /images/{name}/push"
PS = "GET /containers/json"
TARGET = "/v1.43/images/myimage/push?tag=latest"
YES = ImageAnswer(allowed=True, entry="docker:cli")
NO = ImageAnswer(allowed=False, reason="its content is another")


def generation(*, enabled: bool = True, enforce_host: bool = False, mode: Mode = Mode.ENFORCE) -> Generation:
    settings: dict[str, Any] = {
        "configurationFileVersion": 2,
        "enhancedContainerIsolation": {"locked": True, "value": enabled},
    }
    document = parse_policy(json.dumps(settings).encode(), "p.json")
    rules = CommandRules.compile("deny", ("push",))
    return Generation(1, document, rules, mode, enforce_host, walled=False)


def test_a_container_of_an_allowed_image_uses_the_socket() -> None:
    assert decide_client(generation(), CONTAINER, YES) == Verdict(allowed=True, rule=Rule.IMAGE_LIST, image=YES)


def test_a_container_of_another_image_is_refused_in_the_documented_words() -> None:
    verdict = decide_client(generation(), CONTAINER, NO)
    assert verdict.rule is Rule.IMAGE_LIST
    assert verdict.message == texts.socket_mount_denied("docker.io/library/docker")


def test_a_container_whose_image_was_not_judged_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        decide_client(generation(), CONTAINER, None)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule.UNKNOWN_CONTAINER, texts.unknown_container("why")),
        (Rule.IDENTITY, texts.identity_unresolved("why")),
        (Rule.ENGINE, texts.identity_unresolved("why")),
    ],
)
def test_a_client_that_cannot_be_placed_is_refused(rule: Rule, text: str) -> None:
    verdict = decide_client(generation(), UnknownClient(None, rule, "why"), None)
    assert (verdict.allowed, verdict.rule, verdict.message) == (False, rule, text)


@pytest.mark.parametrize(("enforced", "rule"), [(False, Rule.EXEMPT), (True, Rule.DEFAULT)])
def test_a_host_client_uses_the_socket(enforced: bool, rule: Rule) -> None:
    assert decide_client(generation(enforce_host=enforced), HOST, None) == Verdict(allowed=True, rule=rule)


@pytest.mark.parametrize("client", [HOST, CONTAINER, UnknownClient(None, Rule.IDENTITY, "why")])
def test_a_policy_that_is_off_lets_everybody_in(client: Any) -> None:
    off = generation(enabled=False)
    assert decide_client(off, client, None).rule is Rule.POLICY_OFF
    assert decide_operation(off, client, PUSH, TARGET).rule is Rule.POLICY_OFF


def test_a_listed_command_is_blocked_with_the_target_as_sent() -> None:
    verdict = decide_operation(generation(), CONTAINER, PUSH, TARGET)
    assert (verdict.allowed, verdict.rule) == (False, Rule.COMMAND_LIST)
    assert verdict.message == texts.command_blocked(TARGET)
    assert "push" in verdict.remedy


def test_another_command_passes() -> None:
    assert decide_operation(generation(), CONTAINER, PS, "/containers/json") == Verdict(allowed=True, rule=Rule.DEFAULT)


def test_the_command_list_is_for_host_clients_only_where_they_are_judged() -> None:
    assert decide_operation(generation(), HOST, PUSH, TARGET).rule is Rule.EXEMPT
    assert decide_operation(generation(enforce_host=True), HOST, PUSH, TARGET).rule is Rule.COMMAND_LIST


@pytest.mark.parametrize("key", sorted(ALWAYS))
def test_negotiation_always_passes(key: str) -> None:
    assert decide_operation(generation(enforce_host=True), HOST, key, "/_ping").rule is Rule.NEGOTIATION


def test_a_route_that_the_engine_lacks_is_not_found_for_containers() -> None:
    verdict = decide_operation(generation(), CONTAINER, None, "/v1.43/nosuch")
    assert (verdict.allowed, verdict.rule, verdict.status) == (False, Rule.UNKNOWN_ROUTE, 404)


def test_the_remedy_names_the_entry_to_add_and_why_none_matched() -> None:
    remedy = deny_image("docker:cli", NO).remedy
    assert remedy == (
        'add "docker.io/library/docker:cli" to dockerSocketMount.imageList.images (its content is another)'
    )


def test_the_remedy_is_shorter_without_a_reason() -> None:
    assert deny_image("docker:cli", ImageAnswer(allowed=False)).remedy.endswith(".images")


ID = "sha256:" + "a" * 64
IMAGES = "dockerSocketMount.imageList.images"


@pytest.mark.parametrize(
    ("text", "answer", "remedy"),
    [
        ("app", ImageAnswer(allowed=False, digest=ID), f'add "docker.io/library/app:latest" to {IMAGES}'),
        (
            "app:1",
            ImageAnswer(allowed=False, digest=ID, local=True),
            f'add "{ID}" to sockwarden.localImages, or, where a registry has it, "docker.io/library/app:1" to {IMAGES}',
        ),
        (
            "a" * 12,
            ImageAnswer(allowed=False, digest=ID),
            f'add "{ID}" to sockwarden.localImages, or a name that its registry has for it to {IMAGES}',
        ),
        (
            "a:1",
            ImageAnswer(allowed=False, digest=ID, entry="docker.io/library/a:*"),
            'pull "docker.io/library/a:1" again: "docker.io/library/a:*" covers its name, and not its content',
        ),
    ],
)
def test_the_remedy_is_what_would_help(text: str, answer: ImageAnswer, remedy: str) -> None:
    assert deny_image(text, answer).remedy == remedy


@pytest.mark.parametrize(
    ("text", "image_id", "name"),
    [
        ("docker:cli", "", "docker.io/library/docker"),
        ("127.0.0.1:5000/a/b:1", "", "127.0.0.1:5000/a/b"),
        ("docker@" + ID, "", "docker.io/library/docker"),
        ("NOT a reference", "", "NOT a reference"),
        (ID, "", ID),
        ("a" * 64, "", ID),
        ("a" * 12, ID, ID),
        ("a" * 12, "", "docker.io/library/" + "a" * 12),
    ],
)
def test_an_image_is_shown_by_its_canonical_name_or_its_id(text: str, image_id: str, name: str) -> None:
    assert shown_image(text, image_id) == name


def test_only_a_client_in_a_known_container_has_one() -> None:
    assert (container_of(CONTAINER), container_of(HOST)) == (BOX, None)


def test_a_generation_says_whether_refusals_are_carried_out() -> None:
    assert (generation().enforcing, generation(mode=Mode.AUDIT).enforcing) == (True, False)
