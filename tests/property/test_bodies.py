"""Laws of request bodies: no bytes crash the reader, and no re-spelling of a judged field passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.dockerapi import bodies
from sockwarden.dockerapi.gojson import fold
from sockwarden.errors import ClientError

pytestmark = pytest.mark.property

READERS = [
    bodies.read_create,
    bodies.read_volume,
    bodies.read_exec_create,
    bodies.read_exec_start,
    bodies.read_service,
    bodies.check_update,
    bodies.check_commit,
    bodies.check_network_create,
    bodies.check_network_connect,
]
DATA = Path(__file__).parents[1] / "unit" / "dockerapi" / "data"
RECORDED = [path.read_bytes() for path in sorted(DATA.iterdir())]

# Each judged field of a create body: where it stands, and a value that grants power.
JUDGED: dict[tuple[Any, ...], Any] = {
    ("Image",): "evil",
    ("HostConfig",): {"Binds": ["/run:/r"]},
    ("HostConfig", "Binds"): ["/run:/r"],
    ("HostConfig", "Mounts"): [{"Type": "bind", "Source": "/run", "Target": "/r"}],
    ("HostConfig", "VolumesFrom"): ["holder"],
    ("HostConfig", "VolumeDriver"): "evil",
    ("HostConfig", "Privileged"): True,
    ("HostConfig", "PidMode"): "host",
    ("HostConfig", "IpcMode"): "host",
    ("HostConfig", "NetworkMode"): "host",
    ("HostConfig", "Devices"): [{"PathOnHost": "/dev/sda"}],
    ("HostConfig", "Mounts", 0, "Source"): "/run",
    ("HostConfig", "Mounts", 0, "Type"): "bind",
    ("HostConfig", "Mounts", 0, "VolumeOptions"): {"DriverConfig": {"Options": {"o": "bind", "device": "/run"}}},
    ("HostConfig", "Mounts", 0, "VolumeOptions", "DriverConfig"): {"Options": {"o": "bind", "device": "/run"}},
    ("HostConfig", "Mounts", 0, "VolumeOptions", "DriverConfig", "Options"): {"o": "bind", "device": "/run"},
}
PLACES = st.sampled_from(sorted(JUDGED, key=str))
OTHER_FORMS = {"s": "sS\u017f", "k": "kK\u212a"}


def harmless() -> dict[str, Any]:
    mount = {"Type": "volume", "Source": "v", "Target": "/t", "VolumeOptions": {"DriverConfig": {"Options": {}}}}
    return {"Image": "good", "HostConfig": {"Binds": [], "Mounts": [mount]}}


@st.composite
def respellings(draw, key: str) -> str:
    letters = [draw(st.sampled_from(OTHER_FORMS.get(c.lower(), c.lower() + c.upper()))) for c in key]
    spelt = "".join(letters)
    return spelt if spelt != key else key.swapcase()


def refused(data: bytes) -> None:
    with pytest.raises(ClientError):
        bodies.read_create(data)


def test_the_body_that_the_laws_start_from_passes():
    assert bodies.read_create(json.dumps(harmless()).encode()).image == "good"


@given(st.one_of(st.binary(max_size=80), st.text(alphabet='{}[]":,\\ntrue019.eu\ud7ffd8', max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused(data):
    for read in READERS:
        try:
            read(data)
        except ClientError as error:
            assert error.status == 400
            assert str(error)


@given(st.sampled_from(RECORDED), st.integers(0, 5000), st.integers(0, 40), st.binary(max_size=12))
def test_any_damage_to_a_real_body_is_read_or_refused(body, start, length, patch):
    start %= len(body) + 1
    damaged = body[:start] + patch + body[start + length :]
    for read in READERS:
        try:
            read(damaged)
        except ClientError as error:
            assert str(error).isprintable()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["HostConfig", "Mounts", "Binds", "VolumeOptions", "DriverConfig", "Options", "Volumes"]
                )
                | st.sampled_from(
                    ["TaskTemplate", "ContainerSpec", "VolumesFrom", "Devices", "DriverOpts", "PluginSpec"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_a_value_of_any_type_anywhere_is_read_or_refused(value):
    data = json.dumps(value).encode()
    for read in READERS:
        try:
            read(data)
        except ClientError as error:
            assert error.status == 400


@given(PLACES, st.data())
def test_another_spelling_of_a_judged_field_is_refused(place, data):
    body = harmless()
    parent: Any = body
    for step in place[:-1]:
        parent = parent[step]
    spelling = data.draw(respellings(place[-1]))
    assert fold(spelling) == fold(place[-1])
    parent[spelling] = JUDGED[place]
    refused(json.dumps(body).encode())
    refused(json.dumps(body, ensure_ascii=False).encode())
    parent.pop(place[-1], None)
    refused(json.dumps(body).encode())


@given(PLACES, st.booleans(), st.data())
def test_a_judged_field_that_stands_twice_is_refused(place, evil_first, data):
    body = harmless()
    parent: Any = body
    for step in place[:-1]:
        parent = parent[step]
    name = place[-1]
    parent[name], parent["\0second"] = (JUDGED[place], None) if evil_first else (None, JUDGED[place])
    letter = data.draw(st.integers(0, len(name) - 1))
    escaped = f"{name[:letter]}\\u{ord(name[letter]):04x}{name[letter + 1 :]}"
    second = data.draw(st.sampled_from([name, escaped]))
    refused(json.dumps(body).replace(r"\u0000second", second).encode())


@given(st.sampled_from(sorted(key[1] for key in JUDGED if len(key) == 2)), st.booleans())
def test_a_judged_field_lifted_to_the_top_level_is_refused(name, beside):
    body = {"Image": "good", name: JUDGED["HostConfig", name]}
    if beside:
        body["HostConfig"] = {}
    refused(json.dumps(body).encode())


@given(st.binary(min_size=1, max_size=6).filter(lambda tail: tail.strip(b" \t\r\n")))
def test_a_body_with_anything_behind_it_is_refused(tail):
    refused(json.dumps(harmless()).encode() + tail)


@given(st.sampled_from(RECORDED))
def test_a_real_body_in_another_layout_reads_the_same(body):
    value = json.loads(body)
    for read in READERS:
        try:
            expected = read(body)
        except ClientError:
            continue
        assert read(json.dumps(value, indent=2, ensure_ascii=False).encode()) == expected
