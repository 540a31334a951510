"""Whatever a request body says, no container of an image that is not listed gets to see a guarded socket.

The oracle is a container: it looks for sockets below what it was given, and their inode numbers are compared with
those of the guarded ones. A container that got one by a road that no request shows is refused when it connects.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import json
import os
import socket
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from sockwarden.demo import expected, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker

NEVER: Final = "busybox:latest"
"""An image that no policy of these tests lists."""

LOOK: Final = "find /x -type s -exec stat -c %i {} + 2>/dev/null; stat -L -c %i /x"
JSON: Final = {"Content-Type": "application/json"}
REFUSED: Final = "enhanced container isolation: "

_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes

    @property
    def message(self) -> str:
        return str(json.loads(self.content)["message"])

    @property
    def made(self) -> str:
        assert self.status == 201, self.content
        return str(json.loads(self.content)["Id"])


@dataclass(frozen=True, slots=True)
class Api:
    """The engine's API on one socket, without a client library that would tidy a request."""

    path: Path

    def __call__(
        self, method: str, target: str, content: bytes | dict[str, Any] = b"", fields: dict[str, str] | None = None
    ) -> Answer:
        data = json.dumps(content).encode() if isinstance(content, dict) else content
        connection = http.client.HTTPConnection("docker", timeout=60)
        with contextlib.closing(connection):
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(60)
            connection.sock.connect(str(self.path))
            connection.request(method, target, body=data, headers=JSON if fields is None else fields)
            response = connection.getresponse()
            return Answer(response.status, response.read())


@dataclass(frozen=True, slots=True)
class Lab:
    """Files of the host that lead to the sockets by other names."""

    gateway: Any
    engine: Any
    root: Path
    public: Path
    direct: Any

    @property
    def ours(self) -> Api:
        return Api(self.public)

    @property
    def theirs(self) -> Api:
        return Api(self.engine.socket)

    @property
    def inodes(self) -> set[int]:
        return {os.stat(self.public).st_ino, os.stat(self.engine.socket).st_ino}

    def run(self, api: Api, content: bytes | dict[str, Any], target: str = "/v1.41/containers/create") -> Seen:
        """Create and start a container by ``api``, and return what it saw."""
        created = api("POST", target, content)
        if created.status != 201:
            return Seen(created, None, set())
        name = created.made
        try:
            started = api("POST", f"/v1.41/containers/{name}/start")
            if started.status != 204:
                return Seen(created, started, set())
            self.direct.right("wait", name)
            return Seen(created, started, {int(word) for word in self.direct.right("logs", name).split()})
        finally:
            self.direct("rm", "-f", "-v", name)


@dataclass(frozen=True, slots=True)
class Seen:
    """How a create, and a start if it came to that, were answered, and the inodes that the container saw."""

    created: Answer
    started: Answer | None
    inodes: set[int]


def looking(**host: Any) -> dict[str, Any]:
    """Return a create body for a container that looks for sockets below /x."""
    return {"Image": NEVER, "Cmd": ["sh", "-c", LOOK], "HostConfig": {"NetworkMode": "none", **host}}


@pytest.fixture(scope="module")
def lab(new_gateway: Callable[..., Any], engine: Any, images: Any, direct: Any, workshop: Path) -> Iterator[Lab]:
    assert images.busybox == NEVER
    gateway = new_gateway()
    root = workshop / "lab"
    root.mkdir()
    public = gateway.socket
    (root / "harmless").mkdir()
    (root / "link").symlink_to(public)
    (root / "chain").symlink_to("link")
    (root / "up").symlink_to("..")
    (root / "directory").symlink_to(public.parent)
    (root / "engine").symlink_to(engine.socket)
    (root / "hard").mkdir()
    os.link(public, root / "hard" / "other-name.sock")
    yield Lab(gateway, engine, root, public, direct)
    gateway.stop()


