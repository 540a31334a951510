"""The walk over a path is the kernel's, and stops where only the kernel knows the way."""

from __future__ import annotations

import pytest
from tests.unit.policy.fake_paths import FakePaths

from sockwarden.policy.paths import MAX_LINKS, MAX_PATH, Unresolvable

PATHS = FakePaths(
    ["/run/docker.sock", "/a/b/c", "/proc/1/ns/net", "/proc/123/environ", "/proc/sys/kernel", "/proc/1/mounts"],
    links={
        "/var/run": "/run",
        "/link": "a/b",
        "/a/b/up": "../../run/",
        "/loop": "/loop",
        "/dangling": "/nowhere/x",
        "/sneaky": "/proc/123/root/run",
        "/proc/mounts": "self/mounts",
    }
    | {f"/chain{n}": f"/chain{n + 1}" for n in range(MAX_LINKS)}
    | {f"/chain{MAX_LINKS}": "/run"},
)


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/..", "/"),
        ("/run/.", "/run"),
        ("/run//docker.sock", "/run/docker.sock"),
        ("/var/run/docker.sock", "/run/docker.sock"),
        ("/a/../run", "/run"),
        ("/link", "/a/b"),
        ("/link/..", "/a"),
        ("/link/c/../up/docker.sock", "/run/docker.sock"),
        ("/chain1", "/run"),
        ("/proc/self/root/run", "/run"),
        ("/proc/1/root", "/"),
        ("/proc/1/root/proc/thread-self/root/var/run", "/run"),
        ("/proc", "/proc"),
        ("/proc/1", "/proc/1"),
        ("/proc/self", "/proc/self"),
        ("/proc/1/ns/net", "/proc/1/ns/net"),
        ("/proc/sys/kernel", "/proc/sys/kernel"),
        ("/missing", None),
        ("/missing/../run", None),
        ("/dangling", None),
        ("/run/docker.sock/x", None),
    ],
)
def test_a_path_leads_where_the_kernel_would_go(path, real):
    assert PATHS.resolve(path) == real


@pytest.mark.parametrize(
    "path",
    [
        "",
        "run",
        "./run",
        "/run\0",
        "/" + "x" * MAX_PATH,
        "/loop",
        "/chain0",
        "/sneaky",
        "/proc/123/root",
        "/proc/123/cwd/x",
        "/proc/self/fd/3",
        "/proc/self/cwd",
        "/proc/1/task/1/root",
        "/proc/1/exe",
    ],
)
def test_a_path_that_only_the_kernel_can_follow_is_unresolvable(path):
    with pytest.raises(Unresolvable):
        PATHS.resolve(path)
