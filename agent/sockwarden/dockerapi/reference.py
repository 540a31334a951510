"""Names of images: what they mean, in one canonical spelling.

Owns the reference grammar (distribution/reference: reference.go, regexp.go, normalize.go) with Docker's defaults, and
the entries of an image list. It must never be taken for identity: a name says where to look, a digest what is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sockwarden.dockerapi.nameglob import STAR, fault_of, filled, fits, path_fits
from sockwarden.errors import SockwardenError

DEFAULT_DOMAIN: Final = "docker.io"
LEGACY_DOMAIN: Final = "index.docker.io"
OFFICIAL_NAMESPACE: Final = "library/"
DEFAULT_TAG: Final = "latest"

MAX_PATH: Final = 255
"""Characters of the path of a repository (distribution/reference: RepositoryNameTotalLengthMax)."""

MAX_REFERENCE: Final = 1024
"""Characters of a whole reference: a path, a host name and a port, a tag and a digest of the longest kind, and
room to spare. The grammar has no limit for the host, so without one a long text would be matched for nothing."""

_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}")
_IMAGE_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_PART_OF_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")

ANY: Final = "*"
"""As a tag: every tag of the repository. As a whole entry: every image."""

_LIKE_EVERYTHING: Final = frozenset({"*:*", "*:latest", "docker.io/*:*"})
"""Entries that look as if they meant every image. Completed as Docker does it, they mean ``library/*``."""


class InvalidReference(SockwardenError):  # noqa: N818 - errors here are named by what is wrong, as in errors.py
    """The text is no reference to an image. ``reason`` says why, without the text."""

    def __init__(self, text: str, reason: str, remedy: str = "") -> None:
        super().__init__(f"invalid image reference {text[:MAX_REFERENCE]!r}: {reason}", remedy=remedy)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference in canonical form. ``str()`` gives its text, which parses to the same value again."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        reason = _fault(self.domain, self.path, self.tag, self.digest)
        if reason:
            raise InvalidReference(str(self), reason)

    @property
    def name(self) -> str:
        """The repository, such as "docker.io/library/docker"."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The short text that the docker CLI shows, with tag and digest where there are any."""
        if self.domain != DEFAULT_DOMAIN:
            return str(self)
        short = self.path.removeprefix(OFFICIAL_NAMESPACE)
        return (self.path if "/" in short else short) + self._suffix()

    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        return self.name + self._suffix()


def _fault(domain: str, path: str, tag: str | None, digest: str | None) -> str:
    """Return what the grammar has against these parts, or ""."""
    if not _DOMAIN.fullmatch(domain):
        return "the registry must be a host name with an optional port"
    if path != path.lower():
        return "the repository name must be lower case"
    if not _PATH.fullmatch(path):
        return "the repository name must be lower-case words, joined by single separators and slashes"
    if len(path) > MAX_PATH:
        return f"the repository name is longer than {MAX_PATH} characters"
    if tag is not None and not _TAG.fullmatch(tag):
        return "the tag must be up to 128 letters, digits, dots, dashes and underscores, and begin with none of . and -"
    if digest is not None and not _DIGEST.fullmatch(digest):
        return "the digest must be sha256: and 64 lower-case hexadecimal digits, or sha384 or sha512 likewise"
    if _split_domain(f"{domain}/{path}") != (domain, path):
        return "the registry and the repository are not in their canonical form"
    return ""


def parse_reference(text: str) -> Reference:
    """Read a reference as ``docker pull`` does, with Docker's defaults for the registry and the namespace.

    No tag is added: a reference without tag and digest has neither.

    Raises:
        InvalidReference: the text is no reference, or a bare image id.
    """
    if not text:
        raise InvalidReference(text, "it is empty")
    if len(text) > MAX_REFERENCE:
        raise InvalidReference(text, f"it is longer than {MAX_REFERENCE} characters")
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReference(text, "64 hexadecimal digits are an image id, not a name")
    domain, remainder = _split_domain(text)
    named, at, digest = remainder.partition("@")
    path, colon, tag = named.partition(":")
    try:
        return Reference(domain, path, tag if colon else None, digest if at else None)
    except InvalidReference as error:
        raise InvalidReference(text, error.reason) from None


def _split_domain(text: str) -> tuple[str, str]:
    """Return the registry and the rest (distribution/reference: ``splitDockerDomain``)."""
    first, slash, rest = text.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first or first != first.lower()):
        first, rest = DEFAULT_DOMAIN, text
    if first == LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = OFFICIAL_NAMESPACE + rest
    return first, rest


def canonical(text: str, image_id: str = "") -> str:
    """Return the one form in which logs and messages show what somebody called an image.

    That is ``registry/path:tag`` or ``registry/path@digest`` (the engine ignores a tag beside a digest), or
    ``sha256:…`` for an id. ``image_id`` is what the text led to, where that is known: it tells a part of an id from
    a name, which the engine takes first. A text that is neither is returned as it is.
    """
    if (found := _IMAGE_ID.fullmatch(text)) is not None:
        return f"sha256:{found[1]}"
    if image_id and (found := _PART_OF_ID.fullmatch(text)) is not None and image_id.startswith(f"sha256:{found[1]}"):
        return image_id
    try:
        reference = parse_reference(text)
    except InvalidReference:
        return text
    if reference.digest is not None:
        return f"{reference.name}@{reference.digest}"
    return f"{reference.name}:{reference.tag or DEFAULT_TAG}"


@dataclass(frozen=True, slots=True)
class ImagePattern:
    """An entry of an image list. ``text`` is as the operator wrote it, ``str()`` its canonical form.

    Exactly one of these holds: it means every image (``name`` is "*"), every tag of ``name`` (``tag`` is "*"), one
    tag of it, or one digest of it. ``name``, and a tag that is not "*" as a whole, may hold a ``*`` for a part.
    """

    text: str
    name: str
    tag: str | None = None
    digest: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether the entry is "*": every image, without asking any registry."""
        return self.name == ANY

    @property
    def is_any_tag(self) -> bool:
        """Whether the entry means every tag of the repository, or repositories, ``name``."""
        return self.tag == ANY

    @property
    def is_single(self) -> bool:
        """Whether the entry means one tag or one digest of one repository, so that it is resolved as a whole."""
        return STAR not in self.name and (self.tag is None or STAR not in self.tag)

    @property
    def domain(self) -> str:
        """The registry. Not for "*"."""
        return self.name.partition("/")[0]

    @property
    def path(self) -> str:
        """The path of the repository, or the glob of paths. Not for "*"."""
        return self.name.partition("/")[2]

    @property
    def reference(self) -> Reference:
        """The repository with the tag or digest of the entry; neither for every tag. Only for one repository."""
        return Reference(self.domain, self.path, self.tag if self.is_single else None, self.digest)

    def covers(self, domain: str, path: str) -> bool:
        """Is this repository the one that the entry names, or does it fit the entry's glob?"""
        return domain == self.domain and path_fits(self.path, path)

    def covers_tag(self, tag: str) -> bool:
        """Does the entry mean this tag? Not for a digest."""
        return fits(self.tag or "", tag)

    def __str__(self) -> str:
        if self.is_everything:
            return ANY
        return f"{self.name}:{self.tag}" if self.digest is None else f"{self.name}@{self.digest}"


def parse_entry(text: str) -> ImagePattern:
    """Read one entry of ``imageList.images``: ``name[:tag]``, ``name:*``, ``name@digest``, a glob, or ``*``.

    No tag means "latest". With a digest a tag is accepted and has no meaning, as for ``docker pull``.

    Raises:
        InvalidReference: the text is none of these, or its digest is not SHA-256, the only kind that the
            engine identifies images by.
    """
    if text == ANY:
        return ImagePattern(text, ANY)
    if STAR in text:
        return _parse_glob(text)
    if _DIGEST.fullmatch(text):
        remedy = "write name@digest; an image that no registry has belongs into sockwarden.localImages"
        raise InvalidReference(text, "a digest needs the name of its repository: name@digest", remedy)
    reference = parse_reference(text)
    if reference.digest is None:
        return ImagePattern(text, reference.name, reference.tag or DEFAULT_TAG)
    if not reference.digest.startswith("sha256:"):
        raise InvalidReference(text, "only a sha256 digest can be compared with an image of the engine")
    return ImagePattern(text, reference.name, None, reference.digest)


def canonical_entry(text: str) -> str:
    """Return the canonical form of an entry of an image list, or of an id; the text itself where it is neither."""
    try:
        return str(parse_entry(text))
    except InvalidReference:
        return text


def _parse_glob(text: str) -> ImagePattern:
    """Read an entry that holds a ``*``: ``name:*``, or one with a ``*`` within a part of the name or tag."""
    if len(text) > MAX_REFERENCE:
        raise InvalidReference(text, f"it is longer than {MAX_REFERENCE} characters")
    if "@" in text:
        raise InvalidReference(text, "a digest needs no *: it means one content", "write name@digest")
    if text in _LIKE_EVERYTHING:
        remedy = 'write "*" for every image, or "docker.io/library/*:*" for Docker\'s official images'
        raise InvalidReference(text, "it would mean only the official images of Docker Hub", remedy)
    domain, remainder = _split_domain(text)
    path, colon, tag = remainder.partition(":")
    if not path.removeprefix(OFFICIAL_NAMESPACE):
        raise InvalidReference(text, "its name is empty")
    if not colon:
        tag = DEFAULT_TAG
    elif ":" in tag:
        raise InvalidReference(text, "it has a tag before the :*")
    reason, remedy = fault_of(domain, path, tag)
    if reason:
        raise InvalidReference(text, reason, remedy)
    try:
        Reference(domain, filled(path), filled(tag))
    except InvalidReference as error:
        raise InvalidReference(text, error.reason) from None
    return ImagePattern(text, f"{domain}/{path}", tag)
