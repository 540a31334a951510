import base64
import json
from typing import Any

import pytest

from sockwarden.images.loginfile import LoginFile, canonical, parse_login_file
from sockwarden.images.secret import Basic, IdentityToken


def pair(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def parse(**document: Any) -> LoginFile:
    return parse_login_file(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("Reg.Example:5000", "reg.example:5000"),
        ("http://reg.example/v2/", "reg.example"),
    ],
)
def test_a_registry_has_one_name(text, name):
    assert canonical(text) == name


@pytest.mark.parametrize(
    ("entry", "secret"),
    [
        ({"auth": pair("ci:p:w")}, Basic("ci", "p:w")),
        ({"auth": pair("ci:pw\0\0")}, Basic("ci", "pw")),
        ({"username": "ci", "password": "pw"}, Basic("ci", "pw")),
        ({"username": "a", "password": "b", "auth": pair("ci:pw")}, Basic("ci", "pw")),
        ({"auth": pair("00000000-0000-0000-0000-000000000000:"), "identitytoken": "t"}, IdentityToken("t")),
        ({"auth": pair("ci:pw"), "identitytoken": ""}, Basic("ci", "pw")),
    ],
)
def test_an_entry_holds_a_secret(entry, secret):
    assert parse(auths={"https://reg.example/": entry}).auths == {"reg.example": secret}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        [],
        {"auth": 1},
        {"auth": "?"},
        {"auth": pair("ci")},
        {"auth": pair("ci:")},
        {"auth": "/w=="},
        {"username": "ci"},
        {"username": 1, "password": 2},
        {"identitytoken": 1},
    ],
)
def test_an_entry_without_a_secret_is_left_out(entry):
    assert parse(auths={"reg.example": entry}).auths == {}


def test_a_helper_of_its_own_comes_before_the_store():
    login = parse(credsStore="pass", credHelpers={"https://index.docker.io/v1/": "hub", "gcr.io": "gcloud"})
    assert [login.helper_of(name) for name in ("docker.io", "gcr.io", "reg.example")] == ["hub", "gcloud", "pass"]


def test_an_empty_helper_takes_a_registry_out_of_the_store():
    assert parse(credsStore="pass", credHelpers={"reg.example": ""}).helper_of("reg.example") == ""


@pytest.mark.parametrize("name", ["../x", "a/b", "a.b", "a b", "", "x" * 65, "a\n", 1, None, ["a"]])
def test_a_name_that_is_no_helpers_is_never_one(name):
    login = parse(credHelpers={"reg.example": name}, credsStore=name)
    assert (login.helper_of("reg.example"), login.store) == ("", "")
    assert [fault.partition(" is ")[0] for fault in login.faults] == (
        [] if name == "" else ["credHelpers of 'reg.example'", "credsStore"]
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"{", "Expecting"),
        (b"[]", "not a JSON object"),
        (b'{"auths":[]}', "'auths' is not an object"),
        (b'{"credHelpers":"x"}', "'credHelpers' is not an object"),
        (b"\xff", "codec"),
        (b"[" * 9000, "nested too deeply"),
    ],
)
def test_a_damaged_file_is_refused(text, part):
    with pytest.raises(ValueError, match=part):
        parse_login_file(text)


def test_tables_may_be_null():
    assert parse(auths=None, credHelpers=None) == LoginFile()


def test_what_docker_login_keeps_of_docker_hub_for_itself_is_no_password():
    hub = "https://index.docker.io/v1/"
    auths = {hub: {"auth": pair("ci:pw")}} | {
        hub + key: {"auth": pair("ci:x")} for key in ("access-token", "refresh-token")
    }
    assert parse(auths=auths).auths == {"docker.io": Basic("ci", "pw")}


@pytest.mark.parametrize("keys", [("reg.example", "reg.example/team"), ("reg.example/team", "https://reg.example/v2/")])
def test_the_entry_of_a_whole_registry_counts_before_that_of_a_part(keys):
    whole = next(key for key in keys if not key.endswith("team"))
    found = parse(auths={key: {"auth": pair(f"ci:{'pw' if key == whole else 'x'}")} for key in keys}).auths
    assert found == {"reg.example": Basic("ci", "pw")}


def test_the_entry_of_a_part_counts_where_there_is_no_other():
    assert parse(auths={"reg.example/team": {"auth": pair("ci:pw")}}).auths == {"reg.example": Basic("ci", "pw")}
