"""Reading the manifests and indexes that registries answer with: bytes in, digests out.

Owns which media types count as an image, and how a body is bound to its digest. It must never ask anyone
for anything: fetching is the part of ``images.registry``. A manifest is read only after its bytes are
shown to hash to the digest they were asked for; from then on the digest stands for exactly these bytes.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sockwarden.errors import RegistryError
from sockwarden.model import DIGEST

MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""The registry of the distribution project takes no larger manifest (registry/handlers: 4 MiB)."""

MAX_CHILDREN: Final = 512
"""Platforms of one index. The largest public ones have about forty, attestations included."""

MAX_LAYERS: Final = 1024
"""Layers of one manifest. Overlay mounts end at 128; older formats counted metadata steps as layers too."""

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

ACCEPT: Final = f"{OCI_INDEX}, {DOCKER_LIST}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"
"""All four, always: a registry that misses one converts, and then answers with another digest."""


class Kind(enum.Enum):
    """What a manifest is: one image, or a list of images for several platforms."""

    INDEX = "index"
    IMAGE = "image"


_KINDS: Final = {
    OCI_INDEX: Kind.INDEX,
    DOCKER_LIST: Kind.INDEX,
    OCI_MANIFEST: Kind.IMAGE,
    DOCKER_MANIFEST: Kind.IMAGE,
}

_SCHEMA1: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)

_IMAGE_CONFIGS: Final = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        # Written by old registries and still pulled by the engine (moby: distribution, imageTypes).
        "application/octet-stream",
        "text/html",
        "",
    }
)
"""Config types that the engine runs as an image. Anything else is an artifact: a chart, a signature, a plugin."""

_GENERIC: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream"})
"""What plain web servers and object stores call every file: says nothing, so that the body's shape has to."""

_HASHES: Final = {"sha256": 64, "sha512": 128}
"""The algorithms that the OCI image spec registers, with the number of their hexadecimal digits."""

_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[+._\-][a-z0-9]+)*:[A-Za-z0-9=_\-]{1,256}")  # OCI image spec: descriptor.md

