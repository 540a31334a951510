"""References: Docker's grammar and defaults, and the entries of an image list."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi.reference import (
    MAX_PATH,
    MAX_REFERENCE,
    ImagePattern,
    InvalidReference,
    Reference,
    canonical,
    canonical_entry,
    parse_entry,
    parse_reference,
)

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("docker", "docker.io/library/docker", "docker"),
        ("docker:cli", "docker.io/library/docker:cli", "docker:cli"),
        ("library/docker", "docker.io/library/docker", "docker"),
        ("docker.io/docker", "docker.io/library/docker", "docker"),
        ("index.docker.io/docker", "docker.io/library/docker", "docker"),
        ("index.docker.io/a/b", "docker.io/a/b", "a/b"),
        ("docker.io/library/foo/bar", "docker.io/library/foo/bar", "library/foo/bar"),
        ("localstack/localstack:1", "docker.io/localstack/localstack:1", "localstack/localstack:1"),
        ("test_com/foo", "docker.io/test_com/foo", "test_com/foo"),
        ("localhost/foo", "localhost/foo", "localhost/foo"),
        ("localhost:5000/foo:t", "localhost:5000/foo:t", "localhost:5000/foo:t"),
        ("registry:5000", "docker.io/library/registry:5000", "registry:5000"),
        ("192.168.0.1:80", "docker.io/library/192.168.0.1:80", "192.168.0.1:80"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"),
        ("[fc00::1]:5000/a", "[fc00::1]:5000/a", "[fc00::1]:5000/a"),
        ("xn--n3h.com:18080/foo", "xn--n3h.com:18080/foo", "xn--n3h.com:18080/foo"),
        ("Foo/bar", "Foo/bar", "Foo/bar"),
        ("DOCKER/docker", "DOCKER/docker", "DOCKER/docker"),
        ("registry-1.docker.io/a/b", "registry-1.docker.io/a/b", "registry-1.docker.io/a/b"),
        ("a@" + DIGEST, "docker.io/library/a@" + DIGEST, "a@" + DIGEST),
        ("a:t@" + DIGEST, "docker.io/library/a:t@" + DIGEST, "a:t@" + DIGEST),
        (DIGEST, "docker.io/library/" + DIGEST, DIGEST),
        ("a@sha512:" + HEX * 2, "docker.io/library/a@sha512:" + HEX * 2, "a@sha512:" + HEX * 2),
        ("docker.io/" + HEX, "docker.io/library/" + HEX, HEX),
        (HEX[:-1], "docker.io/library/" + HEX[:-1], HEX[:-1]),
        ("dock__er/a---b.c", "docker.io/dock__er/a---b.c", "dock__er/a---b.c"),
        ("a:" + "T" * 128, "docker.io/library/a:" + "T" * 128, "a:" + "T" * 128),
    ],
)
def test_a_name_has_one_canonical_and_one_familiar_form(text, canonical, familiar):
    reference = parse_reference(text)
    assert (str(reference), reference.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (HEX, "image id"),
        ("a" * (MAX_REFERENCE + 1), "longer"),
        ("x/" + "a" * (MAX_PATH - 1), "longer"),
        ("docker/Docker", "lower case"),
        ("Docker", "lower case"),
        ("docker.io/docker/Docker", "lower case"),
        ("https://github.com/docker/docker", "host name"),
        ("-docker", "words"),
        ("-docker.io/docker/docker", "host name"),
        ("docker/", "words"),
        ("docker///docker", "words"),
        ("docker.io/docker///docker", "words"),
        ("/docker", "words"),
        ("dock..er/docker", "host name"),
        ("____/____", "words"),
        ("docker-/docker", "words"),
        ("dock_.er/docker", "host name"),
        ("[fc00::1]", "words"),
        ("fc00::1:5000/debian", "host name"),
        ("[fe80::1%eth0]:5000/debian", "host name"),
        ("[2001:db8:3:4::192.0.2.33]:5000/debian", "host name"),
        ("a:", "tag"),
        ("a:-foo", "tag"),
        ("a:b:c", "tag"),
        ("a:" + "T" * 129, "tag"),
        ("a:t\n", "tag"),
        ("a\n", "words"),
        ("a@", "digest"),
        ("a@sha256:abc", "digest"),
        ("a@" + DIGEST.upper(), "digest"),
        ("a@" + DIGEST + "0", "digest"),
        ("a@md5:" + HEX[:32], "digest"),
        ("\u00e9", "words"),
        ("a:\u0661", "tag"),
    ],
)
def test_a_text_that_is_no_name_is_refused_with_the_reason(text, word):
    with pytest.raises(InvalidReference) as refusal:
        parse_reference(text)
    assert word in refusal.value.reason


def test_the_refusal_of_a_long_text_is_short():
    with pytest.raises(InvalidReference) as refusal:
        parse_reference("a" * 1_000_000)
    assert len(str(refusal.value)) < 2 * MAX_REFERENCE


def test_a_host_name_is_no_part_of_the_length_of_a_repository():
    assert len(parse_reference("registry.example/" + "a" * MAX_PATH).path) == MAX_PATH


@pytest.mark.parametrize(("domain", "path"), [("index.docker.io", "a/b"), ("docker.io", "a"), ("foo", "bar")])
def test_a_reference_in_another_form_cannot_be_made(domain, path):
    with pytest.raises(InvalidReference, match="canonical form"):
        Reference(domain, path)


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("docker", "docker.io/library/docker", "latest", None),
        ("docker:cli", "docker.io/library/docker", "cli", None),
        ("docker:*", "docker.io/library/docker", "*", None),
        ("localhost:5000/a:*", "localhost:5000/a", "*", None),
        ("localhost:5000/a", "localhost:5000/a", "latest", None),
        ("a@" + DIGEST, "docker.io/library/a", None, DIGEST),
        ("a:1@" + DIGEST, "docker.io/library/a", None, DIGEST),
        ("*", "*", None, None),
        ("testcontainers/*:*", "docker.io/testcontainers/*", "*", None),
        ("registry.example/ci/*:*", "registry.example/ci/*", "*", None),
        ("registry.example/*/*:1.*", "registry.example/*/*", "1.*", None),
        ("testcontainers/*", "docker.io/testcontainers/*", "latest", None),
        ("alp*:3", "docker.io/library/alp*", "3", None),
        ("docker:2*-dind", "docker.io/library/docker", "2*-dind", None),
    ],
)
def test_an_entry_means_a_tag_every_tag_a_digest_or_everything(text, name, tag, digest):
    assert parse_entry(text) == ImagePattern(text, name, tag, digest)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("**", "crosses"),
        ("a/**:*", "crosses"),
        ("a/x:**", "crosses"),
        ("a/*x*:*", "more than one"),
        ("a/x:*.*", "more than one"),
        ("*:*", "official images"),
        ("docker.io/*:*", "official images"),
        ("*/*:*", "anybody"),
        ("te*/x:1", "anybody"),
        ("ghcr.io/*/x:*", "anybody"),
        ("GHCR.io:443/*/x:*", "anybody"),
        ("*.example/a:*", "name of a registry"),
        ("reg.example:*/a", "name of a registry"),
        ("a/*@" + DIGEST, "digest"),
        ("a/x:.*", "tag"),
        ("a/.*:*", "words"),
        ("a/A/*:*", "lower case"),
        ("a/*B:*", "lower case"),
        ("a/*" + "a" * MAX_REFERENCE, "longer"),
        ("docker:", "tag"),
        (":*", "empty"),
        (DIGEST, "name@digest"),
        ("docker:1:*", "before"),
        ("docker@" + DIGEST + ":*", "digest"),
        ("docker@sha512:" + HEX * 2, "only a sha256"),
        ("Docker", "lower case"),
        ("", "empty"),
    ],
)
def test_an_entry_of_another_form_is_refused_with_the_reason(text, word):
    with pytest.raises(InvalidReference) as refusal:
        parse_entry(text)
    assert word in refusal.value.reason


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("docker", "docker.io/library/docker:latest"),
        ("docker:*", "docker.io/library/docker"),
        ("a:1@" + DIGEST, "docker.io/library/a@" + DIGEST),
    ],
)
def test_an_entry_says_what_to_ask_a_registry_for(text, reference):
    assert str(parse_entry(text).reference) == reference


def test_the_refusal_of_an_entry_shows_the_whole_entry():
    with pytest.raises(InvalidReference, match=r"'Docker:\*'"):
        parse_entry("Docker:*")


@pytest.mark.parametrize(
    ("text", "everything", "any_tag", "single"),
    [
        ("*", True, False, False),
        ("a:*", False, True, False),
        ("a", False, False, True),
        ("a@" + DIGEST, False, False, True),
        ("a/*:*", False, True, False),
        ("a/*:1", False, False, False),
        ("a/x:1*", False, False, False),
    ],
)
def test_an_entry_tells_its_kind(text, everything, any_tag, single):
    entry = parse_entry(text)
    assert (entry.is_everything, entry.is_any_tag, entry.is_single) == (everything, any_tag, single)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*", "*"),
        ("docker", "docker.io/library/docker:latest"),
        ("docker:*", "docker.io/library/docker:*"),
        ("a/*", "docker.io/a/*:latest"),
        ("index.docker.io/a:1@" + DIGEST, "docker.io/library/a@" + DIGEST),
    ],
)
def test_an_entry_has_one_canonical_form(text, shown):
    assert str(parse_entry(text)) == shown
    assert str(parse_entry(shown)) == shown


@pytest.mark.parametrize(
    ("entry", "domain", "path", "answer"),
    [
        ("testcontainers/*:*", "docker.io", "testcontainers/ryuk", True),
        ("testcontainers/*:*", "docker.io", "testcontainers/a/b", False),
        ("testcontainers/*:*", "docker.io", "testcontainers", False),
        ("testcontainers/*:*", "docker.io", "testcontainersx/ryuk", False),
        ("testcontainers/*:*", "quay.io", "testcontainers/ryuk", False),
        ("r.example/ci-*-x/app:*", "r.example", "ci-1-x/app", True),
        ("r.example/ci-*-x/app:*", "r.example", "ci-x/app", False),
        ("r.example/ci-*-x/app:*", "r.example", "ci--x/app", True),
        ("r.example/a:*", "r.example", "a", True),
    ],
)
def test_a_star_stands_for_characters_of_one_part(entry, domain, path, answer):
    assert parse_entry(entry).covers(domain, path) is answer


@pytest.mark.parametrize(
    ("entry", "tag", "answer"),
    [("a:1.*", "1.2", True), ("a:1.*", "1.", True), ("a:1.*", "11", False), ("a:*", "x", True), ("a", "latest", True)],
)
def test_a_star_in_a_tag_stands_for_characters_of_the_tag(entry, tag, answer):
    assert parse_entry(entry).covers_tag(tag) is answer


def test_a_digest_entry_means_no_tag():
    assert not parse_entry("a@" + DIGEST).covers_tag("latest")


@pytest.mark.parametrize("text", ["*:*", "*/*:*", "a/**:*", "a/*x*:*", "*.example/a:*", "a/*@" + DIGEST, DIGEST])
def test_a_glob_that_is_refused_says_what_to_write_instead(text):
    with pytest.raises(InvalidReference) as refusal:
        parse_entry(text)
    assert refusal.value.remedy.startswith("write")


@pytest.mark.parametrize(
    ("text", "image_id", "shown"),
    [
        ("docker", "", "docker.io/library/docker:latest"),
        ("docker:cli", DIGEST, "docker.io/library/docker:cli"),
        ("a:1@" + DIGEST, "", "docker.io/library/a@" + DIGEST),
        (HEX, "", DIGEST),
        (DIGEST, "", DIGEST),
        (HEX[:12], "", f"docker.io/library/{HEX[:12]}:latest"),
        (HEX[:12], DIGEST, DIGEST),
        (f"sha256:{HEX[:12]}", DIGEST, DIGEST),
        (HEX[:12], "sha256:" + "f" * 64, f"docker.io/library/{HEX[:12]}:latest"),
        ("no such THING", "", "no such THING"),
        ("", "", ""),
    ],
)
def test_what_somebody_called_an_image_is_shown_in_one_form(text, image_id, shown):
    assert canonical(text, image_id) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("docker", "docker.io/library/docker:latest"), (DIGEST, DIGEST), ("a/**", "a/**")]
)
def test_an_entry_that_somebody_names_is_read_in_any_spelling(text, shown):
    assert canonical_entry(text) == shown
