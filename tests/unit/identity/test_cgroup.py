"""Cgroup texts as real hosts write them, and as hostile containers would like them to be."""

from __future__ import annotations

import pytest

from sockwarden.identity.cgroup import (
    MAX_CANDIDATES,
    Candidate,
    Place,
    candidates,
    choose,
    hierarchies,
    home,
    placement,
)

GOOD = "a" * 63 + "1"
EVIL = "b" * 63 + "2"
OTHER = "c" * 63 + "3"


def v2(path: str) -> str:
    return f"0::{path}\n"


def hybrid(path: str, unified: str = "/") -> str:
    return f"12:cpu,cpuacct:{path}\n11:memory:{path}\n1:name=systemd:{path}\n0::{unified}\n"


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{GOOD}",
        f"/any/parent/{GOOD}",
        f"/system.slice/docker-{GOOD}.scope",
        f"/user.slice/docker-{GOOD}.scope",
        f"/machine.slice/libpod-{GOOD}.scope",
        f"/kubepods.slice/kubepods-besteffort.slice/cri-containerd-{GOOD}.scope",
        f"/kubepods/burstable/pod5c1b/crio-{GOOD}",
        f"/system.slice:docker:{GOOD}",
    ],
)
def test_every_spelling_of_a_container_is_a_candidate(path):
    assert candidates(v2(path)) == (Candidate(GOOD, path),)


def test_the_prefix_of_a_candidate_ends_at_its_component():
    path = f"/docker/{GOOD}/init.scope/deeper"
    assert candidates(v2(path)) == (Candidate(GOOD, f"/docker/{GOOD}"),)


def test_all_ids_of_a_path_are_candidates():
    path = f"/docker/{GOOD}/docker/{OTHER}"
    assert [found.container_id for found in candidates(v2(path))] == [GOOD, OTHER]


def test_the_same_path_in_many_hierarchies_is_one_candidate():
    assert candidates(hybrid(f"/docker/{GOOD}")) == (Candidate(GOOD, f"/docker/{GOOD}"),)


def test_longer_and_shorter_runs_of_hex_digits_are_no_ids():
    assert candidates(v2(f"/x/{GOOD}0/{GOOD[1:]}")) == ()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/init.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        "/system.slice/snap.docker.dockerd.service",
        "/system.slice/lxcfs.service",
        "/system.slice/buildkit.service",
        "/system.slice/kubelet.service",
        "/jobs/15e2e470804c6bdabdc9a99823c36b38",
    ],
)
def test_paths_without_a_sign_of_containers_are_host(path):
    assert placement(hybrid(path)).place is Place.HOST


@pytest.mark.parametrize(
    "path",
    [
        "/docker",
        "/docker/buildkit/jv1o5rzlc2c4mdc0s3xlsf4zc",
        "/docker/jv1o5rzlc2c4mdc0s3xlsf4zc",
        "/ci/buildkit/jv1o5rzlc2c4mdc0s3xlsf4zc",
        "/system.slice:docker:jv1o5rzlc2c4mdc0s3xlsf4zc",
        "/system.slice/docker-jv1o5rzlc2c4mdc0s3xlsf4zc.scope",
        "/system.slice/docker-.scope",
        "/kubepods.slice/kubepods-pod1.slice",
        "/kubepods/besteffort/pod1",
        "/lxc/web",
        "/lxc.payload.web/init.scope",
        "/lxc.monitor.web",
        "/machine.slice/systemd-nspawn@web.service/payload",
        "/machine.slice/libpod-short.scope",
        "/libpod_parent/short",
        "/default/web",
        "/k8s.io/web",
        "/garden/web",
        "/../system.slice",
    ],
)
def test_signs_of_containers_without_an_id_are_foreign(path):
    found = placement(v2(path))
    assert (found.place, bool(found.reason)) == (Place.FOREIGN, True)


def test_one_sign_in_any_hierarchy_is_enough_not_to_be_host():
    assert placement("3:memory:/lxc/web\n0::/\n").place is Place.FOREIGN


def test_one_container_id_in_any_hierarchy_is_enough_not_to_be_host():
    assert placement(hybrid("/", unified=f"/docker/{GOOD}")).place is Place.CONTAINER


@pytest.mark.parametrize(
    "text", ["", "\n", "garbage", "0::relative", "::", "0::/\n0::/\n", "0::/\ngarbage\n", "0::/\n\n"]
)
def test_a_text_that_the_kernel_does_not_write_is_foreign(text):
    assert placement(text).place is Place.FOREIGN


def test_too_many_ids_in_a_path_are_foreign():
    path = "/".join(f"{number:064x}" for number in range(MAX_CANDIDATES + 1))
    assert placement(v2(f"/{path}")).place is Place.FOREIGN


