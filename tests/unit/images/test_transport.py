import asyncio
from typing import Any

import httpx
import pytest

from sockwarden.dockerapi.manifest import MAX_MANIFEST_BYTES
from sockwarden.errors import RegistryError
from sockwarden.images.endpoints import RegistrySettings, Repository

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
