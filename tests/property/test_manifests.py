"""Laws of the registry's texts: garbage is refused with our own error, and what we write is read back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.dockerapi.challenge import parse_challenges
from sockwarden.dockerapi.manifest import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, digest_of, parse_manifest
from sockwarden.errors import RegistryError

pytestmark = pytest.mark.property

digests = st.binary(max_size=8).map(digest_of)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(["schemaVersion", "mediaType", "manifests", "config", "layers", "digest", "annotations"])
near_manifests = st.dictionaries(keys, json_values | st.just(2) | st.just(OCI_INDEX) | st.just([]))
words = st.text("abcXYZ019-._~", min_size=1, max_size=12)
quotable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_bytes_are_a_manifest_or_a_registry_error(body, content_type):
    try:
        parse_manifest(body, content_type, None)
    except RegistryError:
        return


@given(near_manifests, st.sampled_from(["", OCI_INDEX, OCI_MANIFEST]))
def test_any_json_near_a_manifest_is_a_manifest_or_a_registry_error(document, content_type):
    try:
        parse_manifest(json.dumps(document).encode(), content_type, None)
    except RegistryError:
        return


@given(st.lists(digests, unique=True, max_size=12), st.sampled_from([OCI_INDEX, DOCKER_LIST]))
def test_the_children_of_an_index_are_what_it_lists(children, media_type):
    listed = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 1} for digest in children]
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": listed}).encode()
    assert parse_manifest(body, media_type, digest_of(body)).children == tuple(children)


@given(st.binary(max_size=100), digests)
def test_no_body_passes_for_another_digest(body, digest):
    if digest_of(body) != digest:
        with pytest.raises(RegistryError, match="bytes that hash to"):
            parse_manifest(body, OCI_MANIFEST, digest)


@given(st.text(max_size=120))
def test_any_text_is_a_list_of_challenges_or_a_registry_error(header):
    try:
        parse_challenges(header)
    except RegistryError:
        return


@given(st.lists(st.tuples(words, st.dictionaries(words.map(str.lower), quotable, max_size=3)), max_size=3))
def test_challenges_that_were_written_are_read_back(written):
    parts = []
    for scheme, parameters in written:
        quoted = ['{}="{}"'.format(n, v.replace("\\", "\\\\").replace('"', '\\"')) for n, v in parameters.items()]
        parts.append(f"{scheme} " + ", ".join(quoted) if quoted else scheme)
    answer = [(challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges(", ".join(parts))]
    assert answer == [(scheme.lower(), parameters) for scheme, parameters in written]
