"""Where mounts come from, in requests and in the engine's answers."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi.bodies_mounts import (
    MountKind,
    MountSource,
    mounts_of_inspect,
    read_bind,
    read_mount,
    read_mounts,
    volume_source,
)
from sockwarden.errors import ClientError, EngineError


@pytest.mark.parametrize(
    ("text", "kind", "source"),
    [
        ("/var/run/docker.sock:/var/run/docker.sock", MountKind.BIND, "/var/run/docker.sock"),
        ("/run/.:/r:ro,rslave", MountKind.BIND, "/run/."),
        ("data:/data", MountKind.VOLUME, "data"),
        ("~/x:/data", MountKind.VOLUME, "~/x"),
        ("../run:/data", MountKind.VOLUME, "../run"),
        ("/anonymous", MountKind.VOLUME, ""),
    ],
)
def test_a_bind_has_a_source(text, kind, source):
    found = read_bind(text, "HostConfig.Binds[0]", "nfsdriver")
    assert (found.kind, found.source, found.text) == (kind, source, text)
    assert found.driver == ("nfsdriver" if kind is MountKind.VOLUME else "")


@pytest.mark.parametrize("text", ["", ":/b", "/a:/b:ro:x", "/a\0:/b"])
def test_a_text_that_is_no_bind_is_refused(text):
    with pytest.raises(ClientError, match=r"HostConfig\.Binds\[3\] is not a bind"):
        read_bind(text, "HostConfig.Binds[3]")


@pytest.mark.parametrize("kind", MountKind)
def test_every_mount_type_has_its_source(kind):
    found = read_mount({"Type": kind.value, "Source": "s", "Target": "/t"}, "M[0]")
    assert found == MountSource(kind, "s", "s", "M[0]")


def test_the_driver_options_of_a_volume_are_its_source():
    options = {"type": "none", "o": "bind", "device": "/run", "x": None}
    mount = {"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}}
    found = read_mount(mount, "M[0]")
    assert found.driver == "local"
    assert dict(found.options) == {"type": "none", "o": "bind", "device": "/run", "x": ""}


@pytest.mark.parametrize("options", [None, {}, {"DriverConfig": None}, {"DriverConfig": {}}])
def test_a_volume_may_have_no_driver(options):
    found = read_mount({"Type": "volume", "Source": "v", "VolumeOptions": options}, "M[0]")
    assert (found.driver, found.options) == ("", ())


@pytest.mark.parametrize("name", [None, "", "Bind", "BIND", "block", "bind "])
def test_an_unknown_mount_type_is_refused_by_name(name):
    with pytest.raises(ClientError, match=r"field M\[0\]\.Type is not a mount type"):
        read_mount({"Type": name, "Source": "/run"}, "M[0]")


def test_a_nul_in_a_source_is_refused():
    with pytest.raises(ClientError, match=r"field M\[1\]\.Source holds a NUL"):
        list(read_mounts([{"Type": "tmpfs"}, {"Type": "bind", "Source": "/run\0"}], "M"))


def test_no_list_has_no_mounts():
    assert list(read_mounts(None, "M")) == []


def test_a_plain_local_volume_shows_only_itself():
    assert volume_source({"Name": "v", "Driver": "local", "Options": None, "Mountpoint": "/x"}) is None


def test_a_volume_with_options_or_another_driver_has_a_source():
    options = {"o": "bind", "type": "none", "device": "/run"}
    found = volume_source({"Name": "v", "Driver": "local", "Options": options})
    assert found == MountSource(MountKind.VOLUME, "v", "v", "volume", "local", tuple(options.items()))
    assert volume_source({"Name": "v", "Driver": "x"}) == MountSource(MountKind.VOLUME, "v", "v", "volume", "x")


@pytest.mark.parametrize("answer", [{"Name": 1}, {"Driver": ["x"]}, {"Options": ["x"]}, {"Options": {"o": 1}}])
def test_a_volume_answer_of_another_form_is_the_engines_fault(answer):
    with pytest.raises(EngineError):
        volume_source({"Name": "v", "Driver": "local"} | answer)


def test_the_mounts_of_a_container_are_what_the_engine_made_and_what_was_asked():
    answer = {
        "Mounts": [
            {"Type": "bind", "Source": "/run", "Destination": "/r"},
            {"Type": "volume", "Name": "v", "Source": "/volumes/v/_data", "Driver": "local"},
            {"Type": "volume", "Name": "w", "Source": "", "Driver": "local"},
            {"Type": "volume", "Name": "x", "Source": "/plugin/x", "Driver": "other"},
            {"Type": "tmpfs", "Destination": "/t"},
        ],
        "HostConfig": {"Binds": ["/run:/r", "u:/u"], "VolumeDriver": "d"},
    }
    assert [(found.kind.value, found.source, found.driver) for found in mounts_of_inspect(answer)] == [
        ("bind", "/run", ""),
        ("volume", "v", "local"),
        ("bind", "/volumes/v/_data", ""),
        ("volume", "w", "local"),
        ("volume", "x", "other"),
        ("tmpfs", "", ""),
        ("bind", "/run", ""),
        ("volume", "u", "d"),
    ]


def test_a_container_without_mounts_has_none():
    assert mounts_of_inspect({"Mounts": None, "HostConfig": None}) == ()


@pytest.mark.parametrize(
    "answer",
    [
        {"Mounts": {"a": {}}},
        {"Mounts": ["x"]},
        {"Mounts": [{"Type": "new"}]},
        {"Mounts": [{"Type": 1}]},
        {"HostConfig": ["x"]},
        {"HostConfig": {"Binds": "x"}},
        {"HostConfig": {"Binds": [1]}},
        {"HostConfig": {"Binds": [":"]}},
    ],
)
def test_a_container_answer_of_another_form_is_the_engines_fault(answer):
    with pytest.raises(EngineError, match="the engine's answer"):
        mounts_of_inspect(answer)
