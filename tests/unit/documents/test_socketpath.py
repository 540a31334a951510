import pytest

from sockwarden.documents.socketpath import default_run_dir, default_state_dir, same_socket


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/run/docker.sock", "/var/run/docker.sock", True),
        ("/run/docker.sock", "/run/docker.sock", True),
        ("/var/running/x", "/running/x", False),
    ],
)
def test_var_run_is_run(one, other, same):
    assert same_socket(one, other) is same


def test_the_run_dir_lies_beside_the_public_socket():
    assert [default_run_dir("/a/docker.sock"), default_run_dir("/a/b.sock"), default_run_dir("/a/b")] == [
        "/a/sockwarden",
        "/a/sockwarden-b",
        "/a/sockwarden-b",
    ]


@pytest.mark.parametrize(
    ("run_dir", "state_dir"),
    [
        ("/run/sockwarden", "/var/lib/sockwarden"),
        ("/var/run/sockwarden-b", "/var/lib/sockwarden-b"),
        ("/srv/run", "/srv/run-state"),
    ],
)
def test_what_outlives_the_host_is_not_in_run(run_dir, state_dir):
    assert default_state_dir(run_dir) == state_dir
