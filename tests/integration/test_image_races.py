"""What runs is what was judged: names that move between check and use, restarts by the engine, a silent registry."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.between import Between
from tests.integration.conftest import Docker, Gateway
from tests.integration.image_stage import REFUSAL, Stage

from sockwarden.demo import expected
from sockwarden.demo.engine import ThrowAwayEngine
from sockwarden.demo.registry import ThrowAwayRegistry
from sockwarden.demo.warden import ThrowAwayWarden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker


class Race:
    """A sockwarden that reaches the engine through ``between``, and one scene of images."""

    def __init__(self, stage: Stage, between: Between) -> None:
        self.stage = stage
        self.between = between
        self.scene = stage.scene()
        self.scene.list_images()
        self.good, self.evil = (f"{self.scene.name}-{name}" for name in ("good", "evil"))

    def make(self, name: str, image: str) -> None:
        """Make a container with the socket, past sockwarden."""
        words = ("--network", "none", "-v", self.scene.mount, "--name", name, image, "sleep", "600")
        self.stage.docker.right("create", *words)

    def make_both(self) -> None:
        self.make(self.good, self.scene.good)
        self.make(self.evil, self.scene.evil)

    def swap_names(self) -> None:
        for old, new in ((self.good, "kept"), (self.evil, self.good), ("kept", self.evil)):
            self.stage.docker.right("rename", old, new)

    def state(self, name: str) -> str:
        told: str = self.stage.docker.right("inspect", "--format", "{{.State.Status}}", name)
        return told.strip()


@pytest.fixture
def race(engine: Any, registry: Any, workshop: Path) -> Iterator[Race]:
    folder = workshop / f"race{len(list(workshop.glob('race*')))}"
    folder.mkdir()
    between = Between(folder / "engine.sock", engine.socket)
    warden = ThrowAwayWarden(folder, engine_socket=between.path, listen=folder / "docker.sock", takeover="none")
    warden.configure(expected.policy())
    try:
        warden.start()
        gateway = Gateway(warden, Docker(warden.listen, folder / "home"))
        stage = Stage(engine, registry, Docker(engine.socket, folder / "direct"), gateway, prefix=folder.name)
        stage.set_up(workshop)
        race = Race(stage, between)
        yield race
        stage.docker("rm", "-f", race.good, race.evil)
    finally:
        warden.stop()
        between.close()


def test_a_tag_that_moves_before_the_engine_creates_gains_nothing(race: Race) -> None:
    race.between.when("/containers/create", lambda: race.scene.tag(race.scene.evil, race.scene.good))
    words = ("--pull", "never", "--network", "none", "-v", race.scene.mount, "--name", race.good)
    done = race.stage.gateway.docker("create", *words, race.scene.good, "true")
    assert REFUSAL in done.stderr
    assert race.stage.docker("inspect", race.good).returncode != 0  # it was made of evil, and removed


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_name_that_moves_before_the_engine_starts_gains_nothing(race: Race, verb: str) -> None:
    race.make_both()
    race.between.when(f"/{verb}", race.swap_names)
    race.stage.gateway.docker(verb, race.good)
    assert (race.state(race.good), race.state(race.evil)) == ("created", "running")  # the names were swapped


def test_a_name_that_moves_before_the_engine_unpauses_gains_nothing(race: Race) -> None:
    race.make_both()
    for name in (race.good, race.evil):
        race.stage.docker.right("start", name)
        race.stage.docker.right("pause", name)
    race.between.when("/unpause", race.swap_names)
    race.stage.gateway.docker("unpause", race.good)
    assert (race.state(race.good), race.state(race.evil)) == ("paused", "running")


def test_a_start_of_what_is_not_there_never_reaches_the_engine(race: Race) -> None:
    done = race.stage.gateway.docker("start", race.evil)
    assert f"No such container: {race.evil}" in done.stderr
    assert not any(target.endswith("/start") for target in race.between.seen)


def test_a_container_that_came_up_by_itself_is_judged_when_it_connects(
    gateway: Gateway, images: Any, direct: Any, eventually: Callable[..., Any]
) -> None:
    ask = "curl -sS --unix-socket /var/run/docker.sock http://d/containers/json; exit 1"
    words = ("-d", "--restart", "on-failure:2", "--network", "none", "-v", f"{gateway.socket}:/var/run/docker.sock")
    container = direct.right("run", *words, images.other, "sh", "-c", ask).strip()
    try:
        said = eventually(lambda: _logs_with(direct, container, 3))
    finally:
        direct.right("rm", "-f", container)
    assert said.count(REFUSAL) == said.count("message") == 3


def _logs_with(direct: Docker, container: str, count: int) -> str:
    said: str = direct.right("logs", container)
    return said if said.count("message") >= count else ""


def test_a_container_that_comes_up_with_the_engine_is_judged_when_it_connects(
    registry: Any, eventually: Callable[..., Any]
) -> None:
    with tempfile.TemporaryDirectory(prefix="sw-up-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        engine = ThrowAwayEngine(folder, mirror=registry.url)
        listen = folder / "w" / "docker.sock"
        warden = ThrowAwayWarden(folder / "w", engine_socket=engine.socket, listen=listen, takeover="none")
        warden.configure(expected.policy())
        try:
            engine.start()
            warden.start()
            gateway = Gateway(warden, Docker(listen, folder / "home"))
            stage = Stage(engine, registry, Docker(engine.socket, folder / "direct"), gateway, prefix="up")
            stage.set_up(folder, clients=True)
            scene = stage.scene()
            scene.list_images()
            ask = "curl -sS --unix-socket /run/w/docker.sock http://d/containers/json?limit=1; echo ' EN''D'; sleep 600"
            # The folder and not the socket: the engine would make a folder where no socket is.
            words = (
                "-d",
                "--restart",
                "always",
                "--stop-signal",
                "KILL",
                "--network",
                "none",
                "-v",
                f"{listen.parent}:/run/w",
            )
            made = [
                stage.docker.right("run", *words, each, "sh", "-c", ask).strip() for each in (scene.good, scene.evil)
            ]
            for container in made:
                eventually(lambda each=container: stage.docker.right("logs", each).count(" END") == 1)
            engine.restart()
            good, evil = (
                eventually(lambda each=container: _answers(stage.docker, each, 2), seconds=60) for container in made
            )
        finally:
            warden.stop()
            engine.stop()
    assert (good.count(REFUSAL), good.count('"Image"')) == (0, 2)
    assert (evil.count(REFUSAL), evil.count('"Image"')) == (2, 0)


def _answers(docker: Docker, container: str, count: int) -> str:
    said: str = docker.right("logs", container)
    return said if said.count(" END") >= count else ""


# -- 18: the registry is down


def test_18_a_registry_that_went_down_changes_nothing_and_one_that_never_answered_is_told_of(
    engine: Any, workshop: Path, new_gateway: Callable[..., Gateway]
) -> None:
    folder = workshop / "down"
    folder.mkdir()
    registry = ThrowAwayRegistry(folder)
    registry.start()
    try:
        gateway = new_gateway()
        stage = Stage(engine, registry, Docker(engine.socket, folder / "direct"), gateway, prefix="down")
        stage.set_up(workshop)
        scene = stage.scene()
        scene.list_images()
        before = scene.judge(scene.good)
    finally:
        registry.stop()
    assert (before, scene.judge(scene.good), scene.judge(scene.evil)) == ("allowed", "allowed", "refused")
    gateway.stop()
    stage.gateway = new_gateway()  # with a state directory of its own: it knows no answers
    scene.list_images()
    assert scene.judge(scene.good) == "refused"
    assert registry.address in stage.gateway.denials()[-1]["remedy"]
    stage.gateway.stop()
