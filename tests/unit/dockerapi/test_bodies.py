"""The bodies of real clients pass and mean what they say; ambiguous ones are refused.

``data/`` holds bodies as docker 20.10.24, docker 28.2.2 and docker-py 7.2.0 sent them, by endpoint and client.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sockwarden.dockerapi import bodies
from sockwarden.dockerapi.bodies import MAX_MOUNTS, CreateBody, ExecCreateBody, ExecStartBody, ServiceBody
from sockwarden.dockerapi.bodies_mounts import MountKind
from sockwarden.dockerapi.bodies_tables import HOST_CONFIG
from sockwarden.errors import ClientError

READERS = {
    "create": bodies.read_create,
    "volume-create": bodies.read_volume,
    "network-create": bodies.check_network_create,
    "network-connect": bodies.check_network_connect,
    "update": bodies.check_update,
    "exec-create": bodies.read_exec_create,
    "exec-start": bodies.read_exec_start,
    "commit": bodies.check_commit,
    "service": bodies.read_service,
}
DATA = Path(__file__).parent / "data"
RECORDED = sorted(path.name for path in DATA.iterdir())


def create(body) -> CreateBody:
    return bodies.read_create(json.dumps(body).encode())


def refusal(body, endpoint: str = "create") -> str:
    with pytest.raises(ClientError) as caught:
        READERS[endpoint](json.dumps(body).encode())
    assert caught.value.status == 400
    return str(caught.value)


def sources(view: CreateBody | ServiceBody) -> list[tuple[str, str]]:
    return [(mount.kind.value, mount.source) for mount in view.mounts]


def test_every_endpoint_has_a_recorded_body():
    assert {name.partition(".")[0] for name in RECORDED} == set(READERS)


@pytest.mark.parametrize("name", RECORDED)
def test_a_body_of_a_real_client_passes(name):
    READERS[name.partition(".")[0]]((DATA / name).read_bytes())


@pytest.mark.parametrize("client", ["docker-20.10.2", "docker-28.2", "docker-py.2"])
def test_the_mounts_that_a_real_client_asks_for_are_seen(client):
    view = bodies.read_create((DATA / f"create.{client}.json").read_bytes())
    assert view.image == "docker:cli"
    assert ("bind", "/var/run/docker.sock") in sources(view)
    assert ("volume", "data") in sources(view)


def test_a_real_service_shows_its_mounts():
    view = bodies.read_service((DATA / "service.docker-28.1.json").read_bytes())
    assert view.image == "nginx:latest"
    assert sources(view) == [("bind", "/var/run/docker.sock"), ("volume", "v")]
    assert dict(view.mounts[1].options) == {"o": "bind", "device": "/run"}


def test_an_empty_body_asks_for_nothing():
    assert bodies.read_create(b"") == CreateBody(image="")
    assert bodies.read_service(b"{}") == ServiceBody(image="")
    assert bodies.read_exec_create(b"{}") == ExecCreateBody()
    assert bodies.read_exec_start(b"") == ExecStartBody()
    assert bodies.read_volume(b"").name == ""


def test_a_create_body_gives_all_that_policy_looks_at():
    view = create(
        {
            "Image": "i",
            "Volumes": {"/anonymous": {}},
            "HostConfig": {
                "Binds": ["/a:/b", "v:/v"],
                "Mounts": [{"Type": "bind", "Source": "/c", "Target": "/d"}],
                "VolumesFrom": ["one:ro", "two"],
                "VolumeDriver": "d",
                "Privileged": True,
                "PidMode": "container:p",
                "IpcMode": "host",
                "NetworkMode": "container:n",
                "Devices": [{"PathOnHost": "/dev/sda"}, {}],
            },
        },
    )
    assert sources(view) == [("bind", "/a"), ("volume", "v"), ("bind", "/c"), ("volume", "")]
    assert [mount.driver for mount in view.mounts] == ["", "d", "", "d"]
    assert view.volumes_from == ("one", "two")
    assert (view.image, view.volume_driver, view.privileged) == ("i", "d", True)
    assert (view.pid_mode, view.ipc_mode, view.network_mode) == ("container:p", "host", "container:n")
    assert view.devices == ("/dev/sda", "")


def test_a_volume_body_gives_the_source_that_a_container_would_get():
    view = bodies.read_volume(
        b'{"Name":"v","Driver":"local","DriverOpts":{"type":"none","o":"bind","device":"/run","x":null}}',
    )
    assert view.name == "v"
    assert (view.source.kind, view.source.source, view.source.driver) == (MountKind.VOLUME, "v", "local")
    assert dict(view.source.options) == {"type": "none", "o": "bind", "device": "/run", "x": ""}
    assert view.source.text == "/run"


def test_exec_bodies_give_what_they_ask_for():
    assert bodies.read_exec_create(b'{"Privileged":true,"User":"0"}') == ExecCreateBody(privileged=True, user="0")
    assert bodies.read_exec_start(b'{"Detach":true,"Tty":true}') == ExecStartBody(detach=True, tty=True)


@pytest.mark.parametrize("key", ["remote", "Remote"])
def test_a_service_that_installs_a_plugin_names_it(key):
    body = {"TaskTemplate": {"PluginSpec": {key: "evil:latest", "PluginPrivilege": []}}}
    assert bodies.read_service(json.dumps(body).encode()).plugin == "evil:latest"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "platform": "linux/amd64", "_query": {}, "abortSignal": {}, "Image": "i"},
        {"Image": "i", "HostConfig": None},
        {"Image": "i", "Binds": None, "Memory": None, "LxcConf": None},
        {"Image": "i", "NetworkingConfig": {"mynet": None}},
        {"Image": "i", "Labels": {"binds": "1", "Binds": "2"}},
        {"Image": "i", "HostConfig": {"NanoCPUs": 1, "LxcConf": []}},
    ],
)
def test_what_a_real_client_adds_and_no_engine_reads_passes(body):
    assert create(body).mounts == ()


@pytest.mark.parametrize("field", sorted(HOST_CONFIG.fields))
def test_a_host_config_field_at_the_top_level_is_refused(field):
    assert f"field {field} belongs into HostConfig" in refusal({"Image": "i", field: "x"})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"Cpuset": "0"}, "field Cpuset belongs into HostConfig"),
        ({"image": "i"}, "field image is another spelling of Image"),
        ({"hostConfig": {}}, "field hostConfig is another spelling of HostConfig"),
        ({"binds": ["/:/h"]}, "field binds is another spelling of Binds"),
        ({"HostConfig": {"binds": ["/:/h"]}}, "field HostConfig.binds is another spelling of Binds"),
        ({"HostConfig": {"Networ\u212aMode": "host"}}, r"'Networ\u212aMode' is another spelling of NetworkMode"),
        ({"HostConfig": {"Mounts": [{"source": "/"}]}}, "field HostConfig.Mounts[0].source is another spelling"),
        ({"HostConfig": {"Binds": "/:/h"}}, "field HostConfig.Binds is not a list"),
        ({"HostConfig": {"Binds": [["/:/h"]]}}, "field HostConfig.Binds[0] is not a string"),
        ({"HostConfig": {"Binds": ["/a:/b:ro:x"]}}, "field HostConfig.Binds[0] is not a bind"),
        ({"HostConfig": {"Mounts": [{"Type": "Bind"}]}}, "field HostConfig.Mounts[0].Type is not a mount type: Bind"),
        ({"HostConfig": {"Privileged": "true"}}, "field HostConfig.Privileged is not true or false"),
        ({"HostConfig": {"NewPower": True}}, "field HostConfig.NewPower is not a field"),
        ({"Extra": {}}, "field Extra is not a field"),
    ],
)
def test_a_create_body_with_a_second_reading_is_refused(body, text):
    assert text in refusal(body)


@pytest.mark.parametrize("kind", ["", "BIND"])
def test_a_service_mount_type_that_swarm_would_fold_is_refused(kind):
    spec = {"Image": "i", "Mounts": [{"Type": kind, "Source": "/run", "Target": "/r"}]}
    place = "TaskTemplate.ContainerSpec.Mounts[0].Type is not a mount type"
    assert place in refusal({"TaskTemplate": {"ContainerSpec": spec}}, "service")


def test_a_service_mode_in_both_spellings_is_refused():
    assert "Mode.replicated stands beside Replicated" in refusal(
        {"Mode": {"replicated": {}, "Replicated": {}}},
        "service",
    )


@pytest.mark.parametrize("field", ["Binds", "Mounts", "VolumesFrom"])
def test_more_mounts_than_can_be_judged_are_refused(field):
    item = {"Binds": "/a:/b", "Mounts": {"Type": "tmpfs"}, "VolumesFrom": "c"}[field]
    view = create({"HostConfig": {field: [item] * MAX_MOUNTS}})
    assert len(view.mounts or view.volumes_from) == MAX_MOUNTS
    assert f"more than {MAX_MOUNTS} mounts" in refusal({"HostConfig": {field: [item] * (MAX_MOUNTS + 1)}})