def sources(lab: Lab) -> dict[str, str]:
    public, engine, root = str(lab.public), str(lab.engine.socket), str(lab.root)
    above = str(lab.public.parent)
    return {
        "the socket": public,
        "its directory": above,
        "its directory with a slash": f"{above}/",
        "its directory with a dot": f"{above}/.",
        "its directory and back": f"{above}/../{lab.public.parent.name}",
        "through a directory that does not exist": f"/nowhere/..{above}",
        "doubled slashes": above.replace("/", "//"),
        "two above": str(lab.public.parent.parent),
        "the top": "/",
        "the top and back": "/..",
        "the directory of all of these": "/tmp",
        "the engine's socket": engine,
        "a link": f"{root}/link",
        "a link to a link": f"{root}/chain",
        "a link to the directory": f"{root}/directory",
        "a file behind a link": f"{root}/directory/{lab.public.name}",
        "a link upwards": f"{root}/up",
        "a link to the engine's socket": f"{root}/engine",
        "a hard link": f"{root}/hard/other-name.sock",
        "the first process": f"/proc/1/root{public}",
        "the first process's directory": f"/proc/1/root{above}",
        "its own process": f"/proc/self/root{public}",
        "its own process, twice": f"/proc/self/root/proc/self/root{above}",
        "its own thread": f"/proc/thread-self/root{public}",
        "the engine's process": f"/proc/{lab.engine.pid}/root{public}",
        "sockwarden's process": f"/proc/{lab.gateway.warden.pid}/root{public}",
        "a working directory": f"/proc/{lab.gateway.warden.pid}/cwd",
        "a task": f"/proc/{lab.engine.pid}/task/{lab.engine.pid}/root{public}",
        "docker's usual path": "/var/run/docker.sock",
        "docker's usual path without a link": "/run/docker.sock",
        "run": "/run",
        "run with a dot": "/run/.",
        "var run": "/var/run",
        "run from elsewhere": "/host/../run",
    }


def local(name: str, **options: str) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": name,
        "Target": "/x",
        "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}},
    }


ROADS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "bind": lambda source: {"Binds": [f"{source}:/x"]},
    "read-only bind": lambda source: {"Binds": [f"{source}:/x:ro"]},
    "second bind": lambda source: {"Binds": ["/etc:/y", f"{source}:/x:rshared"]},
    "mount": lambda source: {"Mounts": [{"Type": "bind", "Source": source, "Target": "/x"}]},
    "read-only mount": lambda source: {
        "Mounts": [
            {
                "Type": "bind",
                "Source": source,
                "Target": "/x",
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rslave"},
            }
        ]
    },
    "volume made on the way": lambda source: {"Mounts": [local("", type="none", o="bind", device=source)]},
    "read-only volume": lambda source: {"Mounts": [local("", type="ext4", o="ro,rbind,noatime", device=source)]},
    "overlay": lambda source: {"Mounts": [local("", type="overlay", o=f"lowerdir={source}:/etc", device="overlay")]},
}


@pytest.mark.parametrize("road", ROADS)
def test_no_source_shows_a_guarded_socket_to_an_image_that_is_not_listed(road: str, lab: Lab) -> None:
    shown, unnamed = {}, {}
    for name, source in sources(lab).items():
        seen = lab.run(lab.ours, looking(**ROADS[road](source)))
        if seen.inodes & lab.inodes:
            shown[name] = source
        elif seen.created.status != 403 or not seen.created.message.startswith(REFUSED):
            unnamed[name] = (source, seen.created, seen.started)
    assert shown == {}
    assert unnamed == {}


@pytest.mark.parametrize("name", ["the socket", "a link", "its own process", "a hard link", "the engine's socket"])
def test_without_sockwarden_the_container_would_see_it(name: str, lab: Lab) -> None:
    """The oracle has eyes."""
    assert lab.run(lab.theirs, looking(Binds=[f"{sources(lab)[name]}:/x"])).inodes & lab.inodes


