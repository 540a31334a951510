"""What a mount shows of the guarded sockets."""

from __future__ import annotations

import pytest
from tests.unit.policy.fake_paths import FakePaths

from sockwarden.dockerapi.bodies_mounts import MountKind, MountSource
from sockwarden.policy.mounts import Exposure, GuardedSocket, GuardedSockets, judge_mount, judge_mounts
from sockwarden.policy.paths import Unresolvable

PATHS = FakePaths(
    [
        "/run/docker.sock",
        "/run/sockwarden/engine.sock",
        "/run/sockwarden/other",
        "/run/user/1000",
        "/host/x",
        "/srv/data",
        "/srv/alone/public.sock",
        "/proc/1/status",
        "/dev/shm",
    ],
    links={
        "/var/run": "/run",
        "/srv/link": "/run/docker.sock",
        "/srv/out": "/srv/data/deep",
        "/srv/data/deep": "/run/user",
        "/srv/magic": "/proc/77/root/run",
        "/srv/soon": "/run/missing",
    },
    same={"/srv/hard": "/run/docker.sock", "/mnt/run": "/run", "/srv/ehard": "/run/sockwarden/engine.sock"},
    block={"/dev/sda1": 1, "/dev/vg": 30, "/dev/sdb": 99},
    mounted={"/run": 30, "/dev": 6},
)
GUARDED = GuardedSockets.at(["/var/run/docker.sock"], ["/run/sockwarden/engine.sock"], PATHS)


def bind(path: str) -> MountSource:
    return MountSource(MountKind.BIND, path, path, "HostConfig.Binds[0]")


def volume(driver: str = "local", **options: str) -> MountSource:
    return MountSource(MountKind.VOLUME, "v", "v", "HostConfig.Mounts[0]", driver, tuple(options.items()))


def exposure(source: MountSource) -> Exposure:
    return judge_mount(source, GUARDED, PATHS).exposure


@pytest.mark.parametrize(
    "path",
    [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/./docker.sock",
        "//run//docker.sock",
        "/host/../run/docker.sock",
        "/missing/../run/docker.sock",
        "/proc/self/root/run/docker.sock",
        "/proc/1/root/var/run/docker.sock",
        "/srv/link",
        "/srv/hard",
    ],
)
def test_the_gateways_socket_is_public_by_any_name(path):
    assert exposure(bind(path)) is Exposure.PUBLIC


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/run",
        "/run/",
        "/run/.",
        "/var/run",
        "/host/../run",
        "/missing/../run",
        "/srv/out/..",
        "/srv/data/deep/..",
        "/proc/self/root",
        "/proc/1/root/run",
        "/mnt/run",
        "/run/sockwarden",
        "/run/sockwarden/engine.sock",
        "/srv/ehard",
    ],
)
def test_whatever_shows_the_engines_socket_is_engine(path):
    assert exposure(bind(path)) is Exposure.ENGINE


@pytest.mark.parametrize(
    "path",
    ["", "run", "~", "/run\0", "/proc/77/root", "/proc/77/root/run", "/proc/self/cwd", "/proc/self/fd/4", "/srv/magic"],
)
def test_a_path_that_cannot_be_followed_is_unjudgeable(path):
    assert exposure(bind(path)) is Exposure.UNJUDGEABLE


@pytest.mark.parametrize(
    "path",
    [
        "/srv",
        "/srv/data",
        "/srv/missing/deeper",
        "/srv/soon",
        "/run/user/1000",
        "/run/sockwarden/other",
        "/run/docker.sock.d",
        "/runner",
        "/proc",
        "/dev/shm",
        "/var",
    ],
)
def test_a_path_beside_the_sockets_shows_nothing(path):
    assert exposure(bind(path)) is Exposure.NONE


def test_a_directory_of_a_public_socket_alone_is_public():
    guarded = GuardedSockets.at(["/srv/alone/public.sock"], ["/run/sockwarden/engine.sock"], PATHS)
    assert judge_mount(bind("/srv/alone"), guarded, PATHS).exposure is Exposure.PUBLIC
    assert judge_mount(bind("/"), guarded, PATHS).exposure is Exposure.ENGINE


