"""Getting into registries: real docker-registry processes with passwords, tokens, TLS and a mirror in front of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.integration.pki import CLIENT, SERVER, Authority
from tests.integration.real_registry import RealRegistry
from tests.integration.token_server import TokenServer

from sockwarden.demo import expected
from sockwarden.demo.image import busybox_tree, import_image
from sockwarden.dockerapi.manifest import OCI_INDEX, OCI_MANIFEST
from sockwarden.errors import RegistryError
from sockwarden.images.certificates import Certificates
from sockwarden.images.credentials import DockerConfig
from sockwarden.images.credhelper import CredentialHelper
from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.registry import NotInRegistryError, Outcome, RegistryClient
from sockwarden.images.resolver import Resolver, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

PASSWORD = "hunter2"
HTPASSWD = "ci:$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n"
"""bcrypt of that password: docker-registry takes nothing else."""

OTHER_NAME = "subjectAltName=DNS:registry.example"


class Image(NamedTuple):
    """What the store holds under ``app:1``."""

    digest: str
    config: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """A registry without any lock: the others serve its data."""
    yield from RealRegistry.running(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def image(store: RealRegistry) -> Image:
    store.image("other", "1", "other")
    return Image(*store.image("app", "1", "app"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def front(store: RealRegistry, image: Image, tmp_path: Path) -> Iterator[Callable[..., RealRegistry]]:
    """Start a registry with the store's data and what it is given of configuration."""
    assert image
    with contextlib.ExitStack() as stack:

        def start(**tables: Any) -> RealRegistry:
            folder = tmp_path / "front"
            folder.mkdir()
            (folder / "htpasswd").write_text(HTPASSWD)
            return stack.enter_context(contextlib.contextmanager(RealRegistry.running)(folder, store, **tables))

        yield start


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """An empty certs.d."""
    folder = tmp_path / "certs.d"
    folder.mkdir()
    return folder


def basic(tmp_path: Path) -> dict[str, Any]:
    return {"auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "front" / "htpasswd")}}}


def login(tmp_path: Path, helper: str = "", **document: Any) -> DockerConfig:
    """Return what this config.json means; ``helper`` is the shell text of docker-credential-test."""
    program = tmp_path / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{helper}\n")
    program.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps(document))
    return DockerConfig(tmp_path / "config.json", CredentialHelper(search=f"{tmp_path}:/usr/bin:/bin"))


def stored(host: str, password: str = PASSWORD) -> dict[str, Any]:
    return {"auths": {host: {"auth": base64.b64encode(f"ci:{password}".encode()).decode()}}}


def ask(
    host: str,
    credentials: DockerConfig | None = None,
    path: str = "app",
    question: Callable[[RegistryClient, Repository], Awaitable[Any]] | None = None,
    **settings: Any,
) -> Any:
    """Return the config digest of ``path:1``, or the error in words and remedy."""

    async def config(client: RegistryClient, repository: Repository) -> str | None:
        return (await client.manifest(repository, await client.head(repository, "1"))).config

    async def whole() -> Any:
        client = RegistryClient(RegistrySettings(**settings), credentials)
        try:
            return await (question or config)(client, Repository(host, path))
        except RegistryError as error:
            return f"{error} | {error.remedy}"
        finally:
            await client.close()

    return asyncio.run(whole())


# ---- passwords and helpers


def test_a_stored_password_opens_a_registry(front, image, tmp_path):
    host = front(**basic(tmp_path)).host
    assert ask(host, login(tmp_path, **stored(host))) == image.config


def test_without_a_password_docker_login_is_named(front, tmp_path):
    host = front(**basic(tmp_path)).host
    assert ask(host).startswith(f"{host} wants credentials for app | check the name")
    assert "docker login" in ask(host)


def test_a_wrong_password_is_a_denial_that_does_not_show_it(front, tmp_path):
    host = front(**basic(tmp_path)).host
    answer = ask(host, login(tmp_path, **stored(host, "wr0ng")))
    assert answer.startswith(f"{host} refuses app | ")
    assert "wr0ng" not in answer


def test_a_password_of_another_registry_stays_at_home(front, tmp_path):
    host = front(**basic(tmp_path)).host
    assert "wants credentials" in ask(host, login(tmp_path, **stored("registry.example")))


def test_a_credential_helper_opens_a_registry(front, image, tmp_path):
    host = front(**basic(tmp_path)).host
    helper = f"""[ "$(cat)" = {host} ] || exit 1; echo '{{"Username":"ci","Secret":"{PASSWORD}"}}'"""
    assert ask(host, login(tmp_path, helper, credHelpers={host: "test"})) == image.config


