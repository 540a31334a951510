"""A good and an evil image on a real engine, a policy that lists the good one, and the tools to forge images.

Every scene has images and repositories of its own, so that what one trick leaves behind is no other's help.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from sockwarden.demo import expected, image
from sockwarden.dockerapi.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BASE: Final = "identity-base:1"
REFUSAL: Final = "docker socket mount denied"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Parts:
    """An image as ``docker load`` takes it: its config, and its layers as plain tar archives, lowest first."""

    config: bytes
    layers: list[bytes]

    def tar(self, tag: str, config_name: str = "") -> bytes:
        """Return the archive in the oldest form, without an index; ``config_name`` may lie about the config."""
        name = config_name or f"{sha(self.config)[7:]}.json"
        files = {name: self.config, **{f"{index}/layer.tar": layer for index, layer in enumerate(self.layers)}}
        layers = [f"{index}/layer.tar" for index in range(len(self.layers))]
        files["manifest.json"] = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": layers}]).encode()
        return tar(files.items())


def tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return archive.getvalue()


class Stage:
    """One engine with one registry and a sockwarden in front."""

    def __init__(
        self, engine: Any, registry: Any, docker: Any, gateway: Any, *, containerd: bool = False, prefix: str = "i"
    ) -> None:
        self.engine = engine
        self.registry = registry.address
        self.docker = docker
        self.gateway = gateway
        self.containerd = containerd
        self._prefix = prefix  # of repositories: no two stages on one engine may share one
        self._scenes = 0
        docker.more["DOCKER_BUILDKIT"] = "0"  # the classic builder keeps the layers of FROM and needs no other image

    def set_up(self, workshop: Path, *, clients: bool = False) -> None:
        tree = workshop / "identity.tar"
        image.busybox_tree(tree, marker="base", clients=clients)
        image.import_image(self.engine, tree, BASE)
        tree.unlink()

    def scene(self) -> Scene:
        self._scenes += 1
        return Scene(self, f"{self._prefix}{self._scenes}")


class Scene:
    """``good`` and ``evil`` share a base, both were pushed, and only good's tag is listed."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.docker = stage.docker
        self.name = name
        self.repository = f"{stage.registry}/{name}/good"
        self.good, self.evil = f"{self.repository}:1", f"{stage.registry}/{name}/evil:1"
        for reference in (self.good, self.evil):
            self.build(reference, f"FROM {BASE}\nCOPY file /marker\n", file=reference)
            self.docker.right("push", "-q", reference)
        self.good_id, self.evil_id = self.id_of(self.good), self.id_of(self.evil)
        self.good_digest, self.evil_digest = self.digest_of(self.good), self.digest_of(self.evil)

    # -- making images

    def own(self, name: str) -> str:
        """Return a name for an image that is only local."""
        return f"{self.name}-{name}:1"

    def build(self, reference: str, dockerfile: str, *, file: str = "file") -> str:
        """Build an image and return ``reference``, or its id where that is ""."""
        context = tar((("Dockerfile", dockerfile.encode()), ("file", file.encode())))
        made: str = self.docker.right("build", "-q", *(("-t", reference) if reference else ()), "-", stdin=context)
        return reference or made.strip()

    def keep_good(self) -> str:
        """Give good a second name, for tricks that take its own."""
        return self.tag(self.good, self.own("keep"))

    def tag(self, source: str, target: str) -> str:
        self.docker.right("tag", source, target)
        return target

    def parts(self, reference: str) -> Parts:
        saved: dict[str, bytes] = {}
        done = self.stage.engine.docker("save", reference)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                saved[member.name] = b"" if content is None else content.read()
        manifest = json.loads(saved["manifest.json"])[0]
        layers = [saved[name] for name in manifest["Layers"]]
        plain = [gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer for layer in layers]
        return Parts(saved[manifest["Config"]], plain)

    def load(self, archive: bytes) -> str:
        """Load an archive; returns what the engine says, which may be that it is wrong."""
        done = self.docker("load", stdin=archive)
        said: str = done.stdout + done.stderr
        return said

    def put_recompressed(self, reference: str, tag: str) -> None:
        """Put the same image with layers that are compressed otherwise into good's repository."""
        parts = self.parts(reference)
        with httpx.Client(base_url=f"http://{self.stage.registry}/v2/{self.name}/good", trust_env=False) as client:

            def put(media: str, data: bytes) -> dict[str, Any]:
                place = client.post("/blobs/uploads/").headers["location"]
                client.put(f"{place}&digest={sha(data)}", content=data).raise_for_status()
                return {"mediaType": media, "size": len(data), "digest": sha(data)}

            layer = "application/vnd.docker.image.rootfs.diff.tar.gzip"
            manifest = {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST,
                "config": put("application/vnd.docker.container.image.v1+json", parts.config),
                "layers": [put(layer, gzip.compress(each, 1, mtime=0)) for each in parts.layers],
            }
            body = json.dumps(manifest).encode()
            client.put(f"/manifests/{tag}", content=body, headers={"content-type": DOCKER_MANIFEST}).raise_for_status()

    def put_index(self, tag: str) -> str:
        """Put an index with good as its one platform into good's repository; returns the index' digest."""
        manifest = self.manifest(self.good_digest)
        media = json.loads(manifest)["mediaType"]
        platform = {"os": "linux", "architecture": "amd64"}
        one = {"mediaType": media, "size": len(manifest), "digest": self.good_digest, "platform": platform}
        kind = OCI_INDEX if media == OCI_MANIFEST else DOCKER_LIST
        body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [one]}).encode()
        with httpx.Client(trust_env=False) as client:
            client.put(self._manifest_at(tag), content=body, headers={"content-type": kind}).raise_for_status()
        return sha(body)

    def manifest(self, digest: str) -> bytes:
        """Return a manifest of good's repository."""
        accept = {"accept": f"{DOCKER_MANIFEST}, {OCI_MANIFEST}"}
        with httpx.Client(trust_env=False) as client:
            return client.get(self._manifest_at(digest), headers=accept).raise_for_status().content

    def _manifest_at(self, reference: str) -> str:
        return f"http://{self.stage.registry}/v2/{self.name}/good/manifests/{reference}"

    # -- looking

    def id_of(self, reference: str) -> str:
        found: str = self.docker.right("image", "inspect", "--format", "{{.Id}}", reference)
        return found.strip()

    def digest_of(self, reference: str) -> str:
        told = json.loads(self.docker.right("image", "inspect", "--format", "{{json .RepoDigests}}", reference))
        (digest,) = (each.partition("@")[2] for each in told if each.startswith(f"{reference.rpartition(':')[0]}@"))
        return str(digest)

    # -- judging

    def list_images(self, *entries: str, derived: bool = False, local: str = "") -> None:
        """Put a policy in force that lists good's tag, or ``entries``, and the id of a ``local`` image."""
        policy = expected.policy()
        mount = policy["enhancedContainerIsolation"]["dockerSocketMount"]
        mount["imageList"] = {"images": list(entries or (self.good,)), "allowDerivedImages": derived}
        if local:
            policy["sockwarden"] = {"localImages": [local]}
        self.stage.gateway.reload(policy)

    @property
    def mount(self) -> str:
        return f"{self.stage.gateway.socket}:/var/run/docker.sock"

    def judge(self, reference: str) -> str:
        """Return ``allowed``, ``refused`` (by sockwarden) or ``absent`` (the engine has no such image)."""
        words = ("create", "--pull", "never", "--network", "none", "-v", self.mount, reference, "true")
        done = self.stage.gateway.docker(*words)
        if done.returncode == 0:
            self.docker.right("rm", done.stdout.strip())
            return "allowed"
        if REFUSAL in done.stderr:
            return "refused"
        assert "No such image" in done.stderr, done.stderr
        return "absent"