_ATTESTATION_KEY: Final = "vnd.docker.reference.type"
_ATTESTATION: Final = "attestation-manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One verified manifest. ``config`` is None for an index and for an artifact that no engine can run.

    ``children`` are the images and nested indexes of an index; attestations and unknown types are left out,
    because no container can be made from them. Attestations without the annotation (platform unknown/unknown alone
    marks them) are children as any other, and may be: to allow a digest allows the publisher's bytes under it and
    nothing else, and an attestation's bytes are JSON where an engine needs a tar file, so that none runs them.
    ``subject`` (a referrer) says what a manifest is about, not what it is: it is not read.
    """

    digest: str
    kind: Kind
    media_type: str
    children: tuple[str, ...] = ()
    config: str | None = None

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.digest):
            raise AssertionError(f"not a digest: {self.digest!r}")
        if self.kind is Kind.IMAGE and self.children:
            raise AssertionError("an image manifest has no children")


def digest_of(body: bytes) -> str:
    """Return the digest that names exactly these bytes."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def parse_manifest(body: bytes, content_type: str, expected: str | None) -> Manifest:
    """Verify ``body`` against the digest ``expected`` and return what it names.

    ``expected`` may be of sha512; engines name an image by sha256 even so, and so does the answer. With
    ``expected`` None (asked by tag, and the registry named no digest) the body's own digest is taken.

    Raises:
        RegistryError: the bytes do not hash to ``expected``, or are not an index or image manifest.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        _refuse(f"the manifest has more than {MAX_MANIFEST_BYTES} bytes")
    if expected is not None:
        _verify(body, expected)
    digest = digest_of(body)
    document = _document(body)
    media_type = _media_type(content_type, document)
    kind = _KINDS[media_type]
    # A body that is both a list and an image means different things to different readers (CVE-2021-41190).
    wanted, other = ("manifests", ("config", "layers")) if kind is Kind.INDEX else ("config", ("manifests",))
    if any(key in document for key in (*other, "fsLayers")):
        _refuse("the manifest is an index and an image at the same time")
    if wanted not in document:
        _refuse(f"the manifest has no {wanted!r}")
    if kind is Kind.INDEX:
        return Manifest(digest, kind, media_type, children=_children(document["manifests"]))
    _check_layers(document.get("layers"))
    config_type, config = _descriptor(document["config"], "config")
    runs = config_type in _IMAGE_CONFIGS
    return Manifest(digest, kind, media_type, config=_sha256(config) if runs else None)


def _verify(body: bytes, expected: str) -> None:
    algorithm = expected.partition(":")[0]
    if algorithm not in _HASHES:
        _refuse(f"the registry names the manifest by {algorithm!r}, which cannot be verified")
    found = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    if found != expected:
        raise RegistryError(
            f"the registry answered {expected} with bytes that hash to {found}",
            remedy="do not trust this registry or the mirror in front of it until the difference is explained",
        )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_no_float
        )
    except (ValueError, RecursionError) as error:
        raise RegistryError("the manifest is not one well-formed JSON object", remedy=_REMEDY) from error
    if not isinstance(document, dict):
        _refuse("the manifest is not a JSON object")
    if document.get("schemaVersion") == 1:
        _refuse_schema1()
    if document.get("schemaVersion") != 2:
        _refuse("the manifest has no schemaVersion 2")
    return document


def _media_type(content_type: str, document: dict[str, Any]) -> str:
    """Return the one media type that header and body agree on; ``;charset=`` and the like are dropped."""
    header = content_type.partition(";")[0].strip().lower()
    inside = document.get("mediaType", "")
    if not isinstance(inside, str):
        _refuse("the mediaType of the manifest is not a text")
    if header in _SCHEMA1 or inside in _SCHEMA1:
        _refuse_schema1()
    if inside and header in _KINDS and inside != header:
        _refuse(f"the manifest calls itself {inside!r} and the registry calls it {header!r}")
    # The digest covers the body and not the header: what the body says of itself weighs more.
    media_type = inside or header
    if media_type in _GENERIC:
        media_type = OCI_INDEX if "manifests" in document else OCI_MANIFEST  # only OCI's may leave it out
    if media_type not in _KINDS:
        _refuse(f"the registry answered with {media_type!r}, which is neither an image nor an index")
    return media_type


def _children(manifests: object) -> tuple[str, ...]:
    if not isinstance(manifests, list):
        _refuse("the 'manifests' of the index is not a list")
    if len(manifests) > MAX_CHILDREN:
        _refuse(f"the index lists more than {MAX_CHILDREN} manifests")
    children: dict[str, None] = {}
    for item in manifests:
        media_type, digest = _descriptor(item, "manifests")
        annotations = item.get("annotations")
        attests = isinstance(annotations, dict) and annotations.get(_ATTESTATION_KEY) == _ATTESTATION
        # OCI image index: implementations must ignore media types that they do not know.
        if media_type in _KINDS and not attests:
            children[_sha256(digest)] = None
    return tuple(children)


def _check_layers(layers: object) -> None:
    if not isinstance(layers, list):
        _refuse("the 'layers' of the manifest is not a list")
    if len(layers) > MAX_LAYERS:
        _refuse(f"the manifest lists more than {MAX_LAYERS} layers")
    for layer in layers:
        _descriptor(layer, "layers")


def _descriptor(item: object, place: str) -> tuple[str, str]:
    """Return (media type, digest) of one OCI descriptor."""
    if not isinstance(item, dict):
        _refuse(f"an entry of {place!r} in the manifest is not an object")
    media_type = item.get("mediaType", "")
    digest = item.get("digest")
    if not isinstance(media_type, str):
        _refuse(f"an entry of {place!r} in the manifest has a mediaType that is not a text")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        _refuse(f"an entry of {place!r} in the manifest has no digest")
    algorithm, _, text = digest.partition(":")
    if algorithm in _HASHES and not re.fullmatch(f"[0-9a-f]{{{_HASHES[algorithm]}}}", text):
        _refuse(f"an entry of {place!r} in the manifest has no digest")
    return media_type, digest


def _sha256(digest: str) -> str:
    """Return a digest by which engines know an image: theirs are all of sha256 (moby: image/store.go)."""
    if not DIGEST.fullmatch(digest):
        raise RegistryError(
            f"the manifest names content by {digest.partition(':')[0]}, and engines know images by sha256 alone",
            remedy="build and push the image again with sha256, which every tool takes unless told otherwise",
        )
    return digest


_REMEDY: Final = "look at it with 'docker buildx imagetools inspect', and push the image again if it is damaged"


def _refuse(message: str) -> NoReturn:
    raise RegistryError(message, remedy=_REMEDY)


def _refuse_schema1() -> NoReturn:
    raise RegistryError(
        "the manifest is of schema 1, which names no image by content",
        remedy="pull the image and push it again with an engine of this decade: that writes schema 2",
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return document


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _no_float(text: str) -> str:
    """Keep a number with a fraction as its text: annotations of other tools may hold one, and nothing here counts."""
    return text