def test_a_credential_helper_that_fails_is_told_in_the_denial_and_in_the_faults(front, tmp_path):
    host = front(**basic(tmp_path)).host
    credentials = login(tmp_path, f"echo {PASSWORD}; exit 1", credsStore="test")
    fault = f"{host} is asked without credentials: docker-credential-test failed with status 1"
    assert ask(host, credentials).startswith(f"{host} wants credentials for app; {fault} | ")
    assert credentials.faults == (fault,)


def test_a_registry_that_wants_nothing_is_open_though_the_helper_fails(store, image, tmp_path):
    assert ask(store.host, login(tmp_path, "exit 1", credsStore="test")) == image.config


# ---- tokens


@pytest.fixture
def tokens(authority: Authority) -> TokenServer:
    return TokenServer(authority.signer(), {"": "public", f"ci:{PASSWORD}": "app", "refresh r3fresh": "app"})


def test_a_signed_token_opens_a_repository(front, image, tokens, tmp_path):
    with tokens.serving() as auth:
        host = front(auth=auth).host
        assert ask(host, login(tmp_path, **stored(host))) == image.config
    assert tokens.asked == ["GET repository:app:pull"]


def test_an_anonymous_token_opens_a_public_repository(front, store, tokens):
    _, config = store.image("public", "1", "public")
    with tokens.serving() as auth:
        assert ask(front(auth=auth).host, path="public") == config


def test_an_anonymous_token_does_not_open_a_private_repository(front, tokens):
    with tokens.serving() as auth:
        host = front(auth=auth).host
        assert ask(host).startswith(f"{host} refuses app | ")


def test_an_identity_token_opens_a_repository(front, image, tokens, tmp_path):
    with tokens.serving() as auth:
        host = front(auth=auth).host
        assert ask(host, login(tmp_path, auths={host: {"identitytoken": "r3fresh"}})) == image.config
    assert tokens.asked == ["POST repository:app:pull"]


def test_an_identity_token_of_a_helper_opens_a_repository(front, image, tokens, tmp_path):
    helper = """echo '{"Username":"<token>","Secret":"r3fresh"}'"""
    with tokens.serving() as auth:
        assert ask(front(auth=auth).host, login(tmp_path, helper, credsStore="test")) == image.config
    assert tokens.asked == ["POST repository:app:pull"]


def test_an_identity_token_that_was_taken_back_is_a_denial(front, tokens, tmp_path):
    with tokens.serving() as auth:
        host = front(auth=auth).host
        answer = ask(host, login(tmp_path, auths={host: {"identitytoken": "0ld"}}))
    assert answer.startswith(f"the token server 127.0.0.1 of {host} refuses app | ")


