"""A planted secret never appears in what is shown, whatever stands around it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.observe.redact import SHOWN_PARAMETERS, redact_command_line, redact_target

pytestmark = pytest.mark.property

PLAIN = "sEcReT0123456789"
secrets = st.text(st.sampled_from("abzABZ059-_.+/=:@"), max_size=12).map(lambda text: f"{PLAIN}{text}")
simple = st.just(PLAIN)
noise_words = st.one_of(
    st.sampled_from(
        ["docker", "run", "-it", "-p", "-e", "-u", "-H", "--password", "--env", "--name", "x", "--", "-", "A=b"]
    ),
    st.sampled_from(
        ["Authorization:", "https://a@b", '"', "'", "\\", "a b", "--token", "-eA=b", "sh", "-c", "-p8080:80"]
    ),
    st.text(max_size=8),
)
noise = st.lists(noise_words, max_size=5)

ARGUMENTS = [
    ["-p", "{}"],
    ["--password", "{}"],
    ["--password={}"],
    ["--token", "{}"],
    ["--token={}"],
    ["-p{}"],
    ["-e", "ANY={}"],
    ["-eANY={}"],
    ["--env", "ANY={}"],
    ["--env=ANY={}"],
    ["--build-arg", "ANY={}"],
    ["GITHUB_TOKEN={}"],
    ["MY_SECRET={}"],
    ["DB_PASSWORD={}"],
    ["DB_PASSWD={}"],
    ["AWS_ACCESS_KEY={}"],
    ["BASIC_AUTH={}"],
    ["A_CREDENTIAL={}"],
    ["-u", "user:{}"],
    ["--user=user:{}"],
    ["https://user:{}@host/path"],
    ["https://{}@host/path"],
    ["registry://{}@host"],
    ["-H", "Authorization: Bearer {}"],
    ["-H", "X-Registry-Auth: {}"],
    ["-HX-Registry-Auth:{}"],
    ["--header=Authorization: Basic {}"],
]


@given(noise, st.sampled_from(ARGUMENTS), secrets, noise)
def test_a_secret_among_the_arguments_is_hidden(before, form, secret, after):
    shown = redact_command_line([*before, *(part.format(secret) for part in form), *after])
    assert PLAIN not in " ".join(shown)


@given(st.sampled_from(ARGUMENTS), simple, st.sampled_from(["", "'", '"']), noise)
def test_a_secret_in_the_command_of_a_shell_is_hidden(form, secret, mark, after):
    words = " ".join(
        f"{mark}{part.format(secret)}{mark}" if " " not in part else f"'{part.format(secret)}'" for part in form
    )
    assert PLAIN not in " ".join(redact_command_line(["sh", "-c", f"exec docker {words}", *after]))


@given(st.lists(st.text(max_size=30), max_size=10))
def test_any_arguments_can_be_shown(arguments):
    assert len(redact_command_line(arguments)) == len(arguments)


hidden_names = st.text(st.sampled_from("abcXYZ-"), min_size=1).filter(lambda name: name not in SHOWN_PARAMETERS)
pairs = st.lists(st.sampled_from(["all=1", "t=a:1", "x=y", "", "=", "name=a%20b"]), max_size=4)


@given(pairs, hidden_names, secrets, pairs)
def test_the_value_of_an_unknown_parameter_is_hidden(before, name, secret, after):
    target = "/build?" + "&".join([*before, f"{name}={quote(secret, safe='')}", *after])
    assert PLAIN not in redact_target(target)


@given(pairs, st.sampled_from(sorted(SHOWN_PARAMETERS)), secrets, st.booleans(), pairs)
def test_the_user_information_in_any_parameter_is_hidden(before, name, secret, encoded, after):
    value = f"https://user:{secret}@host/path".replace("&", "")
    pair = f"{name}={quote(value, safe='')}" if encoded else f"{name}={value.replace('+', '%2B')}"
    assert PLAIN not in redact_target("/images/create?" + "&".join([*before, pair, *after]))


@given(secrets, st.sampled_from(["http://u:{}@host/info", "http://{}@host/info", "/images/u:{}@host/a/push"]))
def test_the_user_information_in_a_path_is_hidden(secret, form):
    assert PLAIN not in redact_target(form.format(secret))


@given(st.dictionaries(st.text(max_size=5), simple, min_size=1))
def test_build_arguments_are_hidden(arguments):
    assert PLAIN not in redact_target(f"/build?t=a&buildargs={quote(json.dumps(arguments))}")


@given(st.text())
def test_any_target_can_be_shown_in_printable_ascii(target):
    shown = redact_target(target)
    assert shown.replace("…", "").isascii()
    assert shown.isprintable()
