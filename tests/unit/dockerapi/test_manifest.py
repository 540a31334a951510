import hashlib
import json
from typing import Any

import pytest

from sockwarden.dockerapi.manifest import (
    ACCEPT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_CHILDREN,
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Kind,
    Manifest,
    digest_of,
    parse_manifest,
)
from sockwarden.errors import RegistryError

CONFIG = "sha256:" + "c" * 64
LAYER = "sha256:" + "1" * 64
CHILD = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"


def image(**changes: Any) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": CONFIG, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": LAYER, "size": 3}],
    }
    return {key: value for key, value in {**document, **changes}.items() if value is not None}


def index(*children: Any, **changes: Any) -> dict[str, Any]:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children)}
    return {key: value for key, value in {**document, **changes}.items() if value is not None}


def child(digest: Any = CHILD, media_type: Any = OCI_MANIFEST, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": 1, **more}


def parse(document: Any, content_type: str = "") -> Manifest:
    body = json.dumps(document).encode()
    return parse_manifest(body, content_type, digest_of(body))


def test_an_image_manifest_names_its_config():
    body = json.dumps(image()).encode()
    assert parse_manifest(body, OCI_MANIFEST, digest_of(body)) == Manifest(
        digest_of(body), Kind.IMAGE, OCI_MANIFEST, config=CONFIG
    )


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_both_types_of_image_are_read(media_type):
    assert parse(image(mediaType=media_type)).config == CONFIG


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_both_types_of_index_are_read(media_type):
    answer = parse(index(child(CHILD), child(OTHER, DOCKER_MANIFEST), mediaType=media_type))
    assert (answer.kind, answer.children, answer.config) == (Kind.INDEX, (CHILD, OTHER), None)


def test_all_four_types_are_asked_for():
    assert [part.strip() for part in ACCEPT.split(",")] == [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST]


def test_an_oci_body_without_a_media_type_is_read_by_the_header():
    assert parse(image(mediaType=None), OCI_MANIFEST + "; charset=utf-8").kind is Kind.IMAGE


def test_the_body_decides_where_the_header_says_nothing_of_use():
    assert parse(image(), "application/json").kind is Kind.IMAGE


def test_without_an_expected_digest_the_bodys_own_is_taken():
    body = json.dumps(image()).encode()
    assert parse_manifest(body, "", None).digest == digest_of(body)


def test_attestations_and_unknown_types_are_no_children():
    attestation = child(OTHER, annotations={"vnd.docker.reference.type": "attestation-manifest"})
    unknown = child("sha256:" + "d" * 64, "application/vnd.example+json")
    plain = child(CHILD, annotations={"vnd.docker.reference.type": "other"})
    assert parse(index(attestation, unknown, plain)).children == (CHILD,)


def test_annotations_of_the_wrong_type_are_no_attestation():
    assert parse(index(child(annotations=["attestation-manifest"]))).children == (CHILD,)


def test_a_repeated_child_counts_once():
    assert parse(index(child(), child())).children == (CHILD,)


def test_an_artifact_names_no_config_that_could_be_an_image_id():
    helm = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": CONFIG, "size": 2}
    assert parse(image(config=helm)).config is None


def test_bytes_with_another_digest_are_refused():
    with pytest.raises(RegistryError, match="bytes that hash to") as caught:
        parse_manifest(json.dumps(image()).encode(), OCI_MANIFEST, CHILD)
    assert "mirror" in caught.value.remedy


def test_bytes_are_verified_by_sha512_and_named_by_sha256():
    body = json.dumps(image()).encode()
    expected = "sha512:" + hashlib.sha512(body).hexdigest()
    assert parse_manifest(body, OCI_MANIFEST, expected).digest == digest_of(body)
    with pytest.raises(RegistryError, match="bytes that hash to sha512:"):
        parse_manifest(body + b" ", OCI_MANIFEST, expected)


def test_a_digest_that_cannot_be_verified_is_refused():
    with pytest.raises(RegistryError, match="'md5', which cannot be verified"):
        parse_manifest(json.dumps(image()).encode(), OCI_MANIFEST, "md5:" + "0" * 32)


def test_a_layer_may_be_named_by_sha512():
    layer = {"mediaType": "layer", "digest": "sha512:" + "1" * 128, "size": 3}
    assert parse(image(layers=[layer])).config == CONFIG


@pytest.mark.parametrize("header", ["", "application/json", "application/octet-stream", "text/plain; charset=utf-8"])
def test_without_any_media_type_the_shape_decides(header):
    assert parse(image(mediaType=None), header).media_type == OCI_MANIFEST
    assert parse(index(child(), mediaType=None), header).media_type == OCI_INDEX


def test_an_attestation_without_its_annotation_is_a_child_as_any_other():
    unknown = child(OTHER, platform={"os": "unknown", "architecture": "unknown"})
    assert parse(index(child(), unknown)).children == (CHILD, OTHER)


def test_a_referrer_names_nothing_of_its_subject():
    subject = {"mediaType": OCI_MANIFEST, "digest": OTHER, "size": 1}
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": CONFIG, "size": 2}
    answer = parse(image(config=empty, artifactType="application/vnd.example.sbom", subject=subject))
    assert (answer.children, answer.config) == ((), None)


@pytest.mark.parametrize("media_type", ["v1+json", "v1+prettyjws"])
def test_schema_1_is_refused_with_what_to_do(media_type):
    signed = {"schemaVersion": 1, "name": "app", "fsLayers": [], "history": [], "signatures": []}
    with pytest.raises(RegistryError, match="schema 1") as caught:
        parse(signed, f"application/vnd.docker.distribution.manifest.{media_type}")
    assert "push it again" in caught.value.remedy


def refused(document: Any, content_type: str = "") -> str:
    with pytest.raises(RegistryError) as caught:
        parse(document, content_type)
    return str(caught.value)


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ([], "not a JSON object"),
        (image(schemaVersion=1), "schema 1"),
        (image(schemaVersion=3), "schemaVersion 2"),
        (image(schemaVersion=2.0), "schemaVersion 2"),
        (image(schemaVersion="2"), "schemaVersion 2"),
        (image(mediaType=7), "not a text"),
        (image(mediaType="application/vnd.docker.distribution.manifest.v1+json"), "schema 1"),
        (image(mediaType="application/vnd.example+json"), "neither an image nor an index"),
        (image(manifests=[]), "at the same time"),
        (image(fsLayers=[]), "at the same time"),
        (index(layers=[]), "at the same time"),
        (index(config={}), "at the same time"),
        (image(config=None), "no 'config'"),
        (index(manifests=None), "no 'manifests'"),
        (index(manifests={}), "not a list"),
        (index("x"), "not an object"),
        (index(child(digest="sha512:" + "a" * 128)), "names content by sha512"),
        (index(child(digest="sha512:" + "a" * 64)), "no digest"),
        (index(child(digest="sha256:" + "A" * 64)), "no digest"),
        (index(child(digest="sha999:abc")), "names content by sha999"),
        (image(config={"mediaType": OCI_CONFIG, "digest": "sha512:" + "a" * 128}), "names content by sha512"),
        (index(child(digest=CHILD + "\n")), "no digest"),
        (index(child(digest=None)), "no digest"),
        (index(child(media_type=1)), "mediaType that is not a text"),
        (image(layers=None), "not a list"),
        (image(layers=[{}]), "no digest"),
        (image(config=[]), "not an object"),
    ],
)
def test_a_manifest_that_could_be_read_in_two_ways_is_refused(document, part):
    assert part in refused(document)


