"""Lock files, kept answers and ``sockwarden digests``, with a real registry and a real agent."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.real_registry import RealRegistry

from sockwarden.demo.child import clean_environment
from sockwarden.demo.warden import ThrowAwayWarden
from sockwarden.dockerapi.manifest import OCI_INDEX, OCI_MANIFEST
from sockwarden.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker  # the agent itself wants to be root

PING = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nOK"


def policy_of(*images: str) -> dict[str, Any]:
    mount = {"imageList": {"images": list(images)}}
    return {
        "configurationFileVersion": 2,
        "enhancedContainerIsolation": {"value": True, "dockerSocketMount": mount},
    }


class Pinging(socketserver.StreamRequestHandler):
    """As much of an engine as a start of the agent needs."""

    def handle(self) -> None:
        while self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            self.wfile.write(PING)


class Desk:
    """One host: a registry, an engine that only pings, an agent, and the command line."""

    def __init__(self, folder: Path, registry: RealRegistry) -> None:
        self.folder = folder
        self.registry = registry
        self.lock = folder / "digests.lock.json"
        self.warden = ThrowAwayWarden(
            folder / "w", engine_socket=folder / "engine.sock", listen=folder / "docker.sock", takeover="none"
        )

    def configure(self, *images: str, **policy: str) -> None:
        registry = {"refresh": "1h"}
        self.warden.configure(policy_of(*images), guard={"mode": "none"}, registry=registry, policy=policy | self._file)

    @property
    def _file(self) -> dict[str, str]:
        return {"file": str(self.warden.files.policy)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sockwarden", "digests", *arguments]
        environment = clean_environment(self.folder)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def locked(self) -> subprocess.CompletedProcess[str]:
        files = self.warden.files
        return self.run(
            "lock", "--policy", str(files.policy), "--output", str(self.lock), "--config", str(files.config)
        )

    def verified(self, *more: str) -> subprocess.CompletedProcess[str]:
        config = str(self.warden.files.config)
        return self.run("verify", "--lock", str(self.lock), "--config", config, *more)

    def shown(self, *entries: str) -> dict[str, Any]:
        done = self.run("show", "--json", "--config", str(self.warden.files.config), *entries)
        assert done.returncode == ExitCode.OK, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="digests-") as short:  # the paths of sockets are short
        folder = Path(short)
        engine = socketserver.ThreadingUnixStreamServer(str(folder / "engine.sock"), Pinging)
        engine.daemon_threads = True
        thread = threading.Thread(target=engine.serve_forever)
        thread.start()
        for registry in RealRegistry.running(tmp_path):
            found = Desk(folder, registry)
            try:
                yield found
            finally:
                found.warden.stop()
                engine.shutdown()
                engine.server_close()
                thread.join()


@pytest.fixture
def app(desk: Desk) -> str:
    """An image of two platforms under a tag."""
    desk.registry.index("app", "1", OCI_INDEX, OCI_MANIFEST, "amd64", "arm64")
    return f"{desk.registry.host}/app:1"


def test_a_lock_holds_every_part_of_every_entry(desk: Desk) -> None:
    index, below = desk.registry.index("app", "1", OCI_INDEX, OCI_MANIFEST, "amd64", "arm64")
    single, config = desk.registry.image("one", "1", "one")
    name = desk.registry.host
    desk.configure(f"{name}/app:1", f"{name}/one@{single}", f"{name}/any:*")
    done = desk.locked()
    assert done.returncode == ExitCode.OK, done.stderr
    assert f"{name}/any:*: it stands for more than one reference" in done.stderr
    lock = json.loads(desk.lock.read_text())
    app = lock["entries"][f"{name}/app:1"]
    assert (app["digest"], app["index"]) == (index, [index])
    assert sorted(app["manifests"] + app["configs"]) == sorted(below)
    assert lock["entries"][f"{name}/one@{single}"]["configs"] == [config]
    assert lock["entries"][f"{name}/any:*"]["locked"] is False


def test_a_lock_is_the_same_when_it_is_written_again(desk: Desk, app: str) -> None:
    desk.configure(app)
    texts = []
    for _ in range(2):
        desk.locked()
        texts.append([line for line in desk.lock.read_text().splitlines() if '"created"' not in line])
    assert texts[0] == texts[1]


def test_no_lock_is_written_for_a_tag_that_does_not_exist(desk: Desk, app: str) -> None:
    missing = f"{desk.registry.host}/app:missing"
    desk.configure(app, missing)
    done = desk.locked()
    assert (done.returncode, desk.lock.exists()) == (ExitCode.FAILURE, False)
    assert missing in done.stderr


def test_no_lock_is_written_while_a_registry_is_silent(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.registry.stop()
    done = desk.locked()
    assert (done.returncode, desk.lock.exists()) == (ExitCode.UNAVAILABLE, False)


def move(desk: Desk) -> None:
    desk.registry.index("app", "1", OCI_INDEX, OCI_MANIFEST, "amd64", "riscv64")


@pytest.mark.parametrize(
    ("event", "code", "said"),
    [
        (lambda _: None, ExitCode.OK, "1 of 1 locked entries are what they were"),
        (move, ExitCode.DENIED, "0 of 1 locked entries are what they were"),
        (lambda desk: desk.registry.stop(), ExitCode.UNAVAILABLE, "0 of 1 locked entries are what they were"),
    ],
)
def test_verify_tells_whether_tags_still_point_there(
    desk: Desk, app: str, event: Callable[[Desk], None], code: ExitCode, said: str
) -> None:
    desk.configure(app)
    desk.locked()
    event(desk)
    done = desk.verified()
    assert done.returncode == code, done.stderr
    assert said in done.stdout


def test_verify_says_that_a_lock_belongs_to_another_policy(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.locked()
    desk.configure(app, "docker")
    done = desk.verified("--policy", str(desk.warden.files.policy))
    assert done.returncode == ExitCode.CONFIG
    assert "it was written on" in done.stderr


def test_with_a_lock_an_agent_starts_without_any_registry_and_asks_none(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.locked()
    desk.configure(app, lock=str(desk.lock))
    desk.registry.asked()
    desk.warden.start()
    shown = desk.shown()
    (row,) = shown["images"]
    assert (row["entry"], row["source"], row["digests"], row["error"]) == (app, "lock", 5, "")
    assert shown["lock"]["file"] == str(desk.lock)
    refreshed = desk.run("refresh", "--config", str(desk.warden.files.config))
    assert refreshed.returncode == ExitCode.FAILURE
    assert "nothing to refresh: the digests come from the lock file" in refreshed.stderr
    assert desk.registry.asked() == []


def test_a_reload_with_a_lock_of_another_policy_changes_nothing_and_says_so(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.locked()
    desk.configure(app, lock=str(desk.lock))
    desk.warden.start()
    desk.warden.write_policy(policy_of(app, "docker"))
    reload = [sys.executable, "-m", "sockwarden", "reload", "--config", str(desk.warden.files.config)]
    done = subprocess.run(reload, capture_output=True, text=True, timeout=60, check=False)
    assert "it was written on" in desk.warden.log() + done.stderr + done.stdout
    assert [row["entry"] for row in desk.shown()["images"]] == [app]


def test_an_agent_does_not_start_with_a_lock_of_another_policy(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.locked()
    desk.configure(app, "docker", lock=str(desk.lock))
    run = [sys.executable, "-m", "sockwarden", "run", "--config", str(desk.warden.files.config)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.CONFIG
    assert "it was written on" in done.stderr
    assert f"sockwarden digests lock --policy {desk.warden.files.policy} --output {desk.lock}" in done.stderr


def test_answers_survive_a_kill_and_serve_while_the_registry_is_down(
    desk: Desk, app: str, eventually: Callable[..., Any]
) -> None:
    desk.configure(app)
    desk.warden.start()
    eventually(lambda: desk.shown()["cache"]["written_at"] and desk.shown()["images"][0]["digest"])
    before = desk.shown()["images"][0]
    eventually(lambda: before["digest"][7:] in kept(desk))
    desk.warden.kill9()
    desk.registry.stop()
    (row,) = desk.shown()["images"]
    assert (row["entry"], row["source"], row["digest"]) == (app, "cache", before["digest"])
    desk.warden.start()
    (row,) = desk.shown(app)["images"]
    assert (row["source"], row["digest"], row["digests"]) == ("cache", before["digest"], 5)
    done = desk.run("refresh", app, "--config", str(desk.warden.files.config))
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "cannot be reached" in done.stdout
    assert desk.shown()["images"][0]["digest"] == before["digest"]


def kept(desk: Desk) -> str:
    file = desk.folder / "sockwarden-state" / "answers.jsonl"
    return file.read_text() if file.exists() else ""


def test_refresh_shows_a_move_and_the_grace_of_what_was_there_before(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.warden.start()
    refresh = ("refresh", "--json", "--config", str(desk.warden.files.config))
    (before,) = json.loads(desk.run(*refresh).stdout)
    move(desk)
    (after,) = json.loads(desk.run(*refresh, app).stdout)
    assert after["digest"] != before["digest"]
    assert [one["digest"] for one in after["grace"]] == [before["digest"]]
    text = desk.run("show", "--config", str(desk.warden.files.config)).stdout
    assert f"{before['digest']} for 24 h more" in text


def test_an_entry_that_is_not_in_the_policy_is_said(desk: Desk, app: str) -> None:
    desk.configure(app)
    desk.warden.start()
    done = desk.run("refresh", "docker:nosuch", "--config", str(desk.warden.files.config))
    assert done.returncode == ExitCode.FAILURE
    assert "has no entry 'docker.io/library/docker:nosuch'" in done.stderr
