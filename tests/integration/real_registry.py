"""A docker-registry process for tests: what is behind it, what it wants of clients, and what it was asked."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import httpx

from sockwarden.dockerapi.manifest import DOCKER_MANIFEST, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

READY_SECONDS = 30.0
CONFIG_TYPES = {
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
}


def sha(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


class RealRegistry:
    """One docker-registry process on a free loopback port; stopped and started again it keeps both data and port.

    ``behind`` is another registry whose data this one serves; ``tables`` are more of its configuration, by table.
    """

    def __init__(self, folder: Path, behind: RealRegistry | None = None, **tables: dict[str, Any]) -> None:
        self._folder = folder
        self._data: Path = folder / "data" if behind is None else behind._data
        self._tables = tables
        self.host = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._asked: list[str] = []
        self._heard = threading.Condition()

    @classmethod
    def running(
        cls, folder: Path, behind: RealRegistry | None = None, **tables: dict[str, Any]
    ) -> Iterator[RealRegistry]:
        """Yield a registry that runs."""
        registry = cls(folder, behind, **tables)
        registry.start()
        try:
            yield registry
        finally:
            registry.stop()

    def start(self) -> None:
        config = self._folder / "config.yml"
        document: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self._data)}},
            **self._tables,
        }
        document["http"] = {**self._tables.get("http", {}), "addr": self.host, "secret": "test"}
        config.write_text(json.dumps(document))  # JSON is YAML
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process = process
        ready = threading.Event()

        def log(text: str) -> None:
            if match := re.search(r"listening on (127\.0\.0\.1:[0-9]+)", text):
                self.host = match[1]
                ready.set()

        def access(text: str) -> None:
            if match := re.search(r'"([A-Z]+ /v2/\S*) HTTP', text):
                with self._heard:
                    self._asked.append(match[1])
                    self._heard.notify_all()

        def follow(stream: IO[str], line: Any) -> None:
            with stream:
                for text in stream:
                    line(text)

        for stream, line in ((process.stderr, log), (process.stdout, access)):
            assert stream is not None
            self._readers.append(threading.Thread(target=follow, args=(stream, line)))
            self._readers[-1].start()
        if not ready.wait(READY_SECONDS):
            self.stop()
            raise AssertionError("docker-registry did not come up")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            while self._readers:
                self._readers.pop().join()
            self._process = None

    def asked(self) -> list[str]:
        """Return what was asked since the last call, such as ``HEAD /v2/app/manifests/1``."""
        httpx.get(f"http://{self.host}/v2/?end-of-this-round", trust_env=False)
        with self._heard:
            assert self._heard.wait_for(lambda: any("end-of-this-round" in one for one in self._asked), READY_SECONDS)
            found = [one for one in self._asked if "?end-of-this-round" not in one]
            self._asked.clear()
        return found

    def _blob(self, path: str, body: bytes) -> str:
        with httpx.Client(trust_env=False) as client:
            where = client.post(f"http://{self.host}/v2/{path}/blobs/uploads/").headers["location"]
            answer = client.put(httpx.URL(where).copy_merge_params({"digest": sha(body)}), content=body)
        assert answer.status_code == 201, answer.text
        return sha(body)

    def put(self, path: str, reference: str, document: dict[str, Any]) -> str:
        body = json.dumps(document).encode()
        with httpx.Client(trust_env=False) as client:
            headers = {"content-type": document["mediaType"]}
            answer = client.put(f"http://{self.host}/v2/{path}/manifests/{reference}", content=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return sha(body)

    def image(self, path: str, tag: str, name: str, media_type: str = DOCKER_MANIFEST) -> tuple[str, str]:
        """Push a one-platform image and return (manifest digest, config digest)."""
        layer = f"layer of {name}".encode()
        config = json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode()
        descriptors = [
            {"mediaType": kind, "digest": self._blob(path, body), "size": len(body)}
            for kind, body in (
                (CONFIG_TYPES[media_type], config),
                ("application/vnd.docker.image.rootfs.diff.tar.gzip", layer),
            )
        ]
        document = {"schemaVersion": 2, "mediaType": media_type, "config": descriptors[0], "layers": descriptors[1:]}
        return self.put(path, tag, document), sha(config)

    def index(self, path: str, tag: str, list_type: str, media_type: str, *names: str) -> tuple[str, list[str]]:
        """Push a multi-platform image and return (index digest, all digests below it)."""
        below: list[str] = []
        listed = []
        for name in names:
            digest, config = self.image(path, f"only-{name}", name, media_type)
            below += (digest, config)
            platform = {"os": "linux", "architecture": name}
            size = len(httpx.get(f"http://{self.host}/v2/{path}/manifests/{digest}", trust_env=False).content)
            listed.append({"mediaType": media_type, "digest": digest, "size": size, "platform": platform})
        return self.put(path, tag, {"schemaVersion": 2, "mediaType": list_type, "manifests": listed}), below
