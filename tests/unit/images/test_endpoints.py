import pytest

from sockwarden.errors import RegistryError
from sockwarden.images.certificates import Certificates
from sockwarden.images.endpoints import RegistrySettings, Repository, endpoints_of, may_be_plain, trusted_url


@pytest.mark.parametrize(
    "netloc", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"]
)
def test_a_registry_on_this_host_needs_no_tls(netloc):
    assert may_be_plain(netloc, RegistrySettings())


@pytest.mark.parametrize(
    "netloc", ["localhost.example", "127.0.0.1.example:5000", "127.1", "10.0.0.1:5000", "[::2]:5000", "0.0.0.0:5000"]
)
def test_any_other_registry_needs_tls(netloc):
    assert not may_be_plain(netloc, RegistrySettings())


def test_a_listed_registry_needs_no_tls():
    assert may_be_plain("reg.lan:5000", RegistrySettings(plain_http=frozenset({"reg.lan:5000"})))


def test_a_listed_registry_on_another_port_needs_tls():
    assert not may_be_plain("reg.lan:5001", RegistrySettings(plain_http=frozenset({"reg.lan:5000"})))


def test_a_registry_on_this_host_is_asked_over_http():
    (endpoint,) = endpoints_of("127.0.0.1:5000", RegistrySettings())
    assert (endpoint.base, endpoint.host) == ("http://127.0.0.1:5000", "127.0.0.1:5000")


def test_a_mirror_has_its_own_credentials():
    settings = RegistrySettings(mirrors={"docker.io": "https://mirror.example/hub/"})
    mirror, origin = endpoints_of("docker.io", settings)
    assert (mirror.base, mirror.credentials_for) == ("https://mirror.example/hub", "mirror.example")
    assert (origin.base, origin.credentials_for) == ("https://registry-1.docker.io", "docker.io")


@pytest.mark.parametrize("text", ["", "x", "//host/x", "https://", "file:///x"])
def test_an_address_that_is_no_web_address_is_refused(text):
    with pytest.raises(RegistryError, match="neither http nor https"):
        trusted_url(text, after="https", settings=RegistrySettings())


@pytest.mark.parametrize(
    "text",
    [
        "https://[::1",
        "https://[1::2::3]/",
        "https://a:b/",
        "http://a\x00b/",
        "https://a/ b",
        "https://ä/",
        "https://a/" + "x" * 9999,
    ],
)
def test_an_address_that_is_malformed_is_refused(text):
    with pytest.raises(RegistryError, match="not a URL"):
        trusted_url(text, after="https", settings=RegistrySettings())


def test_a_fragment_is_dropped():
    assert (
        str(trusted_url("https://a.example/x#y", after="https", settings=RegistrySettings())) == "https://a.example/x"
    )


def test_a_repository_reads_as_its_canonical_name():
    assert str(Repository("docker.io", "library/docker")) == "docker.io/library/docker"


def test_the_case_of_a_host_does_not_matter():
    settings = RegistrySettings(frozenset({"reg.lan:5000"}), {"reg.lan:5000": "https://mirror.example"})
    mirror, origin = endpoints_of("Reg.LAN:5000", settings)
    assert (mirror.base, origin.base) == ("https://mirror.example", "http://reg.lan:5000")


@pytest.mark.parametrize("text", ["https://[2001:db8::1]/", "https://[2001:db8::1]:5000/x?y=z", "HTTPS://a-b.c_d:5000"])
def test_an_address_over_tls_is_taken(text):
    assert trusted_url(text, after="http", settings=RegistrySettings()).scheme == "https"


def test_a_registry_with_certificates_speaks_tls_even_on_this_host(tmp_path):
    (tmp_path / "127.0.0.1:5000").mkdir()
    settings = RegistrySettings(plain_http=frozenset({"127.0.0.1:5000"}), certificates=Certificates(tmp_path))
    assert [endpoint.base for endpoint in endpoints_of("127.0.0.1:5000", settings)] == ["https://127.0.0.1:5000"]
    with pytest.raises(RegistryError, match="without TLS"):
        trusted_url("http://127.0.0.1:5000/token", after="http", settings=settings)
    assert endpoints_of("127.0.0.1:5001", settings)[0].base == "http://127.0.0.1:5001"


def test_a_mirror_is_asked_as_it_is_written(tmp_path):
    (tmp_path / "127.0.0.1:5000").mkdir()
    mirrors = {"docker.io": "http://127.0.0.1:5000"}
    settings = RegistrySettings(mirrors=mirrors, certificates=Certificates(tmp_path))
    assert endpoints_of("docker.io", settings)[0].base == "http://127.0.0.1:5000"
