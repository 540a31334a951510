"""Globs of sockets: what may be written, and what a component stands for."""

import pytest

from sockwarden.documents.glob import MAX_GLOB, has_magic, matches, parse_glob


@pytest.mark.parametrize(
    "text", ["/run/a.sock", "/run/user/*/docker.sock", "/run/[ab]/?.sock", "/run/[!a]b", "/run/[]]"]
)
def test_a_glob_of_an_absolute_path_is_taken(text):
    assert parse_glob(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("run/a.sock", "it does not start with /"),
        ("", "it does not start with /"),
        ("/run/../a.sock", "it holds .."),
        ("/run//a.sock", "it is not a plain path"),
        ("/run/./a.sock", "it is not a plain path"),
        ("/run/", "it is not a plain path"),
        ("//run", "it is not a plain path"),
        ("/", "it is not a plain path"),
        ("/run/**/a.sock", r"\*\* has no meaning"),
        ("/run/[a/b].sock", r"a \[ has no \]"),
        ("/run/[", r"a \[ has no \]"),
        ("/run/a\n", "it holds a control character"),
        ("/" + "a" * MAX_GLOB, "it is longer than"),
    ],
)
def test_what_is_no_glob_is_refused_with_its_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_glob(text)


@pytest.mark.parametrize(
    ("part", "name", "answer"),
    [
        ("*.sock", "docker.sock", True),
        ("*.sock", "docker.socket", False),
        ("*", ".hidden", False),
        (".*", ".hidden", True),
        ("[0-9]*", "1000", True),
        ("[!0-9]*", "1000", False),
        ("docker.sock", "docker.sock", True),
        ("docker.sock", "dockerxsock", False),
        ("*", "a\nb", True),
    ],
)
def test_a_component_stands_for_names_as_in_a_shell(part, name, answer):
    assert matches(part, name) is answer


def test_only_what_stands_for_several_names_has_magic():
    assert [has_magic(part) for part in ("a", "a*", "a?", "[a]", "a]")] == [False, True, True, True, False]