@pytest.mark.parametrize("options", [{"type": "none", "o": "bind"}, {"type": "nfs", "o": "rbind,ro"}])
def test_a_volume_that_was_made_earlier_shows_nothing_more(options: dict[str, str], lab: Lab) -> None:
    name = f"early{next(_numbers)}"
    device = str(lab.public.parent)
    made = lab.ours("POST", "/v1.41/volumes/create", {"Name": name, "DriverOpts": {**options, "device": device}})
    assert made.status == 201
    try:
        for host in ({"Binds": [f"{name}:/x"]}, {"Mounts": [{"Type": "volume", "Source": name, "Target": "/x"}]}):
            seen = lab.run(lab.ours, looking(**host))
            assert (seen.created.status, seen.inodes & lab.inodes) == (403, set())
    finally:
        lab.direct.right("volume", "rm", name)


# -- bodies that two readers read in two ways ------------------------------


def texts(lab: Lab) -> dict[str, str]:
    """Create bodies with a bind of the socket that a lenient reader finds, and a careless one does not."""
    bind = json.dumps([f"{lab.public}:/x"])
    mount = json.dumps([{"Type": "bind", "Source": str(lab.public), "Target": "/x"}])
    start = f'"Image":"{NEVER}","Cmd":["sh","-c","{LOOK}"]'
    good = '"HostConfig":{"NetworkMode":"none"}'
    held = f'"HostConfig":{{"NetworkMode":"none","Binds":{bind}}}'
    return {
        "at the top": f'{{{start},"NetworkMode":"none","Binds":{bind}}}',
        "at the top beside a null": f'{{{start},"HostConfig":null,"NetworkMode":"none","Binds":{bind}}}',
        "mounts at the top": f'{{{start},"NetworkMode":"none","Mounts":{mount}}}',
        "first of two": f"{{{start},{held},{good}}}",
        "second of two": f"{{{start},{good},{held}}}",
        "twice inside": f'{{{start},"HostConfig":{{"NetworkMode":"none","Binds":[],"Binds":{bind}}}}}',
        "null behind it": f'{{{start},"HostConfig":{{"NetworkMode":"none","Mounts":{mount},"Mounts":null}}}}',
        "merged into a mount": f'{{{start},"HostConfig":{{"NetworkMode":"none","Mounts":[{{"Type":"bind",'
        f'"Source":"/etc","Source":{json.dumps(str(lab.public))},"Target":"/x"}}]}}}}',
        "lower case": f'{{{start},"hostconfig":{{"NetworkMode":"none","binds":{bind}}}}}',
        "lower case inside": f'{{{start},"HostConfig":{{"NetworkMode":"none","binds":{bind}}}}}',
        "upper case": f'{{{start},"HOSTCONFIG":{{"NETWORKMODE":"none","BINDS":{bind}}}}}',
        "long s": f'{{{start},"HostConfig":{{"NetworkMode":"none","Bind\u017f":{bind}}}}}',
        "long s above": f'{{{start},"Ho\u017ftConfig":{{"NetworkMode":"none","Binds":{bind}}}}}',
        "escaped long s": f'{{{start},"HostConfig":{{"NetworkMode":"none","Bind\\u017f":{bind}}}}}',
        "Kelvin sign": f'{{{start},"HostConfig":{{"Networ\u212aMode":"none","Binds":{bind}}}}}',
        "escaped letter": f'{{{start},"HostConfig":{{"NetworkMode":"none","\\u0042inds":{bind}}}}}',
        "escaped twin": f'{{{start},"HostConfig":{{"NetworkMode":"none","Binds":[],"\\u0042inds":{bind}}}}}',
        "escaped path": f"{{{start},{held}}}".replace(str(lab.public), f"\\u002f{str(lab.public)[1:]}"),
        "lower case in a mount": f'{{{start},"HostConfig":{{"NetworkMode":"none","Mounts":'
        f"{mount.replace('Source', 'source')}}}}}",
        "another object behind it": f"{{{start},{good}}}{{{held}}}",
        "text behind it": f"{{{start},{held}}} nothing",
        "blanks around it": f" \n\t{{{start},{held}}}\r\n ",
        "comment": f"{{{start},/**/{held}}}",
        "comma at the end": f"{{{start},{held},}}",
        "byte order mark": f"\ufeff{{{start},{held}}}",
        "in a list": f"[{{{start},{held}}}]",
        "far behind": f'{{{start},"Labels":{{"a":"{"x" * 3_000_000}"}},{held}}}',
        "beyond the limit": f'{{{start},"Labels":{{"a":"{"x" * 5_000_000}"}},{held}}}',
        "behind deep nesting": f'{{{start},"Labels":{"[" * 5000}{"]" * 5000},{held}}}',
        "behind a long number": f'{{{start},"StopTimeout":{"9" * 10_000},{held}}}',
        "behind half a surrogate": f'{{{start},"Labels":{{"a":"\\ud800"}},{held}}}',
        "behind an unknown field": f'{{{start},"Nothing":1,{held}}}',
        "in an old form": f'{{{start},"Volumes":{{"{lab.public}:/x":{{}}}},{good}}}',
    }


