"""The command list: what it denies, why, and what to change."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi.commands import ALWAYS, COMMAND_NAMES
from sockwarden.dockerapi.routes import IMPORT, OPERATION_KEYS, PULL
from sockwarden.policy.commandlist import CommandRules

PUSH = "POST /images/{name}/push"
CREATE = "POST /containers/create"


@pytest.mark.parametrize(
    ("names", "key", "entry"),
    [
        (("push",), PUSH, "push"),
        (("build", "push"), PUSH, "push"),
        (("image*",), PUSH, "image*"),
        (("image*", "push"), PUSH, "image*"),
        (("image*",), PULL, "image*"),
        (("image*",), "POST /build", "image*"),
        (("image*",), "GET /images/{name}/attestations", "image*"),
        (("build*",), "POST /session", "build*"),
        (("build",), "POST /grpc", "build"),
        (("run",), CREATE, "run"),
        (("import",), IMPORT, "import"),
        (("container ls",), "GET /containers/json", "container ls"),
        (("container",), "POST /containers/{name}/resize", "container"),
        (("push",), PULL, None),
        (("import",), PULL, None),
        (("cp",), "HEAD /containers/{name}/archive", None),
        (("push",), None, None),
        (("push",), "GET /debug/vars", None),
        (("version",), "GET /version", None),
        ((), PUSH, None),
    ],
)
def test_a_deny_list_denies_what_it_names_and_nothing_else(names, key, entry):
    assert CommandRules.compile("deny", names).decide(key) == entry


@pytest.mark.parametrize(
    ("names", "key", "entry"),
    [
        (("ps",), "GET /containers/json", None),
        (("ps",), PUSH, ""),
        (("run",), CREATE, None),
        (("run",), PULL, None),
        (("run",), "POST /containers/{name}/resize", None),
        (("run",), IMPORT, ""),
        (("container*",), "GET /containers/{name}/logs", None),
        (("container*",), "POST /volumes/create", ""),
        (("ps",), "GET /swarm", ""),
        (("ps",), None, ""),
        ((), "GET /info", ""),
    ],
)
def test_an_allow_list_opens_what_its_commands_need_and_nothing_else(names, key, entry):
    assert CommandRules.compile("allow", names).decide(key) == entry


@pytest.mark.parametrize("key", sorted(ALWAYS))
@pytest.mark.parametrize(
    "rules", [CommandRules.compile("deny", tuple(sorted(COMMAND_NAMES))), CommandRules.compile("allow", ())]
)
def test_negotiation_passes_every_list(rules, key):
    assert rules.decide(key) is None


@pytest.mark.parametrize(
    ("kind", "names", "notes"),
    [
        ("deny", ("push", "ps"), ()),
        ("deny", ("logout",), ('"logout" uses no endpoint of the engine: denying it blocks nothing',)),
        ("allow", ("context ls",), ('"context ls" uses no endpoint of the engine: allowing it opens nothing',)),
        ("deny", ("version",), ('"version" uses only endpoints that always pass: denying it blocks nothing',)),
        ("deny", ("logout", "logout"), ('"logout" uses no endpoint of the engine: denying it blocks nothing',)),
    ],
)
def test_a_name_without_effect_is_noted_once(kind, names, notes):
    assert CommandRules.compile(kind, names).notes == notes


def test_a_name_that_is_no_command_cannot_be_compiled():
    with pytest.raises(AssertionError, match="nonsense"):
        CommandRules.compile("deny", ("nonsense",))


@pytest.mark.parametrize(
    ("kind", "names", "key", "sentence"),
    [
        ("deny", ("push",), PUSH, 'remove "push" from commandList.commands'),
        ("deny", ("push", "image*"), PUSH, 'remove "push" and "image*" from commandList.commands'),
        ("deny", ("push",), PULL, ""),
        ("deny", ("push",), None, ""),
        ("allow", ("ps",), PUSH, 'add "push" to commandList.commands'),
        ("allow", ("ps",), "POST /grpc", 'add "build" to commandList.commands'),
        ("allow", ("ps",), "GET /containers/json", ""),
        ("allow", (), "HEAD /containers/{name}/archive", 'add "cp" to commandList.commands'),
        ("allow", (), "GET /images/{name}/attestations", 'add "image" to commandList.commands'),
        (
            "allow",
            ("ps",),
            "GET /plugins",
            'no name in commandList.commands opens this request: it needs a list of the type "deny"',
        ),
        (
            "allow",
            ("ps",),
            None,
            'no name in commandList.commands opens this request: it needs a list of the type "deny"',
        ),
    ],
)
def test_a_refusal_says_what_to_change(kind, names, key, sentence):
    assert CommandRules.compile(kind, names).allowing(key) == sentence


@pytest.mark.parametrize("key", sorted(OPERATION_KEYS - ALWAYS))
def test_doing_what_the_refusal_says_allows_the_operation(key):
    sentence = CommandRules.compile("allow", ()).allowing(key)
    if sentence.startswith("add "):
        assert CommandRules.compile("allow", (sentence.split('"')[1],)).decide(key) is None
    else:
        assert all(CommandRules.compile("allow", (name,)).decide(key) == "" for name in COMMAND_NAMES)
