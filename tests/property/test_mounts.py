"""Laws of the judgement of mounts: it always answers, and no detour makes a source look harmless."""

from __future__ import annotations

import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockwarden.dockerapi.bodies_mounts import MountKind, MountSource
from sockwarden.identity.paths import HostPaths
from sockwarden.policy.mounts import Exposure, GuardedSockets, judge_mount

pytestmark = pytest.mark.property

PATHS = HostPaths()
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
DETOURS = st.lists(st.sampled_from(["/.", "/", "/missing/..", "/link/..", "/run/..", "/link/deep/../.."]), max_size=4)
PREFIXES = st.sampled_from(["", "/proc/1/root", "/proc/self/root", "/", "/proc/self/root/proc/1/root"])


@pytest.fixture
def top(tmp_path):
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("run")
    for name in ("public", "deep/engine"):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "run" / name))
    return str(tmp_path)


@pytest.fixture
def guarded(top):
    return GuardedSockets.at([f"{top}/run/public"], [f"{top}/run/deep/engine"], PATHS)


def bind(path: str) -> MountSource:
    return MountSource(MountKind.BIND, path, path, "")


def bound_volume(path: str) -> MountSource:
    return MountSource(MountKind.VOLUME, "v", "v", "", "local", (("type", "none"), ("o", "bind"), ("device", path)))


@SHARED
@given(st.sampled_from(["", "/", "/proc/", "/proc/1/", "/dev/", "/sys/"]), TEXT)
def test_any_text_is_judged(guarded, prefix, text):
    for source in (bind(prefix + text), bound_volume(prefix + text)):
        assert judge_mount(source, guarded, PATHS).exposure in Exposure


@SHARED
@given(st.dictionaries(st.sampled_from(["type", "o", "device", "size"]), TEXT | st.sampled_from(["overlay", "cifs"])))
def test_any_options_are_judged(guarded, options):
    source = MountSource(MountKind.VOLUME, "v", "v", "", "local", tuple(options.items()))
    assert judge_mount(source, guarded, PATHS).exposure in Exposure


@SHARED
@given(
    PREFIXES,
    DETOURS,
    st.sampled_from(
        [
            ("/run/public", Exposure.PUBLIC),
            ("/link/public", Exposure.PUBLIC),
            ("/run", Exposure.ENGINE),
            ("/link", Exposure.ENGINE),
            ("/link/deep", Exposure.ENGINE),
            ("/run/deep/engine", Exposure.ENGINE),
        ],
    ),
)
def test_a_detour_shows_no_less(top, guarded, prefix, detours, target):
    path, least = target
    found = judge_mount(bind(prefix + top + "".join(detours) + path), guarded, PATHS)
    assert found.exposure >= least
