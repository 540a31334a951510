import asyncio
import logging
from typing import Any

import httpx
import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.registry import Outcome
from sockwarden.images.secret import Basic, IdentityToken, Secret

APP = Repository("reg.example", "team/app")
CLI = Repository("docker.io", "library/docker")


class Stored:
    """Credentials that notes who asked."""

    def __init__(self, fault: str = "", **known: Secret) -> None:
        self.known = known
        self.asked: list[str] = []
        self.faults = (fault,)

    async def find(self, registry: str) -> Secret | None:
        self.asked.append(registry)
        return self.known.get(registry.replace(".", "_"))

    def fault_of(self, registry: str) -> str:
        return self.faults[0]


def fails(bench: Any, question: Any, *args: Any) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        bench.run(question, *args)
    return caught.value


def token_server(
    realm: str = 'realm="https://auth.example/token"',
    token: str = '{"token":"tok1","expires_in":300}',
    scheme: str = "Bearer",
) -> Any:
    """Return a rule: reg.example wants ``tok1``, auth.example gives it."""

    def rule(request: httpx.Request) -> httpx.Response | None:
        if request.url.host == "auth.example":
            return httpx.Response(200, text=token)
        if request.headers.get("authorization") == "Bearer tok1":
            return None
        return httpx.Response(401, headers={"www-authenticate": f"{scheme} {realm},service=reg"})

    return rule


