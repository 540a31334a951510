"""Entries with a * within the name or tag: the registry's word decides, and names are hints."""

import asyncio

import pytest
from tests.unit.images.locals import EVIL, REG, judged, local

from sockwarden.dockerapi.reference import parse_entry
from sockwarden.images.endpoints import Repository
from sockwarden.images.holdings import Holdings
from sockwarden.images.imagelist import ImageList
from sockwarden.images.patterns import Patterns
from sockwarden.images.resolver import Remembered, Resolver, Target
from sockwarden.model import ImageAnswer

# ---- every tag of the repositories that fit


def test_a_glob_allows_what_a_repository_that_fits_holds(bench, world):
    digest, config = world.image(REG, "ci/app", "1", "app")
    assert bench.judge([f"{REG}/ci/*:*"], judged(local(config, f"{REG}/ci/app@{digest}"))) == [
        ImageAnswer(allowed=True, entry=f"{REG}/ci/*:*", digest=config)
    ]


def test_a_glob_allows_the_containerd_stores_id(bench, world):
    index, platforms = world.index(REG, "ci/app", "1", "amd64")
    image = local(index, f"{REG}/ci/app:1", manifest=platforms[0][0])
    assert bench.judge([f"{REG}/ci/*:*"], judged(image))[0].allowed


def test_a_glob_asks_docker_hub_by_the_completed_name(bench, world):
    digest, config = world.image("registry-1.docker.io", "testcontainers/ryuk", "1", "ryuk")
    image = local(config, f"testcontainers/ryuk@{digest}")
    assert bench.judge(["testcontainers/*:*"], judged(image))[0].entry == "docker.io/testcontainers/*:*"


@pytest.mark.parametrize("path", ["ci/a/b", "ci", "other/app", "xci/app"])
def test_a_repository_that_does_not_fit_is_not_asked(bench, world, path):
    digest, config = world.image(REG, path, "1", "app")
    assert not bench.judge([f"{REG}/ci/*:*"], judged(local(config, f"{REG}/{path}@{digest}")))[0].allowed
    assert world.seen == []


def test_forged_names_that_fit_are_refused(bench, world):
    digest, _ = world.image(REG, "ci/app", "1", "app")
    evil = local(EVIL, f"{REG}/ci/app:1", f"{REG}/ci/app@{digest}")
    (answer,) = bench.judge([f"{REG}/ci/*:*"], judged(evil))
    assert (answer.allowed, answer.reason) == (False, f"no entry of the image list holds its content {EVIL}")


def test_many_forged_repositories_cost_few_requests(bench, world):
    names = [f"{REG}/ci/app{number}:1" for number in range(200)]
    bench.judge([f"{REG}/ci/*:*"], judged(local(EVIL, *names)))
    assert sum(request.method == "HEAD" for request in world.seen) == 16


def test_forged_digests_of_many_repositories_are_each_asked_for_once(bench, world):
    names = [f"{REG}/ci/app{number}@sha256:{number:064x}" for number in range(200)]
    bench.judge([f"{REG}/ci/*:*"], judged(local(EVIL, *names)))
    assert sum(request.method == "HEAD" for request in world.seen) == 16


def test_what_a_repository_was_found_to_hold_needs_no_name_later(bench, world):
    digest, config = world.image(REG, "ci/app", "1", "app")

    async def scenario(image_list):
        await image_list.judge(local(config, f"{REG}/ci/app@{digest}"))
        world.down.add(REG)
        bench.clock.now += 1e9
        return image_list.judge_now(local(config))

    assert bench.judge([f"{REG}/ci/*:*"], scenario).allowed


def test_a_repository_that_fits_and_cannot_be_asked_is_named(bench, world):
    world.down.add(REG)
    (answer,) = bench.judge([f"{REG}/ci/*:*"], judged(local(EVIL, f"{REG}/ci/app:1")))
    assert f"{REG}/ci/app could not be asked for the image: {REG} cannot be reached" in answer.reason


# ---- some tags