def test_no_wording_of_a_body_hides_a_mount(lab: Lab) -> None:
    shown, passed = {}, {}
    for name, text in texts(lab).items():
        for version in ("/v1.41", "/v1.18", ""):
            seen = lab.run(lab.ours, text.encode(), f"{version}/containers/create")
            if seen.inodes & lab.inodes:
                shown[name, version] = text[:200]
            elif seen.created.status not in (400, 403, 413) and name != "in an old form":
                passed[name, version] = seen.created
    assert shown == {}
    assert passed == {}


@pytest.mark.parametrize("name", ["at the top", "second of two", "escaped long s", "text behind it"])
def test_without_sockwarden_the_wording_works(name: str, lab: Lab) -> None:
    assert lab.run(lab.theirs, texts(lab)[name].encode()).inodes & lab.inodes


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "APPLICATION/JSON"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {},
    ],
)
def test_a_mount_is_refused_whatever_the_header_calls_the_body(fields: dict[str, str], lab: Lab) -> None:
    body = json.dumps(looking(Binds=[f"{lab.public}:/x"])).encode()
    answer = lab.ours("POST", "/v1.41/containers/create", body, fields)
    assert (answer.status, answer.message[: len(REFUSED)]) == (403, REFUSED)


# -- other containers ------------------------------------------------------


@pytest.fixture(scope="module", params=["started", "never started"])
def holder(request: pytest.FixtureRequest, lab: Lab, images: Any) -> Iterator[str]:
    """A container of a listed image that holds the socket."""
    name = f"holder{next(_numbers)}"
    verb = ("run", "-d") if request.param == "started" else ("create",)
    lab.gateway.docker.right(
        *verb, "--name", name, "--network", "none", "-v", f"{lab.public}:/x", images.cli, "sleep", "600"
    )
    yield name
    lab.direct.right("rm", "-f", "-v", name)


@pytest.mark.parametrize("how", ["{}", "{}:ro", "{}:rw", "/{}"])
def test_the_mounts_of_another_container_are_judged_as_ones_own(how: str, holder: str, lab: Lab) -> None:
    seen = lab.run(lab.ours, looking(VolumesFrom=[how.format(holder)]))
    assert seen.inodes & lab.inodes == set()
    assert seen.created.status in (400, 403)


def test_the_mounts_of_another_container_named_by_its_id_are_judged(holder: str, lab: Lab) -> None:
    full = lab.direct.right("inspect", "--format", "{{.Id}}", holder).strip()
    for name in (full, full[:12], full[:5]):
        assert lab.run(lab.ours, looking(VolumesFrom=[name])).created.status == 403


# -- between create and start ----------------------------------------------


@dataclass
class Turned:
    """A container that was created with a link to a harmless directory; the link leads to the socket now."""

    name: str
    lab: Lab

    def start(self, target: str, content: bytes | dict[str, Any] = b"") -> Answer:
        return self.lab.ours("POST", target, content)

    def saw(self) -> set[int]:
        if self.ran():
            self.lab.direct.right("wait", self.name)
        return {int(word) for word in self.lab.direct.right("logs", self.name).split()} & self.lab.inodes

    def ran(self) -> bool:
        return "0001" not in self.lab.direct.right("inspect", "--format", "{{.State.StartedAt}}", self.name)[:4]