def test_sockets_that_do_not_exist_yet_are_guarded_by_path():
    guarded = GuardedSockets.at(["/new/a/public.sock"], ["/run/new.sock"], PATHS)
    assert judge_mount(bind("/new/a/public.sock"), guarded, PATHS).exposure is Exposure.PUBLIC
    assert judge_mount(bind("/new"), guarded, PATHS).exposure is Exposure.PUBLIC
    assert judge_mount(bind("/run/new.sock"), guarded, PATHS).exposure is Exposure.ENGINE
    assert [socket.file_system for socket in guarded.sockets] == [None, 30]


def test_a_socket_that_cannot_be_found_for_certain_is_not_guarded_by_guess():
    with pytest.raises(Unresolvable):
        GuardedSockets.at(["/proc/77/root/run/docker.sock"], [], PATHS)


@pytest.mark.parametrize("path", ["/srv/ehard", "/run/sockwarden/engine.sock", "/srv/hard", "/var/run/docker.sock"])
def test_a_socket_by_any_name_is_exact(path):
    assert judge_mount(bind(path), GUARDED, PATHS).exact


@pytest.mark.parametrize("path", ["/run", "/", "/srv", "/srv/magic"])
def test_what_is_not_a_socket_is_not_exact(path):
    assert not judge_mount(bind(path), GUARDED, PATHS).exact


def test_the_socket_itself_is_worse_than_its_directory():
    layers = volume(type="overlay", device="x", o="lowerdir=/run:/srv/ehard:/")
    finding = judge_mount(layers, GUARDED, PATHS)
    assert (finding.exposure, finding.exact) == (Exposure.ENGINE, True)
    worst = judge_mounts([bind("/run"), bind("/srv/ehard")], GUARDED, PATHS)
    assert worst
    assert worst.exact


def test_the_reason_names_the_source_and_the_socket():
    finding = judge_mount(bind("/var/run/docker.sock"), GUARDED, PATHS)
    assert finding.reason == "/var/run/docker.sock is the socket /run/docker.sock"
    assert judge_mount(bind("/run"), GUARDED, PATHS).reason == "/run shows the socket /run/sockwarden/engine.sock"
    assert "cannot be judged" in judge_mount(bind("/srv/magic"), GUARDED, PATHS).reason


@pytest.mark.parametrize("kind", [MountKind.TMPFS, MountKind.IMAGE, MountKind.NPIPE, MountKind.CLUSTER])
def test_a_mount_without_a_host_path_shows_nothing(kind):
    assert exposure(MountSource(kind, "/run", "/run", "M")) is Exposure.NONE


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Exposure.NONE),
        ({"o": "bind"}, Exposure.UNJUDGEABLE),
        ({"type": "none", "o": "bind", "device": "/run"}, Exposure.ENGINE),
        ({"type": "tmpfs", "o": "ro,rbind", "device": "/run"}, Exposure.ENGINE),
        ({"type": "nfs", "o": "addr=1.2.3.4,bind", "device": "/run/docker.sock"}, Exposure.PUBLIC),
        ({"type": "none", "o": "bind", "device": "run"}, Exposure.UNJUDGEABLE),
        ({"type": "cifs", "o": "bind", "device": "//h/../run"}, Exposure.UNJUDGEABLE),
        ({"type": "none", "o": "bind", "device": "/srv/data"}, Exposure.NONE),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, Exposure.NONE),
        ({"type": "nfs", "device": ":/run", "o": "addr=1.2.3.4"}, Exposure.NONE),
        ({"type": "cifs", "device": "//host/run", "o": "username=u"}, Exposure.NONE),
        ({"type": "overlay", "device": "overlay", "o": "lowerdir=/run:/srv"}, Exposure.ENGINE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=/srv::/run/user,upperdir=/srv/data"}, Exposure.NONE),
        ({"type": "overlay", "device": "x", "o": "lowerdir+=/srv,datadir+=/run"}, Exposure.ENGINE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=/srv,upperdir=/run,workdir=/srv/w"}, Exposure.ENGINE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=/srv:run"}, Exposure.UNJUDGEABLE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=/r\\un"}, Exposure.UNJUDGEABLE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=\\r"}, Exposure.UNJUDGEABLE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=/srv,index=o\\ff"}, Exposure.NONE),
        ({"type": "aufs", "device": "none", "o": "br:/run"}, Exposure.NONE),
        ({"type": "aufs", "device": "none", "o": "br=/srv:/run"}, Exposure.ENGINE),
        ({"type": "ecryptfs", "device": "/run", "o": ""}, Exposure.ENGINE),
        ({"type": "ext4", "device": "/dev/vg", "o": ""}, Exposure.ENGINE),
        ({"type": "ext4", "device": "dev/vg", "o": ""}, Exposure.ENGINE),
        ({"type": "ext4", "device": "/dev/sdb", "o": ""}, Exposure.NONE),
        ({"type": "overlay", "device": "x", "o": "lowerdir=" + "/x" * 3000}, Exposure.UNJUDGEABLE),
    ],
)
def test_a_local_volume_shows_what_its_options_mount(options, expected):
    assert exposure(volume(**options)) is expected
    assert exposure(volume(driver="", **options)) is expected