@pytest.mark.parametrize("entry", [f"{REG}/app:1.*", f"{REG}/*:1.2", f"{REG}/a*:1.*"])
def test_a_tag_that_fits_allows_what_it_points_to(bench, world, entry):
    _, config = world.image(REG, "app", "1.2", "app")
    (answer,) = bench.judge([entry], judged(local(config, f"{REG}/app:1.2")))
    assert answer == ImageAnswer(allowed=True, entry=entry, digest=config)


def test_no_tag_means_latest_in_a_glob_too(bench, world):
    _, latest = world.image(REG, "ci/app", "latest", "app")
    _, other = world.image(REG, "ci/app", "2", "other")
    images = local(latest, f"{REG}/ci/app:latest"), local(other, f"{REG}/ci/app:2")
    assert [answer.allowed for answer in bench.judge([f"{REG}/ci/*"], judged(*images))] == [True, False]


def test_a_tag_that_does_not_fit_allows_nothing(bench, world):
    _, config = world.image(REG, "app", "2.0", "app")
    assert not bench.judge([f"{REG}/app:1.*"], judged(local(config, f"{REG}/app:2.0")))[0].allowed
    assert world.seen == []


def test_a_forged_tag_that_fits_is_refused_with_what_the_registry_says(bench, world):
    digest, _ = world.image(REG, "app", "1.2", "app")
    _, other = world.image(REG, "app", "2.0", "other")
    (answer,) = bench.judge([f"{REG}/app:1.*"], judged(local(other, f"{REG}/app:1.2")))
    assert not answer.allowed
    assert answer.reason.startswith(f"{REG}/app:1.2 is {digest} in its registry, and the local image is not")


def test_a_tag_that_the_registry_has_not_allows_nothing(bench, world):
    world.image(REG, "app", "1.2", "app")
    (answer,) = bench.judge([f"{REG}/app:1.*"], judged(local(EVIL, f"{REG}/app:1.3")))
    assert "1.3 allows nothing" in answer.reason


def test_a_repository_digest_alone_does_not_make_a_tag(bench, world):
    digest, config = world.image(REG, "app", "2.0", "app")
    # "s*" fits the text of a digest, which is no tag.
    assert not bench.judge([f"{REG}/app:s*"], judged(local(config, f"{REG}/app@{digest}")))[0].allowed


def test_a_tag_that_moved_takes_the_image_before_with_it(bench, world):
    _, old = world.image(REG, "app", "1.2", "old")

    async def scenario(image_list):
        first = await image_list.judge(local(old, f"{REG}/app:1.2"))
        world.image(REG, "app", "1.2", "new")
        await image_list.refresh_all()
        return first.allowed, (await image_list.judge(local(old))).allowed

    assert bench.judge([f"{REG}/app:1.*"], scenario) == (True, False)


def test_a_registry_that_is_silent_later_ends_nothing(bench, world):
    _, config = world.image(REG, "app", "1.2", "app")

    async def scenario(image_list):
        await image_list.judge(local(config, f"{REG}/app:1.2"))
        world.down.add(REG)
        bench.clock.now += 7200
        await image_list.refresh_all()
        return image_list.judge_now(local(config))

    assert bench.judge([f"{REG}/app:1.*"], scenario).allowed


def test_a_tag_that_was_found_is_refreshed_in_the_background(bench, world):
    _, config = world.image(REG, "app", "1.2", "app")

    async def scenario(image_list):
        image_list.start()
        await image_list.judge(local(config, f"{REG}/app:1.2"))
        _, new = world.image(REG, "app", "1.2", "new")
        bench.clock.now += 7200
        while not (answer := image_list.judge_now(local(new))) or not answer.allowed:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0)  # the list has no event to wait for
        return answer

    assert bench.judge([f"{REG}/app:1.*"], scenario).allowed


def test_a_new_generation_goes_on_with_the_tags_of_the_old_one(bench, world):

    _, config = world.image(REG, "app", "1.2", "app")

    async def scenario(image_list):
        await image_list.judge(local(config, f"{REG}/app:1.2"))
        parts = image_list._resolver, image_list._holdings
        other, none = (ImageList([parse_entry(f"{REG}/app:{tag}")], *parts) for tag in ("*.2", "2.*"))
        other.start()
        answers = other.judge_now(local(config)), none.judge_now(local(config))
        await other.close()
        return answers

    kept, gone = bench.judge([f"{REG}/app:1.*"], scenario)
    assert (kept.entry, gone.allowed) == (f"{REG}/app:*.2", False)