@pytest.fixture
def turned(lab: Lab) -> Iterator[Turned]:
    number = next(_numbers)
    link = lab.root / f"turn{number}"
    link.symlink_to("harmless")
    name = f"turned{number}"
    created = lab.ours("POST", f"/v1.41/containers/create?name={name}", looking(Binds=[f"{link}:/x"]))
    assert created.status == 201
    link.unlink()
    link.symlink_to(lab.public.parent)
    yield Turned(name, lab)
    lab.direct.right("rm", "-f", name)
    link.unlink()


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_link_that_was_turned_between_create_and_start_is_noticed(verb: str, turned: Turned) -> None:
    answer = turned.start(f"/v1.41/containers/{turned.name}/{verb}")
    assert (answer.status, answer.message[: len(REFUSED)]) == (403, REFUSED)
    assert not turned.ran()


def test_a_start_by_the_name_that_a_link_gives_is_judged_too(turned: Turned, lab: Lab) -> None:
    """The engine knows a linked container as PARENT/ALIAS; such a name was passed on unjudged."""
    parent = f"parent{next(_numbers)}"
    body = {"Image": NEVER, "HostConfig": {"NetworkMode": "bridge", "Links": [f"{turned.name}:alias"]}}
    made = lab.theirs("POST", f"/v1.41/containers/create?name={parent}", body)
    assert made.status == 201, made.content
    try:
        answer = turned.start(f"/v1.41/containers/{parent}/alias/start")
        assert turned.saw() == set()
        assert answer.status in (400, 403)
    finally:
        lab.direct.right("rm", "-f", parent)


def test_a_start_that_brings_mounts_of_its_own_is_refused(lab: Lab) -> None:
    made = lab.ours("POST", "/v1.41/containers/create", looking()).made
    try:
        for version in ("/v1.23", "/v1.12", "/v1.41", ""):
            host = {"Binds": [f"{lab.public}:/x"]}
            answer = lab.ours("POST", f"{version}/containers/{made}/start", host)
            assert answer.status == 400, version
    finally:
        lab.direct.right("rm", "-f", made)


def test_a_container_that_was_created_behind_our_back_is_judged_when_it_starts(lab: Lab) -> None:
    made = lab.theirs("POST", "/v1.41/containers/create", looking(Binds=[f"{lab.public}:/x"])).made
    try:
        answer = lab.ours("POST", f"/v1.41/containers/{made}/start")
        assert (answer.status, answer.message[: len(REFUSED)]) == (403, REFUSED)
    finally:
        lab.direct.right("rm", "-f", made)


def test_a_refused_create_leaves_nothing_behind(lab: Lab) -> None:
    before = lab.direct.right("ps", "-aq"), lab.direct.right("volume", "ls", "-q")
    for source in sources(lab).values():
        lab.ours("POST", "/v1.41/containers/create", looking(Binds=[f"{source}:/x"]))
    assert (lab.direct.right("ps", "-aq"), lab.direct.right("volume", "ls", "-q")) == before


def test_a_create_that_cannot_be_judged_afterwards_leaves_nothing_behind(lab: Lab) -> None:
    """More anonymous volumes than we look up: the engine had made the container, and it stayed."""
    before = lab.direct.right("ps", "-aq")
    body = {**looking(), "Volumes": {f"/v{number}": {} for number in range(80)}}
    answer = lab.ours("POST", "/v1.41/containers/create", body)
    assert answer.status in (201, 400)
    if answer.status == 201:
        lab.direct.right("rm", "-f", "-v", answer.made)
    assert lab.direct.right("ps", "-aq") == before


