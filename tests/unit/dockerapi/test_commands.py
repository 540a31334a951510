"""Commands: the table, the names and their aliases."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi import commands
from sockwarden.dockerapi.commands import (
    ALWAYS,
    COMMAND_LABELS,
    COMMAND_NAMES,
    COMMANDS,
    UNSUPPORTED,
    WILDCARDS,
    command_for,
    is_unsupported,
    resolve_command,
)
from sockwarden.dockerapi.routes import IMPORT, OPERATION_KEYS, PULL


def characteristic(name: str) -> set[str]:
    found = resolve_command(name)
    assert found is not None, name
    return {key for command in found for key in command.characteristic}


def opened(name: str) -> set[str]:
    found = resolve_command(name)
    assert found is not None, name
    return characteristic(name) | {key for command in found for key in command.supporting}


def test_every_operation_of_the_engine_is_somebodys():
    assert {key for command in COMMANDS for key in command.characteristic} == OPERATION_KEYS


def test_every_row_has_groups_that_are_wildcards():
    assert {group for command in COMMANDS for group in command.groups} == set(WILDCARDS)


def test_a_row_without_a_name_has_a_label_and_an_endpoint():
    assert all(command.label and command.characteristic for command in COMMANDS if not command.name)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("push", {"POST /images/{name}/push"}),
        ("pull", {PULL}),
        ("import", {IMPORT}),
        ("ps", {"GET /containers/json"}),
        ("port", {"GET /containers/{name}/json"}),
        ("node ps", {"GET /tasks"}),
        ("run", {"POST /containers/create", "POST /containers/{name}/start"}),
        ("build", {"POST /build", "POST /grpc", "POST /session"}),
        ("buildx rm", {"POST /grpc"}),
        (
            "cp",
            {
                "GET /containers/{name}/archive",
                "PUT /containers/{name}/archive",
                "POST /containers/{name}/copy",
            },
        ),
        ("network ls", {"GET /networks", "GET /networks/"}),
        ("save", {"GET /images/get", "GET /images/{name}/get"}),
        (
            "system prune",
            {
                "POST /containers/prune",
                "POST /networks/prune",
                "POST /volumes/prune",
                "POST /images/prune",
                "POST /build/prune",
            },
        ),
        ("swarm ca", {"POST /swarm/update"}),
        ("builder", {"POST /build", "POST /grpc", "POST /session", "POST /build/prune"}),
        ("logout", set()),
        ("context ls", set()),
        ("system dial-stdio", set()),
        ("context", set()),
    ],
)
def test_a_command_has_its_own_endpoints(name, keys):
    assert characteristic(name) == keys


def test_an_implicit_pull_supports_run():
    assert PULL in opened("run") - characteristic("run")


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("container run", "run"),
        ("container ls", "ps"),
        ("container list", "ps"),
        ("container ps", "ps"),
        ("container rm", "rm"),
        ("container remove", "rm"),
        ("container stats", "stats"),
        ("image ls", "images"),
        ("image list", "images"),
        ("image rm", "rmi"),
        ("image remove", "rmi"),
        ("image pull", "pull"),
        ("image build", "build"),
        ("builder build", "build"),
        ("volume remove", "volume rm"),
        ("volume list", "volume ls"),
        ("network remove", "network rm"),
        ("system info", "info"),
        ("system events", "events"),
        ("stack down", "stack rm"),
        ("stack up", "stack deploy"),
        ("node list", "node ls"),
        ("container", "container*"),
        ("image", "image*"),
        ("volume", "volume*"),
        ("network", "network*"),
        ("system", "system*"),
    ],
)
def test_an_alias_means_the_same_rows(alias, name):
    assert resolve_command(alias) == resolve_command(name) is not None


@pytest.mark.parametrize(
    "name", ["", "docker push", "Push", "push ", "*", "swarm*", "build *", "nonsense", "compose", "plugin ls", "plugin"]
)
def test_a_name_that_a_list_may_not_hold_stands_for_nothing(name):
    assert resolve_command(name) is None


@pytest.mark.parametrize("name", [*sorted(UNSUPPORTED), "plugin ls", "trust key load", "compose up"])
def test_an_unsupported_command_is_told_from_an_unknown_one(name):
    assert is_unsupported(name)


@pytest.mark.parametrize("name", ["plugins", "push", ""])
def test_another_name_is_not_unsupported(name):
    assert not is_unsupported(name)


def test_no_name_of_a_list_is_unsupported():
    assert not [name for name in COMMAND_NAMES if is_unsupported(name)]


@pytest.mark.parametrize(
    ("wildcard", "inside", "outside"),
    [
        ("container*", "POST /containers/{name}/resize", PULL),
        ("container*", "HEAD /containers/{name}/archive", "GET /info"),
        ("container*", "POST /commit", "POST /containers/{name}/checkpoints"),
        ("image*", "POST /build", "GET /images/search"),
        ("image*", "GET /images/{name}/attestations", "POST /build/prune"),
        ("build*", "POST /session", "POST /images/load"),
        ("build*", "POST /build/cancel", "POST /images/{name}/push"),
        ("volume*", "PUT /volumes/{name}", "POST /networks/prune"),
        ("network*", "GET /networks/", "POST /volumes/prune"),
        ("system*", "GET /system/df", "GET /version"),
    ],
)
def test_a_wildcard_holds_the_endpoints_of_its_group(wildcard, inside, outside):
    assert inside in characteristic(wildcard)
    assert outside not in characteristic(wildcard)


def test_a_group_word_without_a_wildcard_means_its_subcommands():
    assert characteristic("swarm") == {
        "POST /swarm/init",
        "POST /swarm/join",
        "POST /swarm/leave",
        "POST /swarm/update",
        "POST /swarm/unlock",
        "GET /swarm/unlockkey",
    }


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("POST /images/{name}/push", "push"),
        ("POST /containers/create", "create"),
        ("POST /containers/{name}/start", "start"),
        ("GET /containers/json", "ps"),
        ("GET /_ping", "ping"),
        ("GET /version", "version"),
        ("POST /grpc", "build"),
        ("POST /services/{id}/update", "service update"),
        ("GET /debug/pprof/{name}", "debug"),
        (PULL, "pull"),
        ("POST /images/create", "other"),
        ("POST /x", "other"),
        (None, "other"),
    ],
)
def test_an_operation_is_shown_by_one_name(key, label):
    assert command_for(key) == label


def test_the_labels_are_a_closed_set_that_covers_every_operation():
    assert {command_for(key) for key in OPERATION_KEYS} == COMMAND_LABELS - {"other"}


def test_negotiation_is_made_of_operations():
    assert ALWAYS < OPERATION_KEYS


@pytest.mark.parametrize("cell", ["GET /nothing", "GET  /info", "GET /info (", "info", "GET /info | "])
def test_a_table_that_names_no_endpoint_cannot_be_loaded(cell):
    with pytest.raises(AssertionError, match="does not have"):
        commands._read_cell(cell)
