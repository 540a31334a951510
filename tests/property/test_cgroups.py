"""Laws of placing a process: names that a container can choose never make it another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockwarden.identity.cgroup import Place, candidates, choose, hierarchies, home, placement

pytestmark = pytest.mark.property

IDS = [f"{number:x}".rjust(64, "0") for number in (0xA1, 0xB2, 0xC3)]
GOOD, EVIL, OTHER = IDS

component = st.one_of(
    st.sampled_from([*IDS, "docker", "init.scope", f"docker-{GOOD}.scope", "system.slice", "buildkit", "a:b"]),
    st.text(st.characters(blacklist_characters="/\n\0", blacklist_categories=["Cs"]), min_size=1, max_size=12),
)
below = st.lists(component, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts))
spelling = st.sampled_from(
    ["/docker/{}", "/ci/jobs/{}", "/system.slice/docker-{}.scope", "/user.slice/docker-{}.scope"]
)
keys = st.sampled_from(["0:", "11:memory", "12:cpu,cpuacct"])


@given(spelling, spelling, below, below, keys)
def test_a_container_is_itself_whatever_it_nests(good, evil, nested, moved, key):
    inits = {GOOD: f"{key}:{good.format(GOOD)}\n", EVIL: f"{key}:{evil.format(EVIL)}{moved}\n"}
    assert choose(f"{key}:{evil.format(EVIL)}{nested}\n", inits) == EVIL


@given(spelling, below, below, keys)
def test_a_container_below_anothers_cgroup_is_itself(good, between, nested, key):
    parent = good.format(GOOD)
    between = between.replace(EVIL, "x")  # nobody knows an id before the engine draws it
    own = f"{parent}{between}/{EVIL}"
    inits = {GOOD: f"{key}:{parent}\n", EVIL: f"{key}:{own}\n"}
    assert choose(f"{key}:{own}{nested}\n", inits) == EVIL


@given(spelling, below, keys)
def test_an_unknown_container_is_never_taken_for_a_known_one(evil, nested, key):
    inits = {GOOD: f"{key}:/docker/{GOOD}\n"}
    assert choose(f"{key}:{evil.format(EVIL)}{nested}\n", inits) is None


@given(spelling, below, keys)
def test_whatever_a_container_nests_it_is_never_host(own, nested, key):
    assert placement(f"{key}:{own.format(EVIL)}{nested}\n1:name=systemd:/\n").place is not Place.HOST


@given(st.text())
def test_any_text_is_placed(text):
    place = placement(text)
    assert (place.place is Place.CONTAINER) == bool(place.candidates)


@given(st.text(), st.dictionaries(st.sampled_from(IDS), st.text()))
def test_any_texts_choose_one_of_the_running_containers_or_none(text, inits):
    assert choose(text, inits) in {None, *inits}


@given(spelling, below, keys)
def test_a_chosen_home_is_a_path_component_prefix(own, nested, key):
    path = own.format(GOOD) + nested
    root = home(GOOD, path)
    assert root is not None
    assert f"{path}/".startswith(f"{root}/")


@given(below, keys)
def test_candidates_name_prefixes_of_their_paths(path, key):
    text = f"{key}:{path}\n"
    paths = list(hierarchies(text).values())
    assert all(any(f"{path}/".startswith(f"{found.path_prefix}/") for path in paths) for found in candidates(text))