def test_a_service_with_the_socket_is_refused_before_the_engine_hears_of_it(lab: Lab) -> None:
    mount = {"Type": "bind", "Source": str(lab.public), "Target": "/x"}
    spec = {"Name": "s", "TaskTemplate": {"ContainerSpec": {"Image": NEVER, "Mounts": [mount]}}}
    for target in ("/v1.41/services/create", "/v1.41/services/nosuch/update?version=1"):
        answer = lab.ours("POST", target, spec)
        assert (answer.status, answer.message[: len(REFUSED)]) == (403, REFUSED)


# -- as a container --------------------------------------------------------


def inside(lab: Lab, name: str, command: str) -> str:
    done = lab.direct("exec", name, "sh", "-c", command)
    return f"{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def listed(lab: Lab, images: Any) -> Iterator[str]:
    """A running container of a listed image with the socket."""
    name = f"listed{next(_numbers)}"
    mount = f"{lab.public}:/var/run/docker.sock"
    lab.gateway.docker.right("run", "-d", "--name", name, "--network", "none", "-v", mount, images.cli, "sleep", "600")
    yield name
    lab.direct.right("rm", "-f", name)


CURL: Final = "curl -s -i -m 20 --unix-socket /var/run/docker.sock --path-as-is "


@pytest.mark.parametrize(
    "words",
    [
        "-X POST http://d/v1.41/images/x/push",
        "-X POST http://d/images/x/%70ush",
        "-X POST http://d/images/x/push -H 'Transfer-Encoding: chunked' -d 'a=b' -H 'Content-Type: text/plain'",
        "-X POST http://d/v1.41/images/create/push",
    ],
)
def test_a_container_that_may_use_the_socket_may_not_send_a_denied_command(words: str, listed: str, lab: Lab) -> None:
    assert "is blocked; if you wish to allow it" in inside(lab, listed, CURL + words)


def test_a_container_that_may_use_the_socket_cannot_hand_it_to_another_image(listed: str, lab: Lab) -> None:
    body = json.dumps(looking(Binds=[f"{lab.public}:/x"]))
    create = f"{CURL} -H 'Content-Type: application/json' -d '{body}' http://d/v1.41/containers/create"
    assert "docker socket mount denied for container with image" in inside(lab, listed, create)


ROADS_OF_THE_HOST: Final = {
    "the socket": "{public}:/var/run/docker.sock",
    "its directory": "{above}:/var/run",
    "a hard link in another directory": "{root}/hard:/var/run",
}


@pytest.mark.parametrize("road", ROADS_OF_THE_HOST)
def test_a_container_that_got_the_socket_behind_our_back_is_refused_when_it_connects(
    road: str, lab: Lab, images: Any
) -> None:
    mount = ROADS_OF_THE_HOST[road].format(public=lab.public, above=lab.public.parent, root=lab.root)
    name = f"behind{next(_numbers)}"
    lab.direct.right("run", "-d", "--name", name, "--network", "none", "-v", mount, images.other, "sleep", "600")
    try:
        said = inside(
            lab, name, "for each in /var/run/*.sock; do curl -s -m 20 --unix-socket $each http://d/info; done"
        )
        assert "docker socket mount denied for container with image" in said
        assert '"ID"' not in said
    finally:
        lab.direct.right("rm", "-f", name)


# -- names of images -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Retags:
    """A listed image in a registry, and one that would pass for it."""

    lab: Lab
    good: str
    evil: str
    docker: Any

    def socket_denied(self, reference: str) -> bool:
        mount = f"{self.lab.gateway.socket}:/x"
        done = self.docker("run", "--rm", "--network", "none", "-v", mount, reference, "true")
        assert done.returncode in (0, 125), done.stderr
        assert (done.returncode == 0) is ("docker socket mount denied" not in done.stderr), done.stderr
        return bool(done.returncode)

    def id(self, reference: str) -> str:
        return str(self.lab.direct.right("image", "inspect", "--format", "{{.Id}}", reference)).strip()

    def restore(self) -> None:
        self.lab.direct("image", "rm", "-f", self.good)
        self.lab.direct.right("pull", "-q", self.good)