def test_a_long_text_is_placed_like_a_short_one():
    assert placement(v2("/user.slice" + "/x" * 4096)).place is Place.HOST


def test_a_deleted_cgroup_keeps_its_container():
    assert candidates(v2(f"/docker/{GOOD} (deleted)")) == (Candidate(GOOD, f"/docker/{GOOD}"),)


@pytest.mark.parametrize("separator", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_a_name_cannot_begin_a_line_of_its_own(separator):
    text = v2(f"/docker/{EVIL}/x{separator}0::/docker/{GOOD}")
    assert hierarchies(text)[""].startswith(f"/docker/{EVIL}/")


def test_a_path_may_hold_colons():
    assert hierarchies("4:memory:/a:b:c\n") == {"memory": "/a:b:c"}


def test_the_home_is_the_outermost_component_with_the_id():
    assert home(GOOD, f"/docker/{GOOD}/x/{GOOD}/y") == f"/docker/{GOOD}"


def test_the_home_of_a_container_without_deeper_cgroups_is_its_path():
    assert home(GOOD, f"/system.slice/docker-{GOOD}.scope") == f"/system.slice/docker-{GOOD}.scope"


def test_a_path_without_the_id_is_no_home():
    assert home(GOOD, "/docker") is None


def test_a_peer_in_the_containers_own_cgroup_is_in_it():
    text = v2(f"/docker/{GOOD}")
    assert choose(text, {GOOD: text}) == GOOD


def test_a_peer_in_a_nested_cgroup_is_in_the_container():
    assert choose(v2(f"/docker/{GOOD}/app"), {GOOD: v2(f"/docker/{GOOD}")}) == GOOD


def test_an_init_that_moved_deeper_does_not_hide_its_siblings():
    assert choose(v2(f"/docker/{GOOD}/app.slice"), {GOOD: v2(f"/docker/{GOOD}/init.scope")}) == GOOD


def test_a_container_below_anothers_cgroup_is_itself():
    evil = v2(f"/docker/{GOOD}/{EVIL}")
    assert choose(evil, {GOOD: v2(f"/docker/{GOOD}"), EVIL: evil}) == EVIL


def test_a_directory_named_like_another_container_changes_nothing():
    inits = {GOOD: v2(f"/docker/{GOOD}"), EVIL: v2(f"/docker/{EVIL}")}
    assert choose(v2(f"/docker/{EVIL}/{GOOD}"), inits) == EVIL


def test_a_directory_named_like_another_containers_whole_path_changes_nothing():
    inits = {GOOD: v2(f"/docker/{GOOD}"), EVIL: v2(f"/docker/{EVIL}")}
    assert choose(v2(f"/docker/{EVIL}/docker/{GOOD}"), inits) == EVIL


def test_a_prefix_that_ends_within_a_component_does_not_count():
    assert choose(v2(f"/docker/{GOOD}-more"), {GOOD: v2(f"/docker/{GOOD}")}) is None


def test_no_init_means_no_container():
    assert choose(v2(f"/docker/{GOOD}"), {}) is None


def test_an_init_outside_of_any_cgroup_of_its_own_confirms_nothing():
    assert choose(v2(f"/docker/{GOOD}"), {GOOD: v2("/")}) is None


def test_a_host_path_in_some_hierarchies_does_not_matter():
    peer = hybrid(f"/docker/{GOOD}", unified="/system.slice/containerd.service")
    assert choose(peer, {GOOD: peer}) == GOOD


def test_hierarchies_that_disagree_name_nobody():
    inits = {GOOD: hybrid(f"/docker/{GOOD}"), EVIL: hybrid(f"/docker/{EVIL}")}
    peer = f"12:cpu,cpuacct:/docker/{EVIL}\n11:memory:/docker/{GOOD}\n"
    assert choose(peer, inits) is None


def test_a_hierarchy_with_an_unconfirmed_id_names_nobody():
    peer = f"12:cpu,cpuacct:/docker/{GOOD}\n11:memory:/docker/{EVIL}\n"
    assert choose(peer, {GOOD: hybrid(f"/docker/{GOOD}")}) is None


def test_a_hierarchy_with_a_foreign_sign_names_nobody():
    peer = f"12:cpu,cpuacct:/docker/{GOOD}\n11:memory:/lxc/web\n"
    assert choose(peer, {GOOD: hybrid(f"/docker/{GOOD}")}) is None


def test_a_path_of_another_hierarchy_confirms_nothing():
    assert choose(f"11:memory:/docker/{GOOD}\n", {GOOD: v2(f"/docker/{GOOD}")}) is None


def test_a_host_process_is_in_no_container():
    assert choose(hybrid("/"), {GOOD: v2(f"/docker/{GOOD}")}) is None
