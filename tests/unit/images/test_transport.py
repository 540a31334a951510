import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from sockwarden.dockerapi.manifest import MAX_MANIFEST_BYTES
from sockwarden.errors import RegistryError
from sockwarden.images.certificates import Certificates
from sockwarden.images.endpoints import RegistrySettings, Repository
from sockwarden.images.transport import Transport

APP = Repository("reg.example", "team/app")


def fails(bench: Any, question: Any, *args: Any) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        bench.run(question, *args)
    return caught.value


def test_a_body_beyond_the_limit_is_cut_off(bench, world):
    world.rules.append(lambda _: httpx.Response(200, content=b" " * (MAX_MANIFEST_BYTES + 1)))
    assert f"more than {MAX_MANIFEST_BYTES} bytes" in str(fails(bench, lambda client: client.manifest(APP, "1")))


def test_a_registry_that_never_ends_its_answer_is_given_up(bench, world):
    world.gate = asyncio.Event()
    error = fails(bench, lambda client: client.head(APP, "1"), RegistrySettings(request_seconds=0.01))
    assert "did not answer within 0.01 seconds" in str(error)


def redirect(location: str, status: int = 307) -> Any:
    return lambda request: (
        httpx.Response(status, headers={"location": location}) if request.url.host == "reg.example" else None
    )


def test_a_redirect_over_tls_is_followed(bench, world):
    digest, _ = world.image("cdn.example", "team/app", "1", "app")
    world.rules.append(redirect("https://cdn.example/v2/team/app/manifests/1"))
    assert bench.run(lambda client: client.head(APP, "1")) == digest


@pytest.mark.parametrize(
    ("location", "part"),
    [
        ("http://cdn.example/x", "without TLS"),
        ("http://127.0.0.1/x", "without TLS"),
        ("ftp://cdn.example/x", "neither http nor https"),
        ("https://root:secret@cdn.example/x", "with a user name"),
        ("https://cdn.example:port/x", "not "),
    ],
)
def test_a_redirect_that_leaves_what_is_trusted_is_refused(bench, world, location, part):
    world.rules.append(redirect(location))
    error = fails(bench, lambda client: client.head(APP, "1"))
    assert part in str(error)
    assert "secret" not in str(error)


def test_redirects_have_an_end(bench, world):
    world.rules.append(redirect("/v2/again"))
    assert "redirects more than" in str(fails(bench, lambda client: client.head(APP, "1")))


def test_a_port_that_no_host_has_is_refused(bench, world):
    error = fails(bench, lambda client: client.head(Repository("reg.example:99999", "app"), "1"))
    assert (str(error), world.seen) == ("reg.example:99999 has no port that exists", [])


def test_a_system_error_is_told_in_the_systems_own_words(bench, world):
    def refuse(_):
        raise ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 443)")

    world.rules.append(refuse)
    assert (
        str(fails(bench, lambda client: client.head(APP, "1"))) == "reg.example cannot be reached: Connection refused"
    )


class Closing(httpx.AsyncBaseTransport):
    """A network that counts how often a client of it was closed."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        self.closed += 1


def over(bench: Any, certs: Path, scenario: Any) -> tuple[Any, int]:
    """Run the scenario over one client whose certificates are in ``certs``; return how often one was closed by then."""
    network = Closing(bench.world)

    async def whole() -> tuple[Any, int]:
        transport = Transport(RegistrySettings(certificates=Certificates(certs)), network)
        try:
            return await scenario(transport), network.closed
        finally:
            await transport.close()

    return asyncio.run(whole())


def folders(certs: Path, *names: str) -> None:
    for name in names:
        (certs / name).mkdir()


async def ask(transport: Transport, host: str) -> int:
    return (await transport.send("GET", f"https://{host}/", {}, 1000)).status


def change(certs: Path, host: str, pem: bytes) -> None:
    (certs / host / "ca.crt").unlink(missing_ok=True)
    (certs / host / "ca.crt").write_bytes(pem)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=ca", "-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "pem").read_bytes()


def test_connections_are_shared_until_the_certificates_change(bench, tmp_path, pem):
    folders(tmp_path, "reg.example")

    async def scenario(transport: Transport) -> None:
        await ask(transport, "reg.example")
        await ask(transport, "reg.example")
        change(tmp_path, "reg.example", pem)
        await ask(transport, "reg.example")

    assert over(bench, tmp_path, scenario)[1] == 1


def test_a_question_under_way_ends_well_when_the_certificates_change(bench, world, tmp_path, pem):
    folders(tmp_path, "reg.example")

    async def scenario(transport: Transport) -> list[int]:
        world.gate = asyncio.Event()
        first = asyncio.create_task(ask(transport, "reg.example"))
        await world.arrived.wait()
        change(tmp_path, "reg.example", pem)
        second = asyncio.create_task(ask(transport, "reg.example"))
        while len(world.seen) < 2:
            world.arrived.clear()
            await world.arrived.wait()
        world.gate.set()
        return [await first, await second]

    assert over(bench, tmp_path, scenario) == ([404, 404], 1)


def test_connections_beyond_the_limit_push_out_the_oldest(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("sockwarden.images.transport.MAX_LANES", 2)
    folders(tmp_path, "a.example", "b.example", "c.example")

    async def scenario(transport: Transport) -> list[int]:
        return [await ask(transport, f"{name}.example") for name in "abc"]

    assert over(bench, tmp_path, scenario) == ([404, 404, 404], 1)


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "client.cert"),
        ("WRONG_VERSION_NUMBER", "registry.plain_http"),
        ("SOMETHING_NEW", "check that the registry runs"),
        (None, "check that the registry runs"),
    ],
)
def test_a_failure_of_tls_says_what_to_do(bench, world, reason, part):
    def refuse(_):
        error = ssl.SSLError(1, "[SSL] something")
        error.reason = reason
        raise error

    world.rules.append(refuse)
    error = fails(bench, lambda client: client.head(APP, "1"))
    assert str(error).startswith("TLS with reg.example failed: ")
    assert part in error.remedy


def test_an_answer_that_is_not_http_names_the_folder_of_certificates_where_http_was_spoken(bench, world):
    def refuse(_):
        raise httpx.RemoteProtocolError("illegal status line")

    world.rules.append(refuse)
    near, far = (
        fails(bench, lambda client, host=host: client.head(Repository(host, "app"), "1"))
        for host in ("127.0.0.1:5000", "reg.example")
    )
    assert str(near) == "127.0.0.1:5000 answered what is not HTTP: illegal status line"
    assert ("registry.certs_dir" in near.remedy, far.remedy) == (True, "")