@pytest.fixture(scope="module")
def made_images(engine: Any, registry: Any, workshop: Path, images: Any, direct: Any) -> Iterator[tuple[str, str]]:
    assert images.cli
    good, evil = f"{registry.address}/retags/good:1", "evil:1"
    tree = workshop / "retags.tar"
    for reference, marker in ((good, "good"), (evil, "evil")):
        image.busybox_tree(tree, marker=marker)
        image.import_image(engine, tree, reference)
    tree.unlink()
    direct.right("push", "-q", good)
    yield good, evil
    direct("image", "rm", "-f", good, evil)


@pytest.fixture(scope="module")
def retags(made_images: tuple[str, str], lab: Lab, new_gateway: Callable[..., Any], engine: Any) -> Iterator[Retags]:
    good, evil = made_images
    policy = expected.policy()
    policy["enhancedContainerIsolation"]["dockerSocketMount"]["imageList"] = {"images": [good]}
    gateway = new_gateway(policy)
    direct = lab.direct
    there = Lab(gateway, engine, lab.root, gateway.socket, direct)
    assert not Retags(there, good, evil, gateway.docker).socket_denied(good)
    yield Retags(there, good, evil, gateway.docker)
    gateway.stop()


@pytest.fixture
def restored(retags: Retags) -> Iterator[Retags]:
    yield retags
    retags.restore()


def test_a_tag_does_not_make_an_image_the_listed_one(restored: Retags) -> None:
    restored.lab.direct.right("tag", restored.evil, restored.good)
    assert restored.socket_denied(restored.good)


def test_a_loaded_archive_with_a_forged_tag_is_not_the_listed_image(restored: Retags) -> None:
    digest = restored.lab.direct.right("image", "inspect", "-f", "{{index .RepoDigests 0}}", restored.good).split("@")[
        1
    ]
    archive = Path(restored.lab.root / "evil.tar")
    restored.lab.direct.right("save", "-o", str(archive), restored.evil)
    for tag in (restored.good, f"{restored.good}@{digest.strip()}"):
        forged = io.BytesIO()
        with tarfile.open(archive) as old, tarfile.open(fileobj=forged, mode="w") as new:
            for member in old:
                if member.name == "repositories":
                    continue
                file = old.extractfile(member) if member.isfile() else None
                data = file.read() if file else b""
                if member.name == "manifest.json":
                    manifest = json.loads(data)
                    manifest[0]["RepoTags"] = [tag]
                    data = json.dumps(manifest).encode()
                    member.size = len(data)
                new.addfile(member, io.BytesIO(data))
        restored.lab.direct.right("load", stdin=forged.getvalue())
        if tag == restored.good:
            assert restored.id(restored.good) == restored.id(restored.evil)
            assert restored.socket_denied(restored.good)
    archive.unlink()


def test_an_import_under_the_listed_name_is_not_the_listed_image(restored: Retags) -> None:
    tree = restored.lab.root / "import.tar"
    image.busybox_tree(tree, marker="imported")
    restored.lab.direct.right("import", "--change", 'CMD ["sh"]', str(tree), restored.good)
    tree.unlink()
    assert restored.socket_denied(restored.good)


def test_a_commit_under_the_listed_name_is_not_the_listed_image(restored: Retags) -> None:
    direct = restored.lab.direct
    container = direct.right("create", "--network", "none", restored.good, "true").strip()
    direct.right("commit", container, restored.good)
    direct.right("rm", container)
    assert restored.socket_denied(restored.good)


def test_a_name_like_the_short_id_of_the_listed_image_is_judged_by_what_it_runs(restored: Retags) -> None:
    good = restored.id(restored.good)
    short = good.removeprefix("sha256:")[:12]
    assert not restored.socket_denied(short)
    restored.lab.direct.right("tag", restored.evil, short)
    try:
        assert restored.socket_denied(short)
        assert not restored.socket_denied(good)
    finally:
        restored.lab.direct.right("image", "rm", f"{short}:latest")


