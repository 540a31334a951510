"""The oracle of the demonstration, and the code that it checks, agree without knowing each other."""

from __future__ import annotations

import json

from sockwarden.demo import expected


def test_the_full_spelling_of_newer_clis_is_undone() -> None:
    text = expected.PUSH_BLOCKED.replace("images/myimage", "images/docker.io/library/myimage")
    assert expected.as_documented(text) == expected.PUSH_BLOCKED


def test_only_the_version_is_replaced_in_a_refusal() -> None:
    assert expected.as_documented(expected.PUSH_BLOCKED.replace("v1.43", "v1.41")) == expected.PUSH_BLOCKED


def test_a_version_elsewhere_in_a_text_is_left_alone() -> None:
    assert expected.as_documented("/v1.41/x") == "/v1.41/x"


def test_the_policy_is_the_documented_file() -> None:
    assert expected.policy() == json.loads(expected.ADMIN_SETTINGS)


def test_an_entry_of_the_image_list_can_be_left_out() -> None:
    mount = expected.policy(without="docker:cli")["enhancedContainerIsolation"]["dockerSocketMount"]
    assert mount["imageList"]["images"] == ["docker.io/localstack/localstack:*", "docker.io/testcontainers/ryuk:*"]
