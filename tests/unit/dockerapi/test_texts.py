"""The texts that clients read, byte for byte."""

from __future__ import annotations

import json

import pytest

from sockwarden.dockerapi import texts


def test_a_denied_mount_reads_as_in_docker_desktop():
    assert texts.socket_mount_denied("docker.io/library/docker") == (
        'enhanced container isolation: docker socket mount denied for container with image "docker.io/library/docker"; '
        "image is not in the allowed list; if you wish to allow it, configure the docker socket image list in the "
        "Docker Desktop settings."
    )


def test_a_blocked_command_reads_as_in_docker_desktop():
    assert texts.command_blocked("/v1.43/images/myimage/push?tag=latest") == (
        'enhanced container isolation: docker command "/v1.43/images/myimage/push?tag=latest" is blocked; if you wish '
        "to allow it, configure the docker socket command list in the Docker Desktop settings or admin-settings."
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (texts.engine_mount_denied("/run", "docker.io/library/x"), ('"/run"', '"docker.io/library/x"', "mount")),
        (texts.unknown_container("no such id"), ("; no such id; ", "start the container")),
        (texts.identity_unresolved("it is gone"), ("; it is gone; ", "try again")),
        (texts.engine_unreachable("/run/e.sock", "refused"), ('"/run/e.sock"', "; refused; ", "try again")),
    ],
)
def test_a_refusal_of_our_own_keeps_the_tone_and_says_what_to_do(text, parts):
    assert text.startswith("enhanced container isolation: ")
    assert text.endswith(".")
    assert all(part in text for part in parts)


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("page not found", b'{"message":"page not found"}\n'),
        ('a "b" \\ c', b'{"message":"a \\"b\\" \\\\ c"}\n'),
        ("/x?a=<1>&b=2", b'{"message":"/x?a=<1>&b=2"}\n'),
        ("a\nb\tc\x01\x7f", b'{"message":"a\\nb\\tc\\u0001\x7f"}\n'),
        ("\u00f6\u20ac", '{"message":"\u00f6\u20ac"}\n'.encode()),
        ("\u2028\u2029", b'{"message":"\\u2028\\u2029"}\n'),
        ("\udcff", b'{"message":"\\ufffd"}\n'),
    ],
)
def test_an_error_body_is_written_as_the_engine_writes_it(message, body):
    assert texts.error_body(message) == body


def test_an_unknown_page_reads_as_from_the_engine():
    assert json.loads(texts.page_not_found()) == {"message": "page not found"}


def test_a_container_that_is_not_there_reads_as_from_the_engine():
    assert texts.no_such_container("a") == "No such container: a"