def test_devtmpfs_shows_a_socket_below_dev():
    guarded = GuardedSockets.at(["/dev/docker.sock"], [], PATHS)
    source = volume(type="devtmpfs", device="x")
    assert judge_mount(source, guarded, PATHS).exposure is Exposure.PUBLIC
    assert exposure(source) is Exposure.NONE


def test_another_volume_driver_is_flagged_and_its_options_are_its_own():
    finding = judge_mount(volume(driver="other", type="none", o="bind", device="/run"), GUARDED, PATHS)
    assert (finding.exposure, finding.foreign_driver) == (Exposure.NONE, True)
    assert judge_mount(MountSource(MountKind.CLUSTER, "v", "v", "M"), GUARDED, PATHS).foreign_driver
    assert not judge_mount(bind("/srv"), GUARDED, PATHS).foreign_driver


def test_the_worst_of_several_mounts_counts():
    sources = [bind("/srv"), bind("/run/docker.sock"), bind("/srv/magic"), bind("/run"), volume(driver="other")]
    for count, expected in ((2, Exposure.PUBLIC), (3, Exposure.UNJUDGEABLE), (5, Exposure.ENGINE)):
        worst = judge_mounts(sources[:count], GUARDED, PATHS)
        assert worst
        assert worst.exposure is expected


def test_mounts_that_show_nothing_give_no_finding():
    assert judge_mounts([], GUARDED, PATHS) is None
    assert judge_mounts([bind("/srv")], GUARDED, PATHS) is None
    foreign = judge_mounts([bind("/srv"), volume(driver="other")], GUARDED, PATHS)
    assert foreign
    assert foreign.foreign_driver


def test_a_missing_path_of_many_parts_asks_the_file_system_few_questions() -> None:
    """One question per part took 22 s for a create with a thousand such binds, and nobody was served meanwhile."""
    asked: list[str] = []

    class Counting(FakePaths):
        def resolve(self, path: str) -> str | None:
            asked.append(path)
            return super().resolve(path)

    paths = Counting(["/run"], links={"/srv": "/run"})
    assert judge_mount(bind("/srv/" + "a/" * 2000 + "b"), GuardedSockets(()), paths).exposure is Exposure.NONE
    assert len(asked) < 20


@pytest.mark.parametrize("known", range(1, 6))
def test_what_exists_of_a_missing_path_is_found_wherever_it_ends(known: int) -> None:
    parts = ["one", "two", "three", "four", "five"]
    paths = FakePaths(["/" + "/".join(["real", *parts[1:known]])], links={"/one": "/real"})
    socket = GuardedSocket.at("/" + "/".join(parts) + "/docker.sock", Exposure.PUBLIC, paths)
    assert socket.path == "/" + "/".join(["real", *parts[1:]]) + "/docker.sock"