def test_a_header_that_contradicts_the_body_is_refused():
    assert "calls itself" in refused(image(), DOCKER_MANIFEST)


def test_schema_1_in_the_header_is_refused():
    assert "schema 1" in refused(image(), "application/vnd.docker.distribution.manifest.v1+prettyjws")


def test_an_index_beyond_the_limit_is_refused():
    assert "index lists more" in refused(index(*[child()] * (MAX_CHILDREN + 1)))


def test_layers_beyond_the_limit_are_refused():
    assert "more than" in refused(image(layers=[{"digest": LAYER}] * (MAX_LAYERS + 1)))


def test_a_body_beyond_the_limit_is_refused_before_it_is_read():
    with pytest.raises(RegistryError, match="bytes"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1), OCI_MANIFEST, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a":1,"a":1}',
        b'{"schemaVersion":NaN}',
        b"[" * 100_000,
        b'{"schemaVersion":' + b"9" * 5000 + b"}",
    ],
)
def test_bytes_that_are_not_one_json_object_are_refused(body):
    with pytest.raises(RegistryError, match="JSON"):
        parse_manifest(body, OCI_MANIFEST, None)


def test_a_manifest_with_a_bad_digest_cannot_be_made():
    with pytest.raises(AssertionError):
        Manifest("sha256:1", Kind.IMAGE, OCI_MANIFEST)


def test_an_image_with_children_cannot_be_made():
    with pytest.raises(AssertionError):
        Manifest(CHILD, Kind.IMAGE, OCI_MANIFEST, children=(OTHER,))
