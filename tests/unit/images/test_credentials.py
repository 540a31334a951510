import base64
import json
from pathlib import Path

import pytest

from sockwarden.images.credentials import MAX_CONFIG_BYTES, Basic, DockerConfig, NoCredentials


def pair(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(tmp_path: Path, auths: object) -> DockerConfig:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": auths}))
    return DockerConfig(path)


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("reg.example:5000", "reg.example:5000"),
        ("http://reg.example/v2/", "reg.example"),
    ],
)
def test_an_entry_is_found_by_the_name_in_references(tmp_path, key, registry):
    assert config(tmp_path, {key: {"auth": pair("ci:p:w")}}).find(registry) == Basic("ci", "p:w")


@pytest.mark.parametrize(
    "entry", [{}, [], {"auth": 1}, {"auth": "?"}, {"auth": pair("ci")}, {"auth": pair("ci:")}, {"auth": "/w=="}]
)
def test_an_entry_without_a_pair_counts_as_anonymous(tmp_path, entry):
    assert config(tmp_path, {"reg.example": entry}).find("reg.example") is None


def test_an_absent_file_counts_as_empty(tmp_path):
    credentials = DockerConfig(tmp_path / "config.json")
    assert (credentials.find("docker.io"), credentials.fault) == (None, "")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths":[]}', "\udcff", "[" * 9000, " " * (MAX_CONFIG_BYTES + 1)])
def test_a_damaged_file_counts_as_empty_and_says_so(tmp_path, text):
    (tmp_path / "config.json").write_text(text, errors="surrogateescape")
    credentials = DockerConfig(tmp_path / "config.json")
    assert credentials.find("docker.io") is None
    assert credentials.fault.startswith("ignoring ")


def test_a_changed_file_is_read_again(tmp_path):
    credentials = config(tmp_path, {})
    assert credentials.find("reg.example") is None
    config(tmp_path, {"reg.example": {"auth": pair("ci:pw")}})
    assert credentials.find("reg.example") == Basic("ci", "pw")


def test_an_unchanged_file_is_not_read_again(tmp_path):
    credentials = config(tmp_path, {"reg.example": {"auth": pair("ci:pw")}})
    assert credentials.find("reg.example") is credentials.find("reg.example")


def test_a_password_does_not_show():
    assert "pw" not in repr(Basic("ci", "pw"))


def test_anonymous_is_anonymous_everywhere():
    assert NoCredentials().find("docker.io") is None
