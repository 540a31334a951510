import email.utils
import time
from typing import Any

import httpx
import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.credentials import NoCredentials
from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.patience import MAX_WAIT_SECONDS, RateLimit
from sockwarden.images.registry import NotInRegistryError, Outcome

APP = Repository("reg.example", "team/app")
CLI = Repository("docker.io", "library/docker")


def fails(bench: Any, question: Any, *args: Any) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        bench.run(question, *args)
    return caught.value


def test_a_tags_digest_is_asked_by_head_over_tls(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    assert bench.run(lambda client: client.head(APP, "1")) == digest
    assert [str(request.url) for request in world.seen] == ["https://reg.example/v2/team/app/manifests/1"]


def test_docker_hub_is_asked_at_its_api_host(bench, world):
    world.image("registry-1.docker.io", "library/docker", "cli", "docker")
    bench.run(lambda client: client.head(CLI, "cli"))
    assert world.seen[0].url.host == "registry-1.docker.io"


def test_all_four_manifest_types_are_accepted(bench, world):
    world.image("reg.example", "team/app", "1", "app")
    bench.run(lambda client: client.manifest(APP, "1"))
    assert world.seen[0].headers["accept"].count("application/vnd.") == 4


def test_a_head_without_a_digest_is_followed_by_a_get(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    world.rules.append(lambda request: httpx.Response(200) if request.method == "HEAD" else None)
    assert bench.run(lambda client: client.head(APP, "1")) == digest


def test_a_head_by_digest_that_names_another_digest_is_checked_by_a_get(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    lie = httpx.Response(200, headers={"docker-content-digest": "sha256:" + "0" * 64})
    world.rules.append(lambda request: lie if request.method == "HEAD" else None)
    assert bench.run(lambda client: client.head(APP, digest)) == digest


def test_what_the_registry_itself_denies_is_not_in_the_registry(bench):
    error = fails(bench, lambda client: client.head(APP, "1"))
    assert isinstance(error, NotInRegistryError)
    assert "reg.example has no reg.example/team/app:1" in str(error)


def test_a_404_page_of_something_else_is_no_answer(bench, world):
    world.rules.append(lambda _: httpx.Response(404, text="<html>not here</html>"))
    error = fails(bench, lambda client: client.head(APP, "1"))
    assert not isinstance(error, NotInRegistryError)


@pytest.mark.parametrize("body", ["[]", '{"errors":{}}', '{"errors":[1,{"code":2}]}', "[" * 5000])
def test_a_404_with_a_malformed_error_body_is_no_answer(bench, world, body):
    world.rules.append(lambda _: httpx.Response(404, text=body))
    assert not isinstance(fails(bench, lambda client: client.manifest(APP, "1")), NotInRegistryError)


def test_a_body_that_does_not_hash_to_its_digest_is_refused(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    _, other = world.stored["reg.example", "team/app", "1"]
    world.stored["reg.example", "team/app", digest] = ("x", other + b" ")
    assert "bytes that hash to" in str(fails(bench, lambda client: client.manifest(APP, digest)))


def test_a_body_that_does_not_hash_to_the_header_is_refused(bench, world):
    world.image("reg.example", "team/app", "1", "app")
    _, body = world.stored["reg.example", "team/app", "1"]
    headers = {"docker-content-digest": "sha256:" + "0" * 64}
    world.rules.append(lambda _: httpx.Response(200, headers=headers, content=body))
    assert "bytes that hash to" in str(fails(bench, lambda client: client.manifest(APP, "1")))


def test_verified_content_is_known_afterwards(bench, world):
    digest, config = world.image("reg.example", "team/app", "1", "app")

    async def ask(client):
        assert client.known(digest) is None
        await client.manifest(APP, "1")
        return client.known(digest).config, client.cache_hits

    assert bench.run(ask) == (config, 1)


def test_the_mirror_is_asked_first(bench, world):
    world.image("127.0.0.1:5000", "library/docker", "cli", "docker")
    settings = RegistrySettings(mirrors={"docker.io": "http://127.0.0.1:5000/"})
    bench.run(lambda client: client.head(CLI, "cli"), settings)
    assert [str(request.url) for request in world.seen] == ["http://127.0.0.1:5000/v2/library/docker/manifests/cli"]


def test_the_origin_answers_for_a_mirror_that_is_down(bench, world):
    digest, _ = world.image("registry-1.docker.io", "library/docker", "cli", "docker")
    world.down.add("127.0.0.1:5000")
    settings = RegistrySettings(mirrors={"docker.io": "http://127.0.0.1:5000"})
    assert bench.run(lambda client: client.head(CLI, "cli"), settings) == digest


def test_the_origin_answers_for_a_mirror_that_lies(bench, world):
    digest, _ = world.image("registry-1.docker.io", "library/docker", "cli", "docker")
    world.stored["127.0.0.1:5000", "library/docker", digest] = ("x", b"{}")
    settings = RegistrySettings(mirrors={"docker.io": "http://127.0.0.1:5000"})
    assert bench.run(lambda client: client.manifest(CLI, digest), settings).digest == digest


def test_a_mirror_without_tls_on_another_host_is_refused():
    with pytest.raises(RegistryError, match=r"the mirror of docker\.io cannot be used"):
        RegistrySettings(mirrors={"docker.io": "http://mirror.example"})


def test_a_silent_registry_is_left_alone_for_a_moment(bench, world):
    world.down.add("reg.example")

    async def twice(client):
        for tag in ("1", "2"):
            with pytest.raises(RegistryError, match=r"reg\.example cannot be reached: connection refused"):
                await client.head(APP, tag)
        asked = len(world.seen)
        bench.clock.now += 6
        world.down.clear()
        with pytest.raises(NotInRegistryError):
            await client.head(APP, "1")
        return asked, client.requests

    asked, requests = bench.run(twice)
    assert (asked, requests[Outcome.UNREACHABLE], requests[Outcome.NOT_FOUND]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 119, 133),
        ("999999", MAX_WAIT_SECONDS - 1, MAX_WAIT_SECONDS * 1.11),
        ("0", 0.5, 2),
        ("", 59, 67),
        ("soon", 59, 67),
        ("in 300 seconds", 200, 331),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_within_bounds(bench, world, status, header, least, most):
    if header == "in 300 seconds":  # as a date, and as late as possible: collecting the tests may be long ago
        header = email.utils.formatdate(time.time() + 300, usegmt=True)
    headers = {"retry-after": header} if header else {}
    world.rules.append(lambda _: httpx.Response(status, headers=headers))

    async def ask(client):
        for offset, asked in ((0, 1), (least, 1), (most, 2)):
            bench.clock.now = 1000 + offset
            with pytest.raises(RegistryError, match="left alone"):
                await client.head(APP, "1")
            assert len(world.seen) == asked

    bench.run(ask)


def test_a_tag_that_is_none_is_our_own_mistake(bench):
    with pytest.raises(AssertionError):
        bench.run(lambda client: client.head(APP, "../x"))


def test_manifests_beyond_the_limit_push_out_the_oldest(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.registry.MAX_KEPT_MANIFESTS", 2)
    digests = [world.image("reg.example", "team/app", tag, tag)[0] for tag in ("1", "2", "3")]

    async def fill(client):
        for digest in digests:
            await client.manifest(APP, digest)
        return [client.known(digest) is not None for digest in digests]

    assert bench.run(fill) == [False, True, True]


def test_a_403_is_a_denial(bench, world):
    world.rules.append(lambda _: httpx.Response(403))
    assert "reg.example refuses team/app" in str(fails(bench, lambda client: client.head(APP, "1")))


def test_the_pull_limit_that_a_registry_tells_of_is_kept(bench, world):
    headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    world.rules.append(
        lambda _: httpx.Response(200, headers={**headers, "docker-content-digest": "sha256:" + "a" * 64})
    )

    async def ask(client):
        await client.head(CLI, "cli")
        return dict(client.limits)

    assert bench.run(ask) == {"registry-1.docker.io": RateLimit(100, 76, 21600)}


def test_the_time_of_questions_is_summed(bench, world):
    world.image("reg.example", "team/app", "1", "app")

    def slowly(_):
        bench.clock.now += 3

    world.rules.append(slowly)

    async def ask(client):
        await client.head(APP, "1")
        return client.seconds

    assert bench.run(ask) == 3


def test_a_400_over_plain_http_names_the_folder_of_certificates(bench, world):
    world.rules.append(lambda _: httpx.Response(400))
    error = fails(bench, lambda client: client.manifest(Repository("127.0.0.1:5000", "app"), "1"))
    assert "over plain HTTP" in str(error)
    assert "127.0.0.1:5000" in error.remedy


def test_faults_of_the_credentials_are_told(bench):
    class Broken(NoCredentials):
        faults = ("docker-credential-x is lost",)

    async def ask(client):
        return client.faults

    assert bench.run(ask, None, Broken()) == ("docker-credential-x is lost",)