def test_the_tag_that_no_image_bore_for_longest_makes_room(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.followed.MAX_FOLLOWED", 2)
    _, config = world.image(REG, "app", "1.2", "app")

    async def scenario(image_list):
        await image_list.judge(local(config, f"{REG}/app:1.2"))
        await image_list.judge(local(EVIL, f"{REG}/app:1.3", f"{REG}/app:1.4"))
        return image_list.judge_now(local(config)).allowed, [
            record.target.reference for record in image_list._resolver.records()
        ]

    assert bench.judge([f"{REG}/app:1.*"], scenario) == (False, ["1.3", "1.4"])


def test_what_fits_is_forgotten_when_too_much_is_remembered(monkeypatch):
    monkeypatch.setattr("sockwarden.images.patterns.MAX_REMEMBERED", 1)
    patterns = Patterns()
    patterns.add(parse_entry(f"{REG}/ci/*:*"))
    found = [patterns.for_any_tag(Repository(REG, path)) for path in ("ci/a", "x", "ci/a")]
    assert found == [f"{REG}/ci/*:*", "", f"{REG}/ci/*:*"]
    assert len(patterns._found) == 1


def test_status_names_globs_and_the_tags_that_they_led_to(bench, world):
    _, config = world.image(REG, "app", "1.2", "app")
    _, held = world.image(REG, "ci/x", "1", "held")
    _, elsewhere = world.image(REG, "other", "1", "elsewhere")

    async def scenario(image_list):
        await image_list.judge(local(config, f"{REG}/app:1.2", f"{REG}/app:1.3"))
        await image_list.judge(local(held, f"{REG}/ci/x:1"))
        await image_list.judge(local(elsewhere, f"{REG}/other:1"))
        image_list._holdings.adopt(Repository(REG, "of-another-list"), bytes(32))
        return [(status.entry, status.digests) for status in image_list.status()]

    assert bench.judge([f"{REG}/app:1.*", f"{REG}/ci/*:*", f"{REG}/other:*"], scenario) == [
        (f"{REG}/app:1.2", 2),
        (f"{REG}/other:*", 1),
        (f"{REG}/ci/*:*", 1),
        (f"{REG}/app:1.*", 2),
    ]


# ---- with a lock file


@pytest.mark.parametrize("entry", [f"{REG}/app:*", f"{REG}/a*:*", f"{REG}/app:1*"])
def test_with_a_lock_file_patterns_allow_nothing_and_nobody_is_asked(bench, world, entry):
    digest, config = world.image(REG, "app", "1", "app")
    named = local(config, f"{REG}/app:1", f"{REG}/app@{digest}")

    async def scenario(image_list):
        allowed = await image_list.judge(named)
        image_list._resolver.lock({}, "digests.lock.json")
        world.seen.clear()
        return allowed.allowed, await image_list.judge(named)

    before, after = bench.judge([entry], scenario)
    assert (before, after.allowed, world.seen) == (True, False, [])


def test_with_a_lock_file_a_pattern_that_fits_is_named(bench):
    async def scenario(image_list):
        image_list._resolver.lock({}, "digests.lock.json")
        return await image_list.judge(local(EVIL, f"{REG}/app:1"))

    assert bench.judge([f"{REG}/app:*"], scenario).reason.startswith(
        f"{REG}/app:* allows nothing while a lock file is in force"
    )


def test_a_tag_of_an_earlier_run_is_known_after_a_restart(bench):

    async def scenario(client):
        resolver = Resolver(client, clock=bench.clock)
        known = Target(Repository(REG, "app"), "1.2"), Remembered(bytes.fromhex(EVIL[7:]), 1.0, 1.0)
        resolver.remember(lambda: [known])
        image_list = ImageList([parse_entry(f"{REG}/app:1.*")], resolver, Holdings(resolver))
        image_list.start()
        answer = image_list.judge_now(local(EVIL))
        await image_list.close()
        return answer

    assert bench.run(scenario).allowed
