import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.credentials import HELPER_KEPT_SECONDS, MAX_CONFIG_BYTES, DockerConfig, NoCredentials
from sockwarden.images.credhelper import CredentialHelper
from sockwarden.images.secret import Basic, IdentityToken, Secret


def pair(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Keychain(CredentialHelper):
    """A helper in memory: what it knows by server, and who asked."""

    def __init__(self, **known: Secret | str) -> None:
        super().__init__()
        self.known = known
        self.asked: list[tuple[str, str]] = []

    async def get(self, name: str, server: str) -> Secret | None:
        self.asked.append((name, server))
        await asyncio.sleep(0)
        found = self.known.get(name)
        if isinstance(found, str):
            raise RegistryError(found)
        return found


class Bench:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.json"
        self.clock = Clock()
        self.keychain = Keychain(good=Basic("ci", "pw"), bad="docker-credential-bad failed with status 1")
        self.credentials = DockerConfig(self.path, self.keychain, self.clock)

    def write(self, **document: Any) -> None:
        self.path.unlink(missing_ok=True)
        self.path.write_text(json.dumps(document))

    def find(self, registry: str = "reg.example") -> Secret | None:
        return asyncio.run(self.credentials.find(registry))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_is_stored_in_the_file_is_found(bench):
    bench.write(auths={"reg.example": {"auth": pair("ci:pw")}, "other.example": {"identitytoken": "t"}})
    assert [bench.find(name) for name in ("Reg.example", "other.example", "x")] == [
        Basic("ci", "pw"),
        IdentityToken("t"),
        None,
    ]


def test_an_absent_file_counts_as_empty(bench):
    assert (bench.find(), bench.credentials.faults) == (None, ())


@pytest.mark.parametrize("text", ["{", "[]", '{"auths":[]}', " " * (MAX_CONFIG_BYTES + 1)])
def test_a_damaged_file_counts_as_empty_and_says_so(bench, text):
    bench.path.write_text(text)
    assert bench.find() is None
    (fault,) = bench.credentials.faults
    assert fault.startswith(f"{bench.path} is ignored: ")
    assert bench.credentials.fault_of("reg.example") == fault


def test_a_file_that_cannot_be_read_is_told_in_the_systems_words(bench):
    bench.path.symlink_to(bench.path)
    assert bench.find() is None
    assert bench.credentials.faults == (f"{bench.path} is ignored: Too many levels of symbolic links",)


def test_a_secret_in_a_damaged_file_is_in_no_fault(bench):
    bench.path.write_text('{"auths":{"reg.example":{"auth":"aHVudGVyMjpodW50ZXIy" "x"}}}')
    bench.find()
    assert "aHVudGVyMjpodW50ZXIy" not in bench.credentials.faults[0]


def test_a_file_that_others_may_write_is_ignored_until_that_is_mended(bench):
    bench.write(auths={"reg.example": {"auth": pair("ci:pw")}})
    bench.path.chmod(0o666)
    assert bench.find() is None
    while bench.find() is None:  # the clock of the file system is coarse
        bench.path.chmod(0o600)
    assert bench.credentials.faults == ()


def test_a_changed_file_is_read_again(bench):
    bench.write()
    assert bench.find() is None
    bench.write(auths={"reg.example": {"auth": pair("ci:pw")}})
    assert bench.find() == Basic("ci", "pw")


def test_an_unchanged_file_is_not_read_again(bench):
    bench.write(auths={"reg.example": {"auth": pair("ci:pw")}})
    assert bench.find() is bench.find()


def test_a_removed_file_takes_its_secrets_along(bench):
    bench.write(auths={"reg.example": {"auth": pair("ci:pw")}})
    assert bench.find() is not None
    bench.path.unlink()
    assert bench.find() is None


@pytest.mark.parametrize(
    ("registry", "server"), [("docker.io", "https://index.docker.io/v1/"), ("reg.example:5000", "reg.example:5000")]
)
def test_a_helper_is_asked_by_the_name_under_which_docker_login_stores(bench, registry, server):
    bench.write(credsStore="good")
    assert bench.find(registry) == Basic("ci", "pw")
    assert bench.keychain.asked == [("good", server)]


def test_where_a_helper_is_set_the_file_does_not_count(bench):
    bench.write(credHelpers={"reg.example": "empty"}, auths={"reg.example": {"auth": pair("ci:pw")}})
    assert bench.find() is None


def test_a_helper_that_fails_counts_as_anonymous_and_says_so(bench):
    bench.write(credsStore="bad")
    assert bench.find() is None
    fault = "reg.example is asked without credentials: docker-credential-bad failed with status 1"
    assert bench.credentials.fault_of("reg.example") == fault
    assert bench.credentials.faults == (fault,)


def test_a_name_that_is_no_helpers_is_told_and_not_run(bench):
    bench.write(credsStore="../../tmp/x")
    assert bench.find() is None
    assert bench.keychain.asked == []
    assert "credsStore is not the name of a credential helper" in bench.credentials.faults[0]


@pytest.mark.parametrize("helper", ["good", "bad", "empty"])
def test_the_word_of_a_helper_is_kept_briefly(bench, helper):
    bench.write(credsStore=helper)
    asked = []
    for now in (0, HELPER_KEPT_SECONDS - 1, HELPER_KEPT_SECONDS + 1):
        bench.clock.now = 1000 + now
        bench.find()
        asked.append(len(bench.keychain.asked))
    assert asked == [1, 1, 2]


def test_questions_at_once_run_one_helper(bench):
    bench.write(credsStore="good")

    async def at_once() -> Any:
        return await asyncio.gather(*(bench.credentials.find("reg.example") for _ in range(9)))

    assert asyncio.run(at_once()) == [Basic("ci", "pw")] * 9
    assert len(bench.keychain.asked) == 1


def test_a_changed_file_ends_what_a_helper_said(bench):
    bench.write(credsStore="good")
    bench.find()
    bench.write(credsStore="good", auths={})
    bench.find()
    assert len(bench.keychain.asked) == 2


def test_answers_beyond_the_limit_push_out_the_oldest(bench, monkeypatch):
    monkeypatch.setattr("sockwarden.images.credentials.MAX_KEPT_ANSWERS", 2)
    bench.write(credsStore="good")
    for name in ("a.example", "b.example", "c.example", "c.example", "a.example"):
        bench.find(name)
    assert [server for _, server in bench.keychain.asked] == ["a.example", "b.example", "c.example", "a.example"]


def test_anonymous_is_anonymous_everywhere():
    nothing = NoCredentials()
    assert (asyncio.run(nothing.find("docker.io")), nothing.fault_of("docker.io"), nothing.faults) == (None, "", ())
