import pytest

from sockwarden.dockerapi.challenge import MAX_HEADER_CHARS, parse_challenges
from sockwarden.errors import RegistryError

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/docker:pull"'


def read(header: str) -> list[tuple[str, dict[str, str]]]:
    return [(c.scheme, dict(c.parameters)) for c in parse_challenges(header)]


def test_docker_hubs_challenge_is_read_whole():
    assert read(HUB) == [
        (
            "bearer",
            {
                "realm": "https://auth.docker.io/token",
                "service": "registry.docker.io",
                "scope": "repository:library/docker:pull",
            },
        )
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('BASIC REALM = "a,b" ,, charset=utf-8', [("basic", {"realm": "a,b", "charset": "utf-8"})]),
        ('Bearer scope="pull,push", Basic realm="r"', [("bearer", {"scope": "pull,push"}), ("basic", {"realm": "r"})]),
        (r'Basic realm="say \"hi\""', [("basic", {"realm": 'say "hi"'})]),
        ('Basic realm=""', [("basic", {"realm": ""})]),
    ],
)
def test_a_list_of_challenges_is_read_by_the_rfc(header, expected):
    assert read(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        'realm="x"',
        'Basic realm="x", realm="y"',
        'Basic realm="x',
        'Basic realm="\x00"',
        "Basic realm=a b",
        'Basic "x"',
        "@",
        "Basic\trealm=x",
        "Basic realm=é",
        "Basic a\n",
    ],
)
def test_what_the_grammar_does_not_know_is_refused(header):
    with pytest.raises(RegistryError, match="RFC 9110"):
        parse_challenges(header)


def test_a_header_beyond_the_limit_is_refused():
    with pytest.raises(RegistryError, match=str(MAX_HEADER_CHARS)):
        parse_challenges("a" * (MAX_HEADER_CHARS + 1))


def test_an_unclosed_quote_of_the_longest_header_is_refused_without_delay():
    with pytest.raises(RegistryError):
        parse_challenges('Basic realm="' + "\\a" * 4000)