def test_the_listed_image_may_use_the_socket_by_any_of_its_names(restored: Retags) -> None:
    restored.lab.direct.right("tag", restored.good, "another-name:2")
    try:
        assert not restored.socket_denied("another-name:2")
    finally:
        restored.lab.direct.right("image", "rm", "another-name:2")


def test_the_listed_image_stays_listed_when_it_is_removed_under_its_container(restored: Retags) -> None:
    direct, name = restored.lab.direct, f"removed{next(_numbers)}"
    mount = f"{restored.lab.gateway.socket}:/x"
    restored.docker.right("run", "-d", "--name", name, "--network", "none", "-v", mount, restored.good, "sleep", "600")
    try:
        direct.right("image", "rm", "-f", restored.good)
        direct.right("tag", restored.evil, restored.good)
        restored.docker.right("restart", "-t", "0", name)
        restored.docker.right("rm", "-f", name)
        assert restored.socket_denied(restored.good)
    finally:
        direct("rm", "-f", name)


# -- harmless bodies -------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-v", "/etc:/x:ro"),
        ("-v", "{root}/harmless:/x"),
        ("-v", "nicevolume:/x"),
        ("-v", "/only/in/the/container"),
        ("--mount", "type=tmpfs,dst=/x"),
        ("--mount", "type=bind,src={root}/harmless,dst=/x,readonly,bind-propagation=rslave"),
        ("--tmpfs", "/x:size=1m"),
        ("-e", "A=b", "-l", "c=d", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "100", "-u", "nobody"),
        ("--entrypoint", "sh", "-w", "/tmp", "--hostname", "h", "--init=false", "--read-only"),
        ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:100"),
        ("--health-cmd", "true", "--health-interval", "1s", "--stop-signal", "TERM", "--stop-timeout", "1"),
        ("--log-driver", "json-file", "--log-opt", "max-size=1m", "--restart", "no", "--add-host", "a:127.0.0.1"),
        ("--shm-size", "1m", "--sysctl", "kernel.shm_rmid_forced=0", "--device", "/dev/null:/dev/x"),
    ],
)
def test_harmless_options_of_the_cli_pass(options: tuple[str, ...], lab: Lab) -> None:
    words = [word.format(root=lab.root) for word in options]
    ours = lab.gateway.docker("run", "--rm", "--network", "none", *words, NEVER, "true" if "sh" not in words else "-c")
    theirs = lab.direct("run", "--rm", "--network", "none", *words, NEVER, "true" if "sh" not in words else "-c")
    lab.direct("volume", "rm", "nicevolume")
    # The CLI's own log lines ("error waiting for container: context canceled") come in a race that it has with itself.
    said, wanted = ([line for line in done.stderr.splitlines() if "level=" not in line] for done in (ours, theirs))
    assert (ours.returncode, said) == (theirs.returncode, wanted)


def test_docker_py_creates_containers_with_all_that_it_can_say(lab: Lab) -> None:
    import docker

    client = docker.DockerClient(base_url=f"unix://{lab.public}", version="1.41")
    try:
        volume = client.volumes.create("pyvolume", driver="local", labels={"a": "b"})
        said = client.containers.run(
            NEVER,
            ["sh", "-c", "echo $A; ls -d /x /y /z"],
            environment={"A": "b"},
            labels={"c": "d"},
            network_mode="none",
            volumes={
                str(lab.root / "harmless"): {"bind": "/x", "mode": "ro"},
                "pyvolume": {"bind": "/y", "mode": "rw"},
            },
            mounts=[docker.types.Mount("/z", None, type="tmpfs", tmpfs_size=1 << 20)],
            mem_limit="64m",
            nano_cpus=10**9,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=100)],
            healthcheck={"test": ["NONE"]},
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
            tmpfs={"/tmp": "size=1m"},
            init=False,
            read_only=True,
            remove=True,
        )
        assert said == b"b\n/x\n/y\n/z\n"
        volume.remove()
        with pytest.raises(docker.errors.APIError, match="docker socket mount denied"):
            client.containers.create(NEVER, volumes=[f"{lab.public}:/x"])
    finally:
        client.close()
