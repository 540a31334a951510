"""Globs, local images and derived images on a real engine with a real registry, through a real sockwarden."""

from __future__ import annotations

import io
import tarfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.demo import expected, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

REFUSED: Final = "docker socket mount denied"
START_SECONDS: Final = 1.0
"""What Docker Desktop says that a derived image may cost at each start."""


@dataclass
class Kinds:
    """A gateway whose policy has a glob, a local image and derived images, and what its images are called."""

    gateway: Any
    direct: Any
    listed: str  # pushed; the glob covers it
    outside: str  # pushed to a repository that no entry covers
    local: str  # never pushed; its id is listed
    other: str  # never pushed, not listed

    def create(self, reference: str) -> tuple[bool, str]:
        """Return whether a container of the image gets the socket, and what the audit says of it."""
        mount = f"{self.gateway.socket}:/x"
        done = self.gateway.docker("create", "--network", "none", "-v", mount, reference, "true")
        assert (done.returncode == 0) is (REFUSED not in done.stderr), done.stderr
        if done.returncode == 0:
            self.direct.right("rm", done.stdout.strip())
        return done.returncode == 0, done.stderr

    def allowed(self, reference: str) -> bool:
        return self.create(reference)[0]

    def build(self, tag: str, dockerfile: str) -> str:
        """Build with the classic builder, whose images have the layers of their FROM."""
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, text in (("Dockerfile", dockerfile), ("file", f"{tag}\n")):
                member = tarfile.TarInfo(name)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        self.direct.right("build", "-q", "-t", tag, "-", stdin=context.getvalue())
        return tag


@pytest.fixture(scope="module")
def kinds(
    engine: Any, registry: Any, workshop: Path, images: Any, direct: Any, new_gateway: Callable[..., Any]
) -> Iterator[Kinds]:
    assert images.cli
    direct.more["DOCKER_BUILDKIT"] = "0"
    base = registry.address
    listed, outside, local, other = f"{base}/kinds/listed:1", f"{base}/strange/outside:1", "kinds-local:1", "kinds-x:1"
    tree = workshop / "kinds.tar"
    for reference in (listed, outside, local, other):
        image.busybox_tree(tree, marker=reference)
        image.import_image(engine, tree, reference)
    tree.unlink()
    for reference in (listed, outside):
        direct.right("push", "-q", reference)
    policy = expected.policy()
    mount = policy["enhancedContainerIsolation"]["dockerSocketMount"]
    mount["imageList"] = {"images": [f"{base}/kinds/*:*"], "allowDerivedImages": True}
    local_id = direct.right("image", "inspect", "--format", "{{.Id}}", local).strip()
    policy["sockwarden"] = {"localImages": [local_id]}
    gateway = new_gateway(policy)
    yield Kinds(gateway, direct, listed, outside, local, other)
    gateway.stop()
    direct("image", "rm", "-f", listed, outside, local, other)


def test_a_glob_allows_what_a_repository_that_fits_holds(kinds: Kinds) -> None:
    assert kinds.allowed(kinds.listed)


def test_a_glob_allows_nothing_of_another_repository(kinds: Kinds) -> None:
    assert not kinds.allowed(kinds.outside)


def test_a_name_that_fits_the_glob_does_not_help_another_image(kinds: Kinds, registry: Any) -> None:
    forged = f"{registry.address}/kinds/forged:1"
    kinds.direct.right("tag", kinds.other, forged)
    try:
        assert not kinds.allowed(forged)
    finally:
        kinds.direct.right("image", "rm", forged)


def test_a_local_image_is_allowed_by_its_id_under_any_name(kinds: Kinds) -> None:
    kinds.direct.right("tag", kinds.local, "kinds-again:1")
    try:
        assert kinds.allowed(kinds.local)
        assert kinds.allowed("kinds-again:1")
    finally:
        kinds.direct.right("image", "rm", "kinds-again:1")


def test_the_name_of_a_local_image_does_not_help_another_one(kinds: Kinds) -> None:
    kinds.direct.right("tag", kinds.local, "kinds-kept:1")
    kinds.direct.right("tag", kinds.other, kinds.local)
    try:
        assert not kinds.allowed(kinds.local)
    finally:
        kinds.direct.right("tag", "kinds-kept:1", kinds.local)
        kinds.direct.right("image", "rm", "kinds-kept:1")


@pytest.mark.parametrize("parent", ["listed", "local"])
def test_an_image_built_on_an_allowed_one_is_allowed(kinds: Kinds, parent: str) -> None:
    built = kinds.build(f"kinds-built-{parent}:1", f"FROM {getattr(kinds, parent)}\nCOPY file /file\n")
    assert kinds.allowed(built)


CASES: Final = {
    "metadata": "FROM {listed}\nENV A=b\n",
    "copy-from": "FROM {listed} AS it\nFROM {other}\nCOPY --from=it /bin/busybox /b\n",
    "other": "FROM {other}\nCOPY file /file\n",
    "outside": "FROM {outside}\nCOPY file /file\n",
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_what_only_resembles_a_derived_image_is_refused(kinds: Kinds, case: str) -> None:
    text = CASES[case].format(listed=kinds.listed, other=kinds.other, outside=kinds.outside)
    assert not kinds.allowed(kinds.build(f"kinds-{case}:1", text))


def test_a_flattened_image_is_refused(kinds: Kinds, workshop: Path) -> None:
    container = kinds.direct.right("create", "--network", "none", kinds.listed, "true").strip()
    file = workshop / "flat.tar"
    kinds.direct.right("export", "-o", str(file), container)
    kinds.direct.right("rm", container)
    kinds.direct.right("import", str(file), "kinds-flat:1")
    file.unlink()
    assert not kinds.allowed("kinds-flat:1")


def test_a_derived_image_that_was_pushed_is_refused(kinds: Kinds, registry: Any) -> None:
    pushed = kinds.build(f"{registry.address}/strange/child:1", f"FROM {kinds.listed}\nCOPY file /pushed\n")
    assert kinds.allowed(pushed)
    kinds.direct.right("push", "-q", pushed)
    assert not kinds.allowed(pushed)


def test_a_derived_image_costs_less_than_a_second_at_each_start(kinds: Kinds) -> None:
    built = kinds.build("kinds-timed:1", f"FROM {kinds.listed}\nCOPY file /timed\n")
    before = time.monotonic()
    assert kinds.allowed(built)
    assert kinds.allowed(built)
    assert time.monotonic() - before < 2 * (START_SECONDS + 1)  # a create of the CLI itself takes a part of a second


def test_the_audit_says_which_digest_matched_which_entry(kinds: Kinds, registry: Any) -> None:
    built = kinds.build("kinds-audit:1", f"FROM {kinds.listed}\nCOPY file /audit\n")
    parent = kinds.direct.right("image", "inspect", "--format", "{{.Id}}", kinds.listed).strip()
    assert kinds.allowed(built)
    (last,) = [record for record in kinds.gateway.audit() if record.get("rule") == "socket-mount"][-1:]
    assert last["image"] == {"entry": f"{registry.address}/kinds/*:*", "digest": parent, "parent": parent}


def test_the_audit_says_what_would_allow_a_local_image(kinds: Kinds) -> None:
    other = kinds.direct.right("image", "inspect", "--format", "{{.Id}}", kinds.other).strip()
    assert not kinds.allowed(kinds.other)
    last = kinds.gateway.denials()[-1]
    assert last["image"] == {"entry": None, "digest": other}
    assert f'add "{other}" to sockwarden.localImages' in last["remedy"]
