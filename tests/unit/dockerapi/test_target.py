"""Targets: what is read as one path, what is refused, and what the engine gets."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi.target import ASTERISK, MAX_TARGET, parse_query, parse_target
from sockwarden.errors import ClientError


@pytest.mark.parametrize(
    ("raw", "version", "path", "query", "canonical"),
    [
        (b"/_ping", None, "/_ping", "", b"/_ping"),
        (b"/", None, "/", "", b"/"),
        (b"/v1.41/containers/json", "1.41", "/containers/json", "", b"/v1.41/containers/json"),
        (b"/v1.999/info", "1.999", "/info", "", b"/v1.999/info"),
        (b"/v0.0/info", "0.0", "/info", "", b"/v0.0/info"),
        (b"/v1.41/", "1.41", "/", "", b"/v1.41/"),
        (b"/v1.41", None, "/v1.41", "", b"/v1.41"),
        (b"/volumes", None, "/volumes", "", b"/volumes"),
        (b"/version", None, "/version", "", b"/version"),
        (b"/v1.41/v1.41/info", "1.41", "/v1.41/info", "", b"/v1.41/v1.41/info"),
        (b"/V1.41/info", None, "/V1.41/info", "", b"/V1.41/info"),
        (b"/v1.41/containers/json/", "1.41", "/containers/json/", "", b"/v1.41/containers/json/"),
        (b"/containers/json?all=1", None, "/containers/json", "all=1", b"/containers/json?all=1"),
        (b"/containers/json?", None, "/containers/json", "", b"/containers/json"),
        (b"/%63ontainers/json?", None, "/containers/json", "", b"/containers/json"),
        (b"/info?a=?&b=/../&c=%2F%00", None, "/info", "a=?&b=/../&c=%2F%00", b"/info?a=?&b=/../&c=%2F%00"),
        (b'/info?f={"a":[1]}', None, "/info", 'f={"a":[1]}', b'/info?f={"a":[1]}'),
        (b"/%63ontainers/json", None, "/containers/json", "", b"/containers/json"),
        (b"/%761.41/info", "1.41", "/info", "", b"/v1.41/info"),
        (b"/v1%2E41/info", "1.41", "/info", "", b"/v1.41/info"),
        (b"/%69mages/x/%70ush", None, "/images/x/push", "", b"/images/x/push"),
        (b"/images/a%252Fb/json", None, "/images/a%2Fb/json", "", b"/images/a%252Fb/json"),
        (b"/images/a%25/json", None, "/images/a%/json", "", b"/images/a%25/json"),
        (b"/images/a%20b/json", None, "/images/a b/json", "", b"/images/a%20b/json"),
        (b"/images/a%3fb%23/json", None, "/images/a?b#/json", "", b"/images/a%3Fb%23/json"),
        (b"/images/a+b;c/json", None, "/images/a+b;c/json", "", b"/images/a+b;c/json"),
        (b"/images/a\\b/json", None, "/images/a\\b/json", "", b"/images/a%5Cb/json"),
        (b"/images/a%5c..%5cb/json", None, "/images/a\\..\\b/json", "", b"/images/a%5C..%5Cb/json"),
        (b'/images/"<x>"/json', None, '/images/"<x>"/json', "", b"/images/%22%3Cx%3E%22/json"),
        (b"/images/.hidden/...", None, "/images/.hidden/...", "", b"/images/.hidden/..."),
        (b"/images/reg:5000/a@sha256:0/json", None, "/images/reg:5000/a@sha256:0/json", "", None),
    ],
)
def test_a_target_is_read_once_and_sent_in_one_spelling(raw, version, path, query, canonical):
    target = parse_target(raw)
    assert (target.raw, target.version, target.path, target.query, target.canonical) == (
        raw.decode("ascii"),
        version,
        path,
        query,
        raw if canonical is None else canonical,
    )


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b"*", "OPTIONS"),
        (b"info", "begins with a slash"),
        (b"http://h/containers/json", "begins with a slash"),
        (b"http:/containers/json", "begins with a slash"),
        (b"unix:///containers/json", "begins with a slash"),
        (b"file:///containers/json", "begins with a slash"),
        (b"h:80", "begins with a slash"),
        (b"?all=1", "begins with a slash"),
        (b"/inf o", "printable"),
        (b"/info\n", "printable"),
        (b"/info\x00", "printable"),
        (b"/info\x7f", "printable"),
        (b"/inf\xc3\xb6", "printable"),
        (b"/info#x", "#"),
        (b"/info?a=#x", "#"),
        (b"/info%", "hexadecimal"),
        (b"/info%4", "hexadecimal"),
        (b"/info%4g", "hexadecimal"),
        (b"/info%%41", "hexadecimal"),
        (b"/info?a=%", "hexadecimal"),
        (b"/info?a=%4g", "hexadecimal"),
        (b"/info?a=1;b=2", "semicolon"),
        (b"/containers%2Fjson", "%2F"),
        (b"/v1.41%2fimages/json", "%2F"),
        (b"/images/x%2fpush", "%2F"),
        (b"/images/x%00/push", "encoded byte"),
        (b"/images/x%0a/push", "encoded byte"),
        (b"/images/x%7f/push", "encoded byte"),
        (b"/images/x%c3%b6/push", "encoded byte"),
        (b"//containers/json", "empty segment"),
        (b"//", "empty segment"),
        (b"/containers//json", "empty segment"),
        (b"/containers/json//", "empty segment"),
        (b"/v1.41//info", "empty segment"),
        (b"/./info", "dot segment"),
        (b"/info/.", "dot segment"),
        (b"/..", "dot segment"),
        (b"/v1.41/../info", "dot segment"),
        (b"/containers/%2e%2e/info", "dot segment"),
        (b"/containers/.%2E/info", "dot segment"),
        (b"/%2e/info", "dot segment"),
        (b"/v01.41/info", "version"),
        (b"/v1.041/info", "version"),
        (b"/v1.41./info", "version"),
        (b"/v1.41.0/info", "version"),
        (b"/v1..41/info", "version"),
        (b"/v../info", "version"),
        (b"/v41/info", "version"),
        (b"/v.41/info", "version"),
        (b"/v1.4100/info", "version"),
        (b"/v" + b"0" * 200 + b"1.41/info", "version"),
        (b"/%76%30" + b"1.41/info", "version"),
    ],
)
def test_a_target_that_has_two_readings_is_refused(raw, word):
    with pytest.raises(ClientError, match=word) as refusal:
        parse_target(raw)
    assert refusal.value.status == 400


def test_the_longest_target_is_read():
    assert len(parse_target(b"/" + b"a" * (MAX_TARGET - 1)).path) == MAX_TARGET


def test_a_target_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(ClientError, match="longer") as refusal:
        parse_target(b"\xff" * (MAX_TARGET + 1))
    assert refusal.value.status == 414


def test_the_asterisk_is_sent_as_it_came():
    assert (ASTERISK.raw, ASTERISK.canonical) == ("*", b"*")


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", ()),
        ("&&", ()),
        ("a", (("a", ""),)),
        ("=", (("", ""),)),
        ("a=1&b=2&a=3", (("a", "1"), ("b", "2"), ("a", "3"))),
        ("a=b=c", (("a", "b=c"),)),
        ("a+b=c+d%2Be", (("a b", "c d+e"),)),
        ("%66romImage=x%26y%3Dz", (("fromImage", "x&y=z"),)),
        ("a=%C3%B6", (("a", "\u00f6"),)),
        ("a=%ff", (("a", "\udcff"),)),
        ("a=%25%34%31", (("a", "%41"),)),
    ],
)
def test_a_query_is_read_as_go_reads_it(query, pairs):
    assert parse_query(query) == pairs


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"/x", ""),
        (b"/x?b=1", ""),
        (b"/x?a=1&a=2", "1"),
        (b"/x?a=&a=2", ""),
        (b"/x?%61=3&a=4", "3"),
        (b"/x?A=1", ""),
    ],
)
def test_the_first_value_of_a_parameter_wins(raw, value):
    assert parse_target(raw).first("a") == value


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"/containers/a/start", b"/containers/b/start"),
        (b"/v1.41/containers/%61/start?a=%2F", b"/v1.41/containers/b/start?a=%2F"),
    ],
)
def test_another_path_goes_to_the_engine_while_the_target_is_told_as_it_was_sent(raw, canonical):
    target = parse_target(raw).sent_to("/containers/b/start")
    assert (target.canonical, target.raw, target.path) == (canonical, raw.decode(), "/containers/a/start")
