"""An ordinary day's work with the real docker CLI gives the same output with sockwarden in front as without."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

NAME: Final = "day"
ALONE: Final = ("--network", "none")
RUN: Final = ("run", "--rm", *ALONE, "busybox")
MEBIBYTE: Final = 1 << 20

NORMAL: Final = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[ +-][0-9:]+(?: UTC)?)?"), "TIME"),
    (re.compile(r"(?:About )?(?:an?|\d+|Less than a) (?:second|minute|hour)s?(?: ago)?"), "AGE"),
    (re.compile(r"\b\d+(?:\.\d+)?s\b"), "DURATION"),
    (re.compile(r"\b[a-z]+_[a-z]+\d?\b"), "WORDS"),  # names that the engine makes up
    (re.compile(r"\d+(?:\.\d+)?(?:[kKMG]i?)?B\b"), "SIZE"),
    (re.compile(r"\s+"), " "),  # columns are as wide as what stands in them
)
"""What differs from run to run, and its placeholder."""


def normal(text: str) -> str:
    for pattern, placeholder in NORMAL:
        text = pattern.sub(placeholder, text)
    return text.strip()


def clis() -> list[str]:
    """Every docker CLI on PATH, once each."""
    found: dict[str, str] = {}
    for folder in os.environ["PATH"].split(os.pathsep):
        path = shutil.which("docker", path=folder)
        if path:
            version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            found.setdefault(version, path)
    return list(found.values())


@dataclass
class Desk:
    """One side of the comparison: the CLI, a directory, the registry."""

    docker: Any
    folder: Path
    registry: str
    eventually: Callable[..., Any]

    def up(self, *command: str, options: tuple[str, ...] = ()) -> None:
        """Start the container of this test."""
        self.docker.right("run", "-d", "--name", NAME, *ALONE, *options, "busybox", *command)

    def state(self, template: str) -> str:
        text: str = self.docker.right("inspect", "-f", template, NAME)
        return text.strip()


STEPS: Final[list[Callable[[Desk], str]]] = []


def step(work: Callable[[Desk], str]) -> Callable[[Desk], str]:
    """Make a function a step of the day."""
    STEPS.append(work)
    return work


@step
def run_prints_its_output(desk: Desk) -> str:
    text: str = desk.docker.right(*RUN, "echo", "hello")
    assert text == "hello\n"
    return text


@step
def run_keeps_both_streams_apart_and_the_exit_status(desk: Desk) -> str:
    done = desk.docker(*RUN, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    return f"{done.stdout}|{done.stderr}"


@step
def run_with_piped_input_gives_it_back(desk: Desk) -> str:
    data = bytes(range(32, 127)) * (MEBIBYTE // 95)
    text: str = desk.docker.right("run", "--rm", "-i", *ALONE, "busybox", "cat", stdin=data)
    assert text.encode() == data
    return str(len(text))


@step
def run_with_input_that_ends_at_once(desk: Desk) -> str:
    text: str = desk.docker.right("run", "--rm", "-i", *ALONE, "busybox", "wc", "-c")
    assert text.strip() == "0"
    return text


@step
def run_on_a_terminal(desk: Desk) -> str:
    with desk.docker.terminal("run", "--rm", "-it", *ALONE, "busybox", "sh") as terminal:
        terminal.expect("/ # ")
        shown: str = terminal.enter("stty size; echo $((6*7))", "/ # ")
        terminal.type("exit 3")
        terminal.rest()
        assert terminal.status == 3
    assert shown.splitlines()[-1] == "42"
    return shown


@step
def run_an_image_that_is_not_there(desk: Desk) -> str:
    done = desk.docker("run", "--rm", "--pull=never", *ALONE, "nosuch:1")
    assert done.returncode == 125
    text: str = done.stderr
    return text


@step
def exec_in_a_running_container(desk: Desk) -> str:
    desk.up("sleep", "600")
    done = desk.docker("exec", "-e", "A=b", "-w", "/tmp", NAME, "sh", "-c", "pwd; echo $A; echo err >&2; exit 5")
    assert (done.returncode, done.stdout) == (5, "/tmp\nb\n")
    return f"{done.stdout}|{done.stderr}"


@step
def exec_with_piped_input(desk: Desk) -> str:
    desk.up("sleep", "600")
    text: str = desk.docker.right("exec", "-i", NAME, "tr", "a-z", "A-Z", stdin=b"hello\n" * 1000)
    assert text == "HELLO\n" * 1000
    return text


@step
def exec_on_a_terminal(desk: Desk) -> str:
    desk.up("sleep", "600")
    with desk.docker.terminal("exec", "-it", NAME, "sh") as terminal:
        terminal.expect("/ # ")
        shown: str = terminal.enter("echo on $((1+1))", "/ # ")
        terminal.type("exit 4")
        terminal.rest()
        assert terminal.status == 4
    assert shown == "on 2\n"
    return shown


@step
def exec_detached(desk: Desk) -> str:
    desk.up("sleep", "600")
    desk.docker.right("exec", "-d", NAME, "touch", "/made")
    desk.eventually(lambda: desk.docker("exec", NAME, "test", "-e", "/made").returncode == 0)
    return "made"


@step
def attach_with_piped_input(desk: Desk) -> str:
    desk.up("sh", "-c", "read line; echo got $line", options=("-i",))
    # The input stays open: its end would detach before the answer (moby: container/stream/attach.go).
    with desk.docker.start("attach", NAME, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attached:
        attached.stdin.write(b"word\n")
        attached.stdin.flush()
        said: bytes = attached.stdout.read()
    assert said == b"got word\n"
    return f"{said.decode()} {attached.returncode}"


@step
def attach_on_a_terminal_and_detach_by_keys(desk: Desk) -> str:
    desk.up("sh", options=("-it",))
    with desk.docker.terminal("attach", NAME) as terminal:
        terminal.type("echo here $((2+3))")
        terminal.expect("here 5")
        terminal.expect("/ # ")
        terminal.type("\x10\x11")  # ctrl-p ctrl-q
        terminal.rest()
    assert desk.state("{{.State.Running}}") == "true"
    return "detached"


@step
def logs_of_an_ended_container(desk: Desk) -> str:
    desk.up("sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done")
    desk.docker.right("wait", NAME)
    return str(desk.docker.right("logs", NAME)) + str(desk.docker.right("logs", "--tail", "2", NAME))


@step
def logs_followed_to_the_end(desk: Desk) -> str:
    desk.up("sh", "-c", "echo one; while [ ! -e /go ]; do usleep 10000; done; echo two")
    with desk.docker.start("logs", "-f", NAME, stdout=subprocess.PIPE) as following:
        assert following.stdout.readline() == b"one\n"
        desk.docker.right("exec", NAME, "touch", "/go")
        rest: bytes = following.stdout.read()
        assert following.wait(30) == 0
    assert rest == b"two\n"
    return rest.decode()


def dockerfile(desk: Desk) -> Path:
    folder = desk.folder / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        f"FROM busybox\nCOPY data /data\nRUN wc -c </data >/count\nLABEL who={desk.folder.name}\n"
    )
    (folder / "data").write_bytes(b"x" * MEBIBYTE)
    return folder


@step
def build_by_the_classic_builder(desk: Desk) -> str:
    desk.docker.more["DOCKER_BUILDKIT"] = "0"
    text: str = desk.docker.right("build", *ALONE, "--no-cache", "-t", "day-built", str(dockerfile(desk)))
    assert desk.docker.right("run", "--rm", *ALONE, "day-built", "cat", "/count") == f"{MEBIBYTE}\n"
    return text


@step
def build_by_buildkit(desk: Desk) -> str:
    desk.docker.more["DOCKER_BUILDKIT"] = "1"
    done = desk.docker("build", *ALONE, "--no-cache", "--progress=plain", "-t", "day-built", str(dockerfile(desk)))
    if "buildx" in done.stderr and done.returncode != 0:
        return "this CLI cannot: it lacks its buildx component"
    assert done.returncode == 0, done.stderr
    assert desk.docker.right("run", "--rm", *ALONE, "day-built", "cat", "/count") == f"{MEBIBYTE}\n"
    return "built"


@step
def build_from_a_pipe(desk: Desk) -> str:
    desk.docker.more["DOCKER_BUILDKIT"] = "0"
    text: str = desk.docker.right("build", "-q", "-t", "day-built", "-", stdin=b"FROM busybox\nENV A=b\n")
    assert text.startswith("sha256:")
    return text


@step
def copy_into_a_container_and_back(desk: Desk) -> str:
    desk.up("sleep", "600")
    source = desk.folder / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(MEBIBYTE))
    desk.docker.right("cp", f"{source}/.", f"{NAME}:/tmp/there")
    desk.docker.right("cp", f"{NAME}:/tmp/there/file", str(desk.folder / "back"))
    assert (desk.folder / "back").read_bytes() == (source / "file").read_bytes()
    missing = desk.docker("cp", f"{NAME}:/nosuch", str(desk.folder))
    assert missing.returncode == 1
    text: str = missing.stderr
    return text


@step
def copy_as_a_stream(desk: Desk) -> str:
    desk.up("sleep", "600")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("streamed")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"bytes"))
    desk.docker.right("cp", "-", f"{NAME}:/tmp", stdin=packed.getvalue())
    text: str = desk.docker.right("cp", f"{NAME}:/tmp/streamed", "-")
    with tarfile.open(fileobj=io.BytesIO(text.encode("latin-1"))) as archive:
        assert archive.getnames() == ["streamed"]
    return "streamed"


@step
def save_and_load(desk: Desk) -> str:
    desk.docker.right("tag", "busybox", "day-saved:1")
    file = desk.folder / "saved.tar"
    desk.docker.right("save", "-o", str(file), "day-saved:1")
    removed: str = desk.docker.right("image", "rm", "day-saved:1")
    return removed + str(desk.docker.right("load", "-i", str(file)))


@step
def save_and_load_by_pipes(desk: Desk) -> str:
    desk.docker.right("tag", "busybox", "day-saved:2")
    with desk.docker.start("save", "day-saved:2", stdout=subprocess.PIPE) as saving:
        data = saving.stdout.read()
    desk.docker.right("image", "rm", "day-saved:2")
    text: str = desk.docker.right("load", stdin=data)
    assert "day-saved:2" in text
    return text


@step
def push_and_pull(desk: Desk) -> str:
    reference = f"{desk.registry}/day/pushed:1"
    desk.docker.right("tag", "busybox", reference)
    pushed = desk.docker("push", reference)
    assert pushed.returncode == 0, pushed.stderr
    desk.docker.right("image", "rm", reference)
    pulled: str = desk.docker.right("pull", reference)
    return str(pushed.stdout.splitlines()[-1]) + pulled


@step
def pull_what_is_not_there(desk: Desk) -> str:
    done = desk.docker("pull", f"{desk.registry}/day/nosuch:1")
    assert done.returncode == 1
    text: str = done.stderr
    return text


@step
def events_of_one_container(desk: Desk) -> str:
    template = "{{.Type}} {{.Action}}"
    with desk.docker.start(
        "events", "--filter", f"container={NAME}", "--format", template, stdout=subprocess.PIPE
    ) as watching:
        # The filter accepts a name that does not exist yet; the first event proves that the stream is there.
        seen: list[str] = []
        for _ in range(100):
            desk.docker.right("run", "--rm", "--name", NAME, *ALONE, "busybox", "true")
            os.set_blocking(watching.stdout.fileno(), False)
            data = watching.stdout.read()
            if data:
                seen += data.decode().splitlines()
                break
        os.set_blocking(watching.stdout.fileno(), True)
        while "container destroy" not in seen:
            seen.append(watching.stdout.readline().decode().strip())
        watching.terminate()
    start = seen.index("container start")
    return "\n".join(seen[start : seen.index("container destroy", start) + 1])


@step
def lists_and_inspection(desk: Desk) -> str:
    desk.up("sleep", "600")
    inspected = json.loads(desk.docker.right("inspect", NAME))[0]
    return "\n".join(
        [
            desk.docker.right("ps", "-a", "--filter", f"name=^{NAME}$"),
            desk.docker.right("images", "busybox"),
            desk.docker.right("history", "--format", "{{.CreatedBy}}", "busybox"),
            " ".join(sorted(inspected)),
            json.dumps(inspected["HostConfig"], sort_keys=True),
            desk.docker.right("top", NAME, "-o", "pid,comm").split()[-1],
            desk.docker.right("port", NAME),
            desk.docker.right("diff", NAME),
            desk.docker.right("version", "--format", "{{json .Server.Components}}"),
            desk.docker.right("info", "--format", "{{.Driver}} {{.CgroupDriver}}"),
            desk.docker.right("network", "ls", "--format", "{{.Name}}"),
            desk.docker.right("network", "inspect", "none", "--format", "{{.Driver}}"),
            desk.docker.right("system", "df", "--format", "{{.Type}}"),
            desk.docker.right("stats", "--no-stream", "--format", "{{.Name}}", NAME),
        ]
    )


@step
def life_of_a_container(desk: Desk) -> str:
    said = [desk.docker.right("create", "--name", NAME, *ALONE, "busybox", "sleep", "600")]
    for words in (
        ["start", NAME],
        ["pause", NAME],
        ["unpause", NAME],
        ["update", "--pids-limit", "50", NAME],
        ["restart", "-t", "0", NAME],
        ["kill", NAME],
        ["wait", NAME],
        ["rename", NAME, f"{NAME}-2"],
        ["commit", f"{NAME}-2", "day-built"],
        ["rename", f"{NAME}-2", NAME],
        ["rm", NAME],
    ):
        said += [desk.docker.right(*words)]
    said.append(desk.docker("start", NAME).stderr)
    return "\n".join(said)


@step
def export_and_import(desk: Desk) -> str:
    desk.up("true")
    file = desk.folder / "export.tar"
    desk.docker.right("export", "-o", str(file), NAME)
    text: str = desk.docker.right("import", str(file), "day-built")
    return text


@step
def volumes(desk: Desk) -> str:
    said = desk.docker.right("volume", "create", "day-volume")
    said += desk.docker.right("run", "--rm", *ALONE, "-v", "day-volume:/v", "busybox", "sh", "-c", "echo kept >/v/f")
    said += desk.docker.right("run", "--rm", *ALONE, "-v", "day-volume:/v", "busybox", "cat", "/v/f")
    said += desk.docker.right("volume", "inspect", "--format", "{{.Driver}} {{.Scope}}", "day-volume")
    said += desk.docker.right("volume", "rm", "day-volume")
    assert "kept\n" in said
    return str(said)


@step
def what_does_not_exist(desk: Desk) -> str:
    said = []
    for words in (["start"], ["logs"], ["exec"], ["rm"], ["inspect"], ["attach"], ["cp"]):
        more = {"exec": ["true"], "cp": []}.get(words[0], [])
        target = ["nosuch:/x", "/tmp"] if words == ["cp"] else ["nosuch", *more]
        done = desk.docker(*words, *target)
        assert done.returncode != 0
        said.append(done.stderr)
    return "\n".join(said)


@pytest.fixture
def clear(direct: Any) -> Iterator[Callable[[], None]]:
    """Remove what a step may leave: its container, images and volume."""

    def remove() -> None:
        direct("rm", "-f", "-v", NAME, f"{NAME}-2")
        direct("image", "rm", "-f", "day-built", "day-saved:1", "day-saved:2")
        direct("volume", "rm", "-f", "day-volume")

    remove()
    yield remove
    remove()


_numbers: Final = itertools.count()


@pytest.fixture
def sides(
    direct: Any, gateway: Any, registry: Any, images: Any, workshop: Path, eventually: Any
) -> Iterator[list[Callable[[str], Desk]]]:
    """Make the desk for a CLI, without and with sockwarden."""
    assert images.busybox
    made: list[Path] = []

    def maker(host: Path) -> Callable[[str], Desk]:
        def make(cli: str) -> Desk:
            folder = workshop / f"day{next(_numbers)}"
            folder.mkdir()
            made.append(folder)
            return Desk(type(direct)(host, folder / "home", cli), folder, registry.address, eventually)

        return make

    yield [maker(direct.host), maker(gateway.socket)]
    for folder in made:
        shutil.rmtree(folder)


@pytest.mark.parametrize("cli", clis())
@pytest.mark.parametrize("work", STEPS, ids=lambda work: work.__name__)
def test_a_command_gives_the_same_with_and_without_sockwarden(
    work: Callable[[Desk], str], cli: str, sides: list[Callable[[str], Desk]], clear: Callable[[], None]
) -> None:
    outputs = []
    for side in sides:
        desk = side(cli)
        text = work(desk)
        outputs.append(normal(text.replace(str(desk.folder), "FOLDER").replace(desk.folder.name, "FOLDER")))
        clear()
    without, with_sockwarden = outputs
    assert with_sockwarden == without


def test_fifty_of_fifty_piped_execs_give_their_input_back(gateway: Any, images: Any, clear: Any) -> None:
    assert clear
    gateway.docker.right("run", "-d", "--name", NAME, *ALONE, images.busybox, "sleep", "600")
    right = 0
    for number in range(50):
        data = f"piped {number}\n".encode() * (1 + number * 40)
        done = gateway.docker("exec", "-i", NAME, "cat", stdin=data)
        right += done.returncode == 0 and done.stdout.encode() == data
    assert right == 50
