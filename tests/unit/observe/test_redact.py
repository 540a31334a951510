"""What is shown of targets and command lines."""

from __future__ import annotations

import time

import pytest

from sockwarden.observe.redact import (
    _MAX_DEPTH,
    MAX_ARGUMENT,
    MAX_ARGUMENTS,
    MAX_TARGET,
    _inner,
    looks_secret,
    redact_command_line,
    redact_target,
    redact_url,
)

HEX = "a" * 64


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1.41/containers/json?all=1&limit=5", "/v1.41/containers/json?all=1&limit=5"),
        ("/images/create?fromImage=a/b&tag=1", "/images/create?fromImage=a/b&tag=1"),
        (f"/images/a@sha256:{HEX}/json", f"/images/a@sha256:{HEX}/json"),
        (f"/x?fromImage=a%40sha256%3A{HEX}", f"/x?fromImage=a@sha256:{HEX}"),
        ("/x?fromImage=u:pw@reg/a", "/x?fromImage=***@reg/a"),
        (f"/x?fromImage=u:p@w@reg/a@sha256:{HEX}", f"/x?fromImage=***@sha256:{HEX}"),
        ("/build?remote=https://t@github.com/x&t=a:1", "/build?remote=***&t=a:1"),
        ("/build?buildargs=%7B%22A%22%3A%22s%22%7D", "/build?buildargs=***"),
        ("/x?filters={}&all", "/x?filters=***&all"),
        ("/x?t=a;secret=b", "/x?t=a&secret=***"),
        ("/x?ghp_0123=1", "/x?***"),
        ("/x?", "/x?***"),
        ("/x?t=%2541", "/x?t=***"),
        ("/%2541", "***"),
        ("http://u:pw@host/info", "***@host/info"),
        ("/x?t=a+b", "/x?t=a%20b"),
        ("/x\ud800", "/x%5Cud800"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_a_target_shows_only_what_holds_no_secret(target, shown):
    assert redact_target(target) == shown


def test_a_long_target_is_cut():
    assert len(redact_target("/" + "x" * 9999)) == MAX_TARGET


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["docker", "ps", "-a"], ["docker", "ps", "-a"]),
        (["docker", "login", "-u", "me", "-p", "s3"], ["docker", "login", "-u", "me", "-p", "***"]),
        (["docker", "login", "--password-stdin", "host"], ["docker", "login", "--password-stdin", "host"]),
        (["x", "-ps3"], ["x", "-p***"]),
        (["x", "--password", "s3"], ["x", "--password", "***"]),
        (["x", "--password=s3"], ["x", "--password=***"]),
        (["x", "-password", "s3"], ["x", "-p***", "***"]),
        (["x", "--api-token=s3"], ["x", "--api-token=***"]),
        (["x", "-p", "--password", "s3"], ["x", "-p", "***", "***"]),
        (["x", "-e", "--password", "s3"], ["x", "-e", "--password", "***"]),
        (["x", "-e", "A=s3"], ["x", "-e", "A=***"]),
        (["x", "-e", "A", "B=c"], ["x", "-e", "A", "B=c"]),
        (["x", "-ite", "A=s3"], ["x", "-ite", "A=***"]),
        (["x", "-eA=s3"], ["x", "-eA=***"]),
        (["x", "--env", "A=s3"], ["x", "--env", "A=***"]),
        (["x", "--env=A=s3"], ["x", "--env=A=***"]),
        (["x", "--build-arg", "A=s3"], ["x", "--build-arg", "A=***"]),
        (["x", "MY_TOKEN=s3", "A=b"], ["x", "MY_TOKEN=***", "A=b"]),
        (["curl", "-u", "me:s3"], ["curl", "-u", "me:***"]),
        (["curl", "-ume:s3"], ["curl", "-ume:***"]),
        (["curl", "--user=me:s3"], ["curl", "--user=me:***"]),
        (["x", "-e", "https://me:s3=@h"], ["x", "-e", "***"]),
        (["curl", "-u", "--x"], ["curl", "-u", "--x"]),
        (["git", "https://me:s3@h/r"], ["git", "https://***@h/r"]),
        (["git", "https://me:s/3@h/r"], ["git", "https://***@h/r"]),
        (["x", "https://h/r?token=s3&a=b"], ["x", "https://h/r?token=***&a=b"]),
        (["curl", "-H", "Authorization: Bearer s3"], ["curl", "-H", "Authorization: ***"]),
        (["curl", "-HX-Registry-Auth:s3"], ["curl", "-HX-Registry-Auth: ***"]),
        (
            ["curl", "-H", "Authorization:", "Bearer", "s3", "-v"],
            ["curl", "-H", "Authorization: ***", "***", "***", "-v"],
        ),
        (["curl", "-d", '{"password": "s3"}'], ["curl", "-d", '{password": ***']),
        (["sh", "-c", "docker login -p 's 3' host"], ["sh", "-c", "docker login -p *** host"]),
        (["sh", "-c", "export TOKEN=s3; ls"], ["sh", "-c", "export TOKEN=*** ls"]),
        (["sh", "-c", r"env TOKEN=s\ 3 ls"], ["sh", "-c", "env TOKEN=*** ls"]),
        (["sh", "-c", "x='TOKEN=s3'"], ["sh", "-c", "x= TOKEN=***"]),
        (["sh", "-c", '"'], ["sh", "-c", ""]),
        (["-p s3"], ["-p***"]),
        ([""], [""]),
    ],
)
def test_a_command_line_shows_only_what_holds_no_secret(arguments, shown):
    assert list(redact_command_line(arguments)) == shown


def test_shells_in_shells_in_shells_are_hidden():
    command = "TOKEN=s3 x"
    for _ in range(8):
        command = '"' + command.replace("\\", "\\\\").replace('"', '\\"') + '" x'
    assert "s3" not in " ".join(redact_command_line([command]))


def test_what_is_quoted_too_deeply_is_hidden():
    assert _inner("a 'b'", _MAX_DEPTH) == "***"


def test_a_long_argument_is_cut():
    assert len(redact_command_line(["x" * 9999])[0]) == MAX_ARGUMENT


def test_a_password_longer_than_what_is_searched_is_hidden():
    assert redact_command_line(["https://me:" + "s" * 9999 + "@host"]) == ("https://***",)


def test_many_arguments_are_counted():
    shown = redact_command_line(["x"] * (MAX_ARGUMENTS + 3))
    assert (len(shown), shown[-1]) == (MAX_ARGUMENTS + 1, "… 3 more")


def test_a_text_without_a_url_stays():
    assert redact_url("a@b c") == "a@b c"


def test_every_url_of_a_text_is_redacted():
    assert redact_url("a //x@b\thttp://c:d@e f") == "a //***@b\thttp://***@e f"


@pytest.mark.parametrize("name", ["TOKEN", "MyPassword", "ssh_key", "AUTHORIZATION", "credentials"])
def test_names_of_secrets_are_known(name):
    assert looks_secret(name)


@pytest.mark.parametrize(
    "piece",
    ["//", "@", "auth", "auth:", '"', "\\", "a=", "'\"", "-p ", "%25", "token=", '\\"', "a.", "x-registry-config"],
)
def test_no_argument_takes_long(piece):
    text = piece * (128 * 1024 // len(piece))
    started = time.process_time()
    redact_command_line([text])
    redact_target(f"{text[:65536]}?t={text[:65536]}")
    assert time.process_time() - started < 1.0
