import pytest

from sockwarden.documents.address import ListenAddress, base_url, is_loopback, parse_listen, registry_host


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9717", "127.0.0.1", 9717),
        ("[::1]:0", "::1", 0),
        ("[0:0::1]:1", "::1", 1),
        ("localhost:65535", "localhost", 65535),
        ("build-7.example.com:80", "build-7.example.com", 80),
    ],
)
def test_an_address_to_listen_on_is_read(text, host, port):
    assert parse_listen(text) == ListenAddress(host, port)


@pytest.mark.parametrize("text", ["127.0.0.1:9717", "[::1]:0"])
def test_an_address_is_shown_as_it_was_written(text):
    assert str(parse_listen(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the port is missing"),
        ("localhost", "the port is missing"),
        ("[::1]", "the port is missing"),
        (":9717", "the host is missing"),
        ("::1:9717", "an IPv6 address needs brackets, as in [::1]:9717"),
        ("[::1:9717", "the closing bracket is missing"),
        ("[1.2.3.4]:1", "the brackets hold no IPv6 address"),
        ("[fe80::1%eth0]:1", "a zone (%) is not supported"),
        ("[::1]9717", "the port is not a number from 0 to 65535"),
        ("h:65536", "the port is not a number from 0 to 65535"),
        ("h:", "the port is not a number from 0 to 65535"),
        ("h:+1", "the port is not a number from 0 to 65535"),
        ("h:1\n", "the port is not a number from 0 to 65535"),
        ("h:\uff11", "the port is not a number from 0 to 65535"),
        ("a_b:1", "the host is neither a name nor an address"),
        ("1.2.3:1", "the host is neither a name nor an address"),
        ("1.2.3.400:1", "the host is neither a name nor an address"),
        ("-a:1", "the host is neither a name nor an address"),
        ("a." * 200 + "a:1", "the host is neither a name nor an address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError) as caught:
        parse_listen(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(("host", "port"), [("", 1), ("h", -1), ("h", 65536)])
def test_a_wrong_address_cannot_exist(host, port):
    with pytest.raises(AssertionError):
        ListenAddress(host, port)


def test_the_host_of_a_registry_is_lower_case():
    assert registry_host("Registry.Example.com:5000") == "registry.example.com:5000"


@pytest.mark.parametrize("text", ["", ":5000", "http://registry", "a/b"])
def test_what_is_no_registry_host_is_refused(text):
    with pytest.raises(ValueError):
        registry_host(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://mirror.example.com/docker/", "https://mirror.example.com/docker"),
    ],
)
def test_the_url_of_a_mirror_has_no_final_slash(text, url):
    assert base_url(text) == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mirror.example.com", "it must start with http:// or https://"),
        ("ftp://mirror", "it must start with http:// or https://"),
        ("https://", "the host is missing"),
        ("https://user:secret@mirror", "credentials do not belong here"),
        ("https://mirror/?a=b", "it has a query or a fragment"),
        ("https://mirror/#a", "it has a query or a fragment"),
        ("https://mirror:99999", "the port is not a number from 0 to 65535"),
        ("https://mirror/a b", "it holds characters that are not allowed in a URL"),
        ("https://mirror\n", "it holds characters that are not allowed in a URL"),
        ("https://mïrror", "it holds characters that are not allowed in a URL"),
        ("https://[::1", "the URL has a broken IPv6 host"),
    ],
)
def test_what_is_no_url_of_a_mirror_is_refused_with_the_reason(text, reason):
    with pytest.raises(ValueError) as caught:
        base_url(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.9.9.9:1", "[::1]:5000"])
def test_hosts_of_this_machine_are_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["docker.io", "128.0.0.1", "[2001:db8::1]", "localhost.example.com"])
def test_other_hosts_are_not_loopback(host):
    assert not is_loopback(host)