def test_no_secret_is_in_any_log_of_ours(front, image, tokens, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with tokens.serving() as auth:
        host = front(auth=auth).host
        for document in (stored(host), {"auths": {host: {"identitytoken": "r3fresh"}}}):
            assert ask(host, login(tmp_path, **document)) == image.config
    pair = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    assert caplog.records
    assert [secret for secret in (PASSWORD, pair, "r3fresh", "Bearer ey") if secret in caplog.text] == []


# ---- TLS


def over_tls(authority: Authority, name: str = SERVER, *, mutual: bool = False) -> dict[str, Any]:
    pair = authority.issue("server", name)
    tls: dict[str, Any] = {"certificate": str(pair.certificate), "key": str(pair.key)}
    return {"http": {"tls": tls | ({"clientcas": [str(authority.own.certificate)]} if mutual else {})}}


def trust(certs: Path, host: str, authority: Authority | None, *, show: bool = False) -> Certificates:
    """Make the folder for ``host``, with a CA and what to show."""
    folder = certs / host
    folder.mkdir(exist_ok=True)
    if authority is not None:
        shutil.copy(authority.own.certificate, folder / "ca.crt")
    if show and authority is not None:
        pair = authority.issue("client", CLIENT)
        shutil.copy(pair.certificate, folder / "client.cert")
        shutil.copy(pair.key, folder / "client.key")
    return Certificates(certs)


def test_a_folder_with_its_ca_opens_a_registry_over_tls(front, image, authority, certs):
    host = front(**over_tls(authority)).host
    assert ask(host, certificates=trust(certs, host, authority)) == image.config


def test_without_a_folder_a_registry_of_this_host_is_asked_over_http_and_the_folder_is_named(front, authority, certs):
    host = front(**over_tls(authority)).host
    assert ask(host, certificates=Certificates(certs)) == (
        f"{host} answered 400 to a question over plain HTTP | "
        f"if it speaks TLS, make a folder {host} with its CA in registry.certs_dir"
    )


def test_a_folder_without_the_ca_trusts_nobody(front, authority, certs):
    host = front(**over_tls(authority)).host
    answer = ask(host, certificates=trust(certs, host, None))
    assert answer.startswith(f"the certificate of {host} is not trusted: ")
    assert answer.endswith(f"put the certificate of its CA into the folder {host} of registry.certs_dir")


def test_another_ca_of_the_same_name_is_not_trusted(front, authority, certs, tmp_path):
    host = front(**over_tls(authority)).host
    (tmp_path / "second").mkdir()
    assert "is not trusted" in ask(host, certificates=trust(certs, host, Authority(tmp_path / "second")))


def test_a_certificate_for_another_host_is_not_trusted(front, authority, certs):
    host = front(**over_tls(authority, OTHER_NAME)).host
    answer = ask(host, certificates=trust(certs, host, authority))
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in answer


def test_there_is_no_step_down_to_http_where_there_is_a_folder(store, image, authority, certs):
    assert image
    assert ask(store.host, certificates=trust(certs, store.host, authority)) == (
        f"TLS with {store.host} failed: wrong version number | if it speaks no TLS, list it in registry.plain_http"
    )


def test_a_ca_that_is_put_there_counts_from_the_next_question_on(front, image, authority, certs):
    host = front(**over_tls(authority)).host

    async def before_and_after(client: RegistryClient, repository: Repository) -> Any:
        with pytest.raises(RegistryError, match="over plain HTTP"):
            await client.head(repository, "1")
        trust(certs, host, authority)
        digest = await client.head(repository, "1")
        (certs / host / "ca.crt").write_text("broken")
        with pytest.raises(RegistryError, match="it holds no certificate"):
            await client.head(repository, "1")
        return digest

    assert ask(host, question=before_and_after, certificates=Certificates(certs)) == image.digest


def test_a_certificate_of_ours_opens_a_registry_that_asks_for_one(front, image, authority, certs):
    host = front(**over_tls(authority, mutual=True)).host
    assert ask(host, certificates=trust(certs, host, authority, show=True)) == image.config


def test_a_registry_that_asks_for_a_certificate_in_vain_is_told_apart(front, authority, certs):
    host = front(**over_tls(authority, mutual=True)).host
    answer = ask(host, certificates=trust(certs, host, authority))
    assert answer.startswith(f"TLS with {host} failed: ")
    assert "put client.cert and client.key into" in answer


def test_a_token_server_is_met_with_the_cas_of_its_registry(front, image, authority, certs, tmp_path):
    tls = authority.issue("tokens", SERVER)
    tokens = TokenServer(authority.signer(), {f"ci:{PASSWORD}": "app"}, tls)
    with tokens.serving() as auth:
        host = front(auth=auth, **over_tls(authority)).host
        answer = ask(host, login(tmp_path, **stored(host)), certificates=trust(certs, host, authority))
    assert answer == image.config


def test_a_password_is_not_sent_to_a_token_server_without_tls(front, authority, certs, tokens, tmp_path):
    with tokens.serving() as auth:
        host = front(auth=auth, **over_tls(authority)).host
        answer = ask(host, login(tmp_path, **stored(host)), certificates=trust(certs, host, authority))
    assert "would be asked without TLS" in answer
    assert tokens.asked == []


def test_a_mirror_over_tls_answers_for_docker_hub(front, store, authority, certs):
    _, config = store.image("library/docker", "1", "docker")
    host = front(**over_tls(authority)).host
    mirrors = {"docker.io": f"https://{host}"}
    trusted = trust(certs, host, authority)
    assert ask("docker.io", path="library/docker", mirrors=mirrors, certificates=trusted) == config


# ---- what is asked, and how often


def test_a_cache_in_front_of_a_registry_answers_for_it(store, image, tmp_path):
    (tmp_path / "cache").mkdir()
    running = contextlib.contextmanager(RealRegistry.running)
    with running(tmp_path / "cache", proxy={"remoteurl": f"http://{store.host}"}) as cache:
        mirrors = {"registry.invalid": f"http://{cache.host}"}  # RFC 6761: nothing of that name can exist
        assert ask("registry.invalid", mirrors=mirrors) == image.config
        asked = cache.asked()
        assert ask("registry.invalid", path="nothing", mirrors=mirrors).startswith("registry.invalid cannot be reached")
    assert asked == ["HEAD /v2/app/manifests/1", f"GET /v2/app/manifests/{image.digest}"]


def test_an_unchanged_tag_costs_one_head(store):
    digest, _ = store.image("counted", "1", "counted")
    target = Target(Repository(store.host, "counted"), "1")
    store.asked()

    async def thrice() -> None:
        resolver = Resolver(RegistryClient(RegistrySettings()))
        resolver.add([target])
        for _ in range(3):
            await resolver.refresh(target)
        await resolver.close()

    asyncio.run(thrice())
    name = "/v2/counted/manifests"
    assert store.asked() == [f"HEAD {name}/1", f"GET {name}/{digest}", f"HEAD {name}/1", f"HEAD {name}/1"]


def test_questions_at_once_for_one_tag_are_one_question(store):
    digest, _ = store.image("at-once", "1", "at-once")
    store.asked()

    async def many(client: RegistryClient, repository: Repository) -> set[str]:
        return set(await asyncio.gather(*(client.head(repository, "1") for _ in range(50))))

    assert ask(store.host, path="at-once", question=many) == {digest}
    assert store.asked() == ["HEAD /v2/at-once/manifests/1"]


def test_an_index_in_an_index_with_attestations_names_every_image(store):
    below = store.index("nested", "inner", OCI_INDEX, OCI_MANIFEST, "amd64", "arm64")
    marked, marked_config = store.image("nested", "marked", "marked", OCI_MANIFEST)
    unmarked, unmarked_config = store.image("nested", "unmarked", "unmarked", OCI_MANIFEST)
    attests = {"vnd.docker.reference.type": "attestation-manifest"}
    nowhere = {"os": "unknown", "architecture": "unknown"}
    listed = [
        {"mediaType": OCI_INDEX, "digest": below[0], "size": 1},
        {"mediaType": OCI_MANIFEST, "digest": marked, "size": 1, "platform": nowhere, "annotations": attests},
        {"mediaType": OCI_MANIFEST, "digest": unmarked, "size": 1, "platform": nowhere},
    ]
    outer = store.put("nested", "1", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})

    async def closure(client: RegistryClient, repository: Repository) -> frozenset[str]:
        return await Resolver(client).closure(repository, outer)

    found = ask(store.host, path="nested", question=closure)
    assert found == {outer, below[0], *below[1], unmarked, unmarked_config}
    assert not found & {marked, marked_config}