def test_a_bearer_challenge_is_answered_with_a_token_of_its_realm(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    world.rules.append(token_server())
    assert bench.run(lambda client: client.head(APP, "1")) == digest
    asked = [str(request.url) for request in world.seen if request.url.host == "auth.example"]
    assert asked == ["https://auth.example/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg"]


def test_a_token_serves_until_shortly_before_its_end(bench, world):
    world.image("reg.example", "team/app", "1", "app")
    world.rules.append(token_server())

    async def thrice(client):
        counts = []
        for now in (1000, 1289, 1291):
            bench.clock.now = now
            await client.head(APP, "1")
            counts.append(sum(request.url.host == "auth.example" for request in world.seen))
        return counts

    assert bench.run(thrice) == [1, 1, 2]


def test_stored_credentials_go_to_the_token_realm(bench, world):
    world.image("reg.example", "team/app", "1", "app")
    world.rules.append(token_server())
    bench.run(lambda client: client.head(APP, "1"), None, Stored(reg_example=Basic("ci", "pw")))
    assert [request.headers.get("authorization") for request in world.seen] == [None, "Basic Y2k6cHc=", "Bearer tok1"]


def test_a_basic_challenge_is_answered_with_stored_credentials(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    wants = httpx.Response(401, headers={"www-authenticate": 'Basic realm="x"'})
    world.rules.append(lambda r: None if r.headers.get("authorization") == "Basic Y2k6cHc=" else wants)
    stored = Stored(reg_example=Basic("ci", "pw"))
    assert bench.run(lambda client: client.head(APP, "1"), None, stored) == digest


def test_a_basic_challenge_without_credentials_names_docker_login(bench, world):
    world.rules.append(lambda _: httpx.Response(401, headers={"www-authenticate": "Basic realm=x"}))
    assert "docker login" in fails(bench, lambda client: client.head(APP, "1")).remedy


def test_a_401_without_a_challenge_is_a_denial(bench, world):
    world.rules.append(lambda _: httpx.Response(401))
    assert "wants credentials" in str(fails(bench, lambda client: client.head(APP, "1")))


def test_a_token_that_does_not_open_is_a_denial(bench, world):
    world.rules.append(token_server(token='{"access_token":"other"}'))
    assert "reg.example refuses team/app" in str(fails(bench, lambda client: client.head(APP, "1")))


def test_a_mirror_never_sees_the_credentials_of_the_registry_it_stands_for(bench, world):
    wants = httpx.Response(401, headers={"www-authenticate": "Basic realm=x"})
    world.rules.append(lambda r: wants if r.url.host == "mirror.example" else None)
    world.image("registry-1.docker.io", "library/docker", "cli", "docker")
    stored = Stored(docker_io=Basic("ci", "pw"))
    settings = RegistrySettings(mirrors={"docker.io": "https://mirror.example"})
    bench.run(lambda client: client.head(CLI, "cli"), settings, stored)
    assert stored.asked == ["mirror.example"]


def test_authorization_is_dropped_on_the_way_to_another_host(bench, world):
    world.image("cdn.example", "team/app", "1", "app")

    def rule(request):
        if request.url.host != "reg.example":
            return None
        if "authorization" not in request.headers:
            return httpx.Response(401, headers={"www-authenticate": "Basic realm=x"})
        return httpx.Response(307, headers={"location": "https://cdn.example/v2/team/app/manifests/1"})

    world.rules.append(rule)
    bench.run(lambda client: client.head(APP, "1"), None, Stored(reg_example=Basic("ci", "pw")))
    assert "authorization" not in world.seen[-1].headers


@pytest.mark.parametrize(
    ("realm", "part"),
    [
        ('realm="http://auth.example/token"', "without TLS"),
        ('realm="http://127.0.0.1:1/token"', "without TLS"),
        ('realm="file:///etc/shadow"', "neither http nor https"),
        ("other=1", "neither http nor https"),
    ],
)
def test_a_token_realm_that_leaves_tls_is_refused(bench, world, realm, part):
    world.rules.append(token_server(realm))
    assert part in str(fails(bench, lambda client: client.head(APP, "1")))


@pytest.mark.parametrize("token", ["", "[]", "{}", '{"token":7}', '{"token":"a\\r\\nb: c"}', "[" * 5000])
def test_a_token_that_could_end_a_header_is_refused(bench, world, token):
    world.rules.append(token_server(token=token))
    assert "token" in str(fails(bench, lambda client: client.head(APP, "1")))


@pytest.mark.parametrize(("status", "part"), [(401, "refuses"), (403, "refuses"), (500, "answered 500")])
def test_a_token_server_that_refuses_is_named(bench, world, status, part):
    world.rules.append(lambda r: httpx.Response(status) if r.url.host == "auth.example" else None)
    world.rules.append(token_server())
    error = fails(bench, lambda client: client.head(APP, "1"), None, Stored(reg_example=Basic("ci", "hunter2")))
    assert part in str(error)
    assert "hunter2" not in f"{error} {error.remedy}"


def test_a_loopback_registry_may_name_a_loopback_realm_without_tls(bench, world):
    digest, _ = world.image("127.0.0.1:5000", "app", "1", "app")

    def rule(request):
        if request.url.port == 5001:
            return httpx.Response(200, json={"token": "t"})
        if "authorization" in request.headers:
            return None
        return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="http://localhost:5001/t"'})

    world.rules.append(rule)
    assert bench.run(lambda client: client.head(Repository("127.0.0.1:5000", "app"), "1")) == digest


def test_tokens_beyond_the_limit_push_out_the_oldest(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.tokens.MAX_TOKENS", 2)

    def rule(request):
        if request.url.host == "auth.example":
            return httpx.Response(200, json={"token": "tok1"})
        wants = 'Bearer realm="https://auth.example/token"'
        return None if "authorization" in request.headers else httpx.Response(401, headers={"www-authenticate": wants})

    world.rules.append(rule)

    async def fill(client):
        for number in range(3):
            world.image("reg.example", f"app{number}", "1", "app")
            await client.head(Repository("reg.example", f"app{number}"), "1")
        world.seen.clear()
        await client.head(Repository("reg.example", "app2"), "1")
        await client.head(Repository("reg.example", "app0"), "1")
        return [request.url.host for request in world.seen]

    assert bench.run(fill) == ["reg.example", "reg.example", "auth.example", "reg.example"]


def with_refresh(world: Any) -> Any:
    """Let auth.example give a token for the identity token ``r3fresh`` alone, and return the forms it got."""
    forms: list[dict[str, str]] = []

    def rule(request: httpx.Request) -> httpx.Response | None:
        if request.url.host != "auth.example":
            return None
        forms.append(dict(httpx.QueryParams(request.content.decode())))
        right = request.method == "POST" and forms[-1].get("refresh_token") == "r3fresh"
        return None if right else httpx.Response(401)

    world.rules += [rule, token_server()]
    return forms


def test_an_identity_token_is_posted_for_an_access_token(bench, world):
    digest, _ = world.image("reg.example", "team/app", "1", "app")
    forms = with_refresh(world)
    stored = Stored(reg_example=IdentityToken("r3fresh"))
    assert bench.run(lambda client: client.head(APP, "1"), None, stored) == digest
    assert forms == [
        {
            "grant_type": "refresh_token",
            "service": "reg",
            "client_id": "sockwarden",
            "scope": "repository:team/app:pull",
            "refresh_token": "r3fresh",
        }
    ]
    assert str(world.seen[1].url) == "https://auth.example/token"
    assert "authorization" not in world.seen[1].headers


def test_an_identity_token_that_is_refused_is_a_denial_without_it(bench, world):
    with_refresh(world)
    error = fails(bench, lambda client: client.head(APP, "1"), None, Stored(reg_example=IdentityToken("0ld")))
    assert str(error) == "the token server auth.example of reg.example refuses team/app"


def test_an_identity_token_is_no_answer_to_a_basic_challenge(bench, world):
    world.rules.append(lambda _: httpx.Response(401, headers={"www-authenticate": "Basic realm=x"}))
    stored = Stored(reg_example=IdentityToken("r3fresh"))
    assert "wants credentials" in str(fails(bench, lambda client: client.head(APP, "1"), None, stored))


def test_an_identity_token_is_never_redirected(bench, world):
    elsewhere = httpx.Response(307, headers={"location": "https://other.example/token"})
    world.rules.append(lambda request: elsewhere if request.url.host == "auth.example" else None)
    world.rules.append(token_server())
    stored = Stored(reg_example=IdentityToken("r3fresh"))
    error = fails(bench, lambda client: client.head(APP, "1"), None, stored)
    assert str(error) == "auth.example redirects a question that holds a secret"
    assert "other.example" not in [request.url.host for request in world.seen]


def test_a_denial_says_why_there_are_no_credentials(bench, world):
    world.rules.append(lambda _: httpx.Response(401, headers={"www-authenticate": "Basic realm=x"}))
    error = fails(bench, lambda client: client.head(APP, "1"), None, Stored(fault="docker-credential-x is lost"))
    assert str(error) == "reg.example wants credentials for team/app; docker-credential-x is lost"


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_server_that_asks_for_a_wait_gets_it(bench, world, status):
    world.image("reg.example", "team/app", "1", "app")
    wait = httpx.Response(status, headers={"retry-after": "100"})
    world.rules.append(lambda request: wait if request.url.host == "auth.example" else None)
    world.rules.append(token_server())

    async def twice(client):
        for _ in range(2):
            with pytest.raises(RegistryError, match="left alone"):
                await client.head(APP, "1")
        return client.requests

    assert bench.run(twice)[Outcome.LIMITED] == 1
    assert len(world.seen) == 2


def test_questions_at_once_share_one_token(bench, world):
    digests = [world.image("reg.example", "team/app", tag, tag)[0] for tag in "1234"]
    world.rules.append(token_server())

    async def at_once(client):
        world.gate = asyncio.Event()
        asked = [asyncio.create_task(client.head(APP, tag)) for tag in "1234"]
        while len(world.seen) < 4:
            world.arrived.clear()
            await world.arrived.wait()
        world.gate.set()
        return await asyncio.gather(*asked)

    assert bench.run(at_once) == digests
    assert sum(request.url.host == "auth.example" for request in world.seen) == 1


def test_no_secret_is_in_any_log(bench, world, caplog):
    caplog.set_level(logging.DEBUG)
    world.image("reg.example", "team/app", "1", "app")
    with_refresh(world)
    bench.run(lambda client: client.head(APP, "1"), None, Stored(reg_example=IdentityToken("r3fresh")))
    assert "r3fresh" not in caplog.text
    assert "tok1" not in caplog.text
