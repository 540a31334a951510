"""Images that no registry has, listed by their id."""

import pytest
from tests.unit.images.locals import EVIL, REG, judged, local

from sockwarden.model import ImageAnswer

INDEX, MANIFEST, CONFIG = ("sha256:" + digit * 64 for digit in "abc")


def test_a_listed_id_allows_its_image_without_asking_anyone(bench, world):
    assert bench.judge([], judged(local(CONFIG, "mine:1")), local_ids=[CONFIG]) == [
        ImageAnswer(allowed=True, entry=CONFIG, digest=CONFIG)
    ]
    assert world.seen == []


def test_the_index_that_the_containerd_store_calls_the_id_allows(bench):
    assert bench.judge([], judged(local(INDEX, manifest=MANIFEST)), local_ids=[INDEX])[0].digest == INDEX


def test_the_manifest_that_runs_in_the_containerd_store_allows(bench):
    assert bench.judge([], judged(local(INDEX, manifest=MANIFEST)), local_ids=[MANIFEST])[0].digest == MANIFEST


def test_no_name_makes_another_image_a_listed_one(bench):
    evil = local(EVIL, "mine:1", f"{REG}/mine@{CONFIG}", f"{CONFIG[7:]}:latest")
    (answer,) = bench.judge([], judged(evil), local_ids=[CONFIG])
    assert (answer.allowed, answer.reason) == (False, f"no entry of the image list holds its content {EVIL}")


@pytest.mark.parametrize(
    ("names", "answer"),
    [((), True), (("mine:1",), True), ((f"{REG}/mine@{EVIL}",), True), ((f"{REG}/mine@{INDEX}",), False)],
)
def test_a_refused_image_is_local_unless_the_engine_knows_a_repository(bench, names, answer):
    # The containerd store makes a repository digest of the id for every name: that is no sign of a registry.
    assert bench.judge([], judged(local(EVIL, *names)))[0].local is answer


def test_status_names_every_id(bench):
    async def scenario(image_list):
        return [(status.entry, status.kind) for status in image_list.status()]

    assert bench.judge([], scenario, local_ids=[INDEX, CONFIG]) == [(INDEX, "id"), (CONFIG, "id")]