def test_the_outcome_of_every_question_is_counted(store, image):
    async def count(client: RegistryClient, repository: Repository) -> dict[Outcome, int]:
        await client.head(repository, "1")
        with pytest.raises(NotInRegistryError):
            await client.head(repository, "none")
        assert client.seconds > 0
        return {outcome: count for outcome, count in client.requests.items() if count}

    assert image
    assert ask(store.host, question=count) == {Outcome.ANSWERED: 1, Outcome.NOT_FOUND: 1}


# ---- the whole daemon


@pytest.fixture
def private(front, authority, certs, tmp_path) -> str:
    """The host of a registry over TLS that wants a password; config.json and certs.d are in ``tmp_path``."""
    host: str = front(**basic(tmp_path), **over_tls(authority)).host
    trust(certs, host, authority)
    login(tmp_path, credHelpers={"registry.example": "../x"}, **stored(host))
    return host


def test_the_daemon_gets_into_a_private_registry_by_the_files_of_the_engine(
    private, store, engine, gateway_factory, tmp_path
):
    name = f"{store.host}/private:1"
    busybox_tree(tmp_path / "tree.tar", marker="private")
    import_image(engine, tmp_path / "tree.tar", name)
    engine.docker("push", name)
    policy = expected.policy()
    policy["enhancedContainerIsolation"]["dockerSocketMount"]["imageList"]["images"] = [f"{private}/private:1"]
    registry = {"docker_config": str(tmp_path / "config.json"), "certs_dir": str(tmp_path / "certs.d")}
    gateway = gateway_factory(policy, registry=registry)
    created = gateway.docker("create", "-v", f"{gateway.socket}:/var/run/docker.sock", name)
    assert created.returncode == 0, created.stderr
    gateway.docker.right("rm", created.stdout.strip())
    command = [sys.executable, "-m", "sockwarden", "status", "--json", "--config", str(gateway.warden.files.config)]
    status = json.loads(subprocess.run(command, check=False, capture_output=True).stdout)
    assert [entry["error"] for entry in status["images"]] == [""]
    assert status["registries"]["requests"]["answered"] >= 2
    (fault,) = status["registries"]["faults"]
    assert fault.startswith(f"{tmp_path}/config.json: credHelpers of 'registry.example' is not the name of a")
