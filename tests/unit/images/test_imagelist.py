import asyncio

import httpx
import pytest
from tests.unit.images.locals import EVIL, REG, judged, local

from sockwarden.dockerapi.reference import parse_entry
from sockwarden.images.imagelist import ImageList
from sockwarden.model import ImageAnswer

# ---- which entry allows what


def test_everything_is_allowed_without_asking_anyone(bench, world):
    assert bench.judge(["*"], judged(local(EVIL))) == [ImageAnswer(allowed=True, entry="*", digest=EVIL)]
    assert world.seen == []


def test_everything_starts_no_refresh(bench, world):
    async def scenario(image_list):
        image_list.start()
        await asyncio.sleep(0)

    bench.judge(["*", f"{REG}/app:1"], scenario)
    assert world.seen == []


def test_an_empty_list_allows_nothing(bench):
    (answer,) = bench.judge([], judged(local(EVIL)))
    assert answer == ImageAnswer(allowed=False, reason="the image list is empty", digest=EVIL, local=True)


def test_a_tag_allows_its_config_digest(bench, world):
    _, config = world.image(REG, "app", "1", "app")
    (answer,) = bench.judge([f"{REG}/app:1"], judged(local(config)))
    assert answer == ImageAnswer(allowed=True, entry=f"{REG}/app:1", digest=config)


def test_no_tag_means_latest(bench, world):
    _, config = world.image(REG, "app", "latest", "app")
    assert bench.judge([f"{REG}/app"], judged(local(config)))[0].allowed


def test_a_tag_of_an_index_allows_every_id_that_a_store_may_use(bench, world):
    index, platforms = world.index(REG, "app", "1", "amd64", "arm64")
    ids = [index, *(digest for pair in platforms for digest in pair)]
    assert all(answer.allowed for answer in bench.judge([f"{REG}/app:1"], judged(*map(local, ids))))


def test_the_platform_manifest_that_runs_allows(bench, world):
    _, platforms = world.index(REG, "app", "1", "amd64")
    image = local(EVIL, manifest=platforms[0][0])
    assert bench.judge([f"{REG}/app:1"], judged(image))[0].allowed


def test_a_retagged_image_is_refused_whatever_it_is_called(bench, world):
    digest, _ = world.image(REG, "app", "1", "app")
    evil = local(EVIL, f"{REG}/app:1", f"{REG}/app@{digest}")
    (answer,) = bench.judge([f"{REG}/app:1"], judged(evil))
    assert not answer.allowed
    assert answer.reason.startswith(f"{REG}/app:1 is {digest} in its registry, and the local image is not")


def test_an_image_of_no_listed_name_is_refused_by_its_content(bench, world):
    world.image(REG, "app", "1", "app")
    (answer,) = bench.judge([f"{REG}/app:1"], judged(local(EVIL, "<none>:<none>")))
    assert answer.reason == f"no entry of the image list holds its content {EVIL}"


def test_one_reference_in_two_spellings_is_one_entry(bench):
    async def scenario(image_list):
        return [status.entry for status in image_list.status()]

    assert bench.judge(["app", "docker.io/library/app:latest", "app:2", "app:3"], scenario) == [
        "docker.io/library/app:latest",
        "docker.io/library/app:2",
        "docker.io/library/app:3",
    ]


def test_the_entry_of_that_very_name_is_the_first_to_be_named(bench, world):
    for tag in ("1", "2", "3"):
        world.image(REG, "app", tag, tag)
    (answer,) = bench.judge([f"{REG}/app:{tag}" for tag in "123"], judged(local(EVIL, f"{REG}/app:3")))
    assert answer.reason.startswith(f"{REG}/app:3 is ")


def test_a_digest_entry_allows_its_own_closure(bench, world):
    index, platforms = world.index(REG, "app", "1", "amd64", "arm64")
    entry = f"{REG}/app@{platforms[0][0]}"
    answers = bench.judge([entry], judged(*map(local, (*platforms[0], index, *platforms[1]))))
    assert [answer.allowed for answer in answers] == [True, True, False, False, False]


def test_a_digest_entry_that_its_repository_lacks_allows_nothing(bench, world):
    digest, config = world.image(REG, "other", "1", "app")
    (answer,) = bench.judge([f"{REG}/app@{digest}"], judged(local(config, f"{REG}/app@{digest}")))
    assert not answer.allowed
    assert f"{REG}/app@{digest} allows nothing: {REG} has no {REG}/app@{digest}" in answer.reason


def test_a_resolved_digest_entry_is_never_asked_again(bench, world):
    digest, _ = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        await image_list.judge(local(EVIL, f"{REG}/app:1"))
        world.seen.clear()
        bench.clock.now += 100_000
        await image_list.judge(local(EVIL, f"{REG}/app:1"))

    bench.judge([f"{REG}/app@{digest}"], scenario)
    assert world.seen == []


# ---- time


def test_an_allowed_image_needs_no_await_once_resolved(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        before = image_list.judge_now(local(config))
        await image_list.judge(local(config))
        return before, image_list.judge_now(local(config))

    assert bench.judge([f"{REG}/app:1"], scenario) == (
        None,
        ImageAnswer(allowed=True, entry=f"{REG}/app:1", digest=config),
    )


def test_a_fresh_refusal_needs_no_await(bench, world):
    world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        refusal = await image_list.judge(local(EVIL, f"{REG}/app:1"))
        return refusal, image_list.judge_now(local(EVIL, f"{REG}/app:1"))

    first, second = bench.judge([f"{REG}/app:1"], scenario)
    assert first == second


def test_an_old_answer_is_checked_again_before_a_refusal(bench, world):
    world.image(REG, "app", "1", "old")

    async def scenario(image_list):
        await image_list.refresh_all()
        _, new = world.image(REG, "app", "1", "new")
        bench.clock.now += 61
        return await image_list.judge(local(new, f"{REG}/app:1"))

    assert bench.judge([f"{REG}/app:1"], scenario).allowed


def test_a_young_answer_is_not_checked_again_for_a_tag_alone(bench, world):
    world.image(REG, "app", "1", "old")

    async def scenario(image_list):
        await image_list.refresh_all()
        world.seen.clear()
        bench.clock.now += 30
        return await image_list.judge(local(EVIL, f"{REG}/app:1"))

    assert not bench.judge([f"{REG}/app:1"], scenario).allowed
    assert world.seen == []


def test_a_digest_that_the_answer_lacks_shortens_the_wait(bench, world):
    world.image(REG, "app", "1", "old")

    async def scenario(image_list):
        await image_list.refresh_all()
        digest, new = world.image(REG, "app", "1", "new")
        bench.clock.now += 6
        return await image_list.judge(local(new, f"{REG}/app@{digest}"))

    assert bench.judge([f"{REG}/app:1"], scenario).allowed


def test_the_image_before_a_move_is_refused_after_it(bench, world):
    _, old = world.image(REG, "app", "1", "old")

    async def scenario(image_list):
        await image_list.refresh_all()
        world.image(REG, "app", "1", "new")
        await image_list.refresh_all()
        return await image_list.judge(local(old, f"{REG}/app:1"))

    assert "pull again" in bench.judge([f"{REG}/app:1"], scenario).reason


def test_the_last_good_answer_serves_while_the_registry_is_down(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        await image_list.refresh_all()
        world.down.add(REG)
        bench.clock.now += 7200
        await image_list.refresh_all()
        evil = await image_list.judge(local(EVIL, f"{REG}/app:1"))
        return await image_list.judge(local(config)), evil, image_list.status()[0]

    good, evil, status = bench.judge([f"{REG}/app:1"], scenario)
    assert good.allowed
    assert "by the last answer, which is old" in evil.reason
    assert (status.stale, status.digests, status.age_seconds) == (True, 2, 7200)
    assert status.last_error == f"{REG} cannot be reached: connection refused"


def test_a_tag_that_the_registry_itself_denies_allows_nothing_any_more(bench, world):
    digest, config = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        await image_list.refresh_all()
        del world.stored[REG, "app", "1"], world.stored[REG, "app", digest]
        await image_list.refresh_all()
        return await image_list.judge(local(config, f"{REG}/app:1"))

    assert "allows nothing" in bench.judge([f"{REG}/app:1"], scenario).reason


def test_a_registry_that_never_answered_is_named_with_a_remedy(bench, world):
    world.down.add(REG)
    (answer,) = bench.judge([f"{REG}/app:1"], judged(local(EVIL)))
    assert f"{REG}/app:1 is not resolved yet: {REG} cannot be reached: connection refused; check" in answer.reason


def test_a_registry_that_is_down_is_not_asked_at_every_start(bench, world):
    world.down.add(REG)
    bench.judge([f"{REG}/app:1"], judged(local(EVIL), local(EVIL), local(EVIL)))
    assert len(world.seen) == 1


def test_a_registry_that_comes_back_is_asked_after_a_moment(bench, world):
    _, config = world.image(REG, "app", "1", "app")
    world.down.add(REG)

    async def scenario(image_list):
        refused = await image_list.judge(local(config))
        world.down.clear()
        bench.clock.now += 15
        return refused, await image_list.judge(local(config))

    refused, allowed = bench.judge([f"{REG}/app:1"], scenario)
    assert (refused.allowed, allowed.allowed) == (False, True)


def test_a_start_waits_for_registries_within_a_bound(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.imagelist.ON_DEMAND_SECONDS", 0.01)
    world.gate = asyncio.Event()
    (answer,) = bench.judge([f"{REG}/app:1"], judged(local(EVIL)))
    assert "no answer within 0.01 seconds" in answer.reason


def test_the_background_refresh_resolves_what_is_new(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        image_list.start()
        image_list.start()
        while image_list.judge_now(local(config)) is None:  # noqa: ASYNC110 - the list has no event to wait for
            await asyncio.sleep(0)
        return image_list.judge_now(local(config))

    assert bench.judge([f"{REG}/app:1"], scenario).allowed


def test_what_only_another_generation_names_allows_nothing(bench, world):
    digest, config = world.image(REG, "app", "1", "app")
    named = local(config, f"{REG}/app@{digest}")

    async def scenario(image_list):
        other = ImageList([parse_entry(f"{REG}/other:*")], image_list._resolver, image_list._holdings)
        allowed = await image_list.judge(named)
        return allowed.allowed, (await other.judge(named)).allowed

    assert bench.judge([f"{REG}/app:1"], scenario) == (True, False)
    assert bench.judge([f"{REG}/app:*"], scenario) == (True, False)


def test_a_new_generation_keeps_the_answers_of_the_old_one(bench, world):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        await image_list.refresh_all()
        other = ImageList([parse_entry(f"{REG}/app:1")], image_list._resolver, image_list._holdings)
        return other.judge_now(local(config))

    assert bench.judge([f"{REG}/app:1"], scenario).allowed


# ---- name:*


def test_any_tag_allows_what_the_repository_holds(bench, world):
    digest, config = world.image(REG, "app", "1", "app")
    assert bench.judge([f"{REG}/app:*"], judged(local(config, f"{REG}/app@{digest}"))) == [
        ImageAnswer(allowed=True, entry=f"{REG}/app:*", digest=config)
    ]


def test_any_tag_allows_an_image_that_came_from_elsewhere(bench, world):
    digest, config = world.image(REG, "app", "1", "app")
    assert bench.judge([f"{REG}/app:*"], judged(local(config, f"mirror.example/x@{digest}")))[0].allowed


def test_any_tag_follows_the_tag_of_an_image_that_was_only_built_and_pushed(bench, world):
    _, config = world.image(REG, "app", "7", "app")
    assert bench.judge([f"{REG}/app:*"], judged(local(config, f"{REG}/app:7")))[0].allowed


def test_any_tag_allows_the_containerd_stores_id(bench, world):
    index, platforms = world.index(REG, "app", "1", "amd64")
    assert bench.judge([f"{REG}/app:*"], judged(local(index, manifest=platforms[0][0])))[0].allowed


def test_any_tag_refuses_forged_names(bench, world):
    digest, _ = world.image(REG, "app", "1", "app")
    (answer,) = bench.judge([f"{REG}/app:*"], judged(local(EVIL, f"{REG}/app:1", f"{REG}/app@{digest}")))
    assert answer == ImageAnswer(
        allowed=False,
        entry=f"{REG}/app:*",
        reason=f"no entry of the image list holds its content {EVIL}",
        digest=EVIL,
        local=False,
    )


def test_any_tag_refuses_a_digest_of_another_repository(bench, world):
    digest, config = world.image(REG, "other", "1", "app")
    assert not bench.judge([f"{REG}/app:*"], judged(local(config, f"{REG}/other@{digest}")))[0].allowed


def test_any_tag_asks_nobody_about_an_image_without_a_name(bench, world):
    bench.judge([f"{REG}/app:*"], judged(local(EVIL)))
    assert world.seen == []


def test_a_positive_answer_counts_for_ever(bench, world):
    digest, config = world.image(REG, "app", "1", "app")
    image = local(config, f"{REG}/app@{digest}")

    async def scenario(image_list):
        await image_list.judge(image)
        world.down.add(REG)
        bench.clock.now += 1e9
        return await image_list.judge(image)

    assert bench.judge([f"{REG}/app:*"], scenario).allowed


def test_a_negative_answer_counts_for_a_minute(bench, world):
    image = local(EVIL, f"{REG}/app:1")

    async def scenario(image_list):
        counts = []
        for now in (1000, 1059, 1061):
            bench.clock.now = now
            await image_list.judge(image)
            counts.append(sum(request.method == "HEAD" for request in world.seen))
        return counts

    assert bench.judge([f"{REG}/app:*"], scenario) == [1, 1, 2]


def test_a_repository_that_cannot_be_asked_is_named(bench, world):
    world.down.add(REG)
    (answer,) = bench.judge([f"{REG}/app:*"], judged(local(EVIL, f"{REG}/app:1")))
    assert f"{REG}/app could not be asked for the image: {REG} cannot be reached" in answer.reason


def test_a_repository_that_is_too_slow_is_named(bench, world, monkeypatch):
    monkeypatch.setattr("sockwarden.images.imagelist.ON_DEMAND_SECONDS", 0.01)
    world.gate = asyncio.Event()
    (answer,) = bench.judge([f"{REG}/app:*"], judged(local(EVIL, f"{REG}/app:1")))
    assert "no answer within" in answer.reason


def test_many_forged_names_cost_few_requests(bench, world):
    names = [f"{REG}/app:{number}" for number in range(200)]
    bench.judge([f"{REG}/app:*"], judged(local(EVIL, *names)))
    assert sum(request.method == "HEAD" for request in world.seen) == 16


# ---- the end


def test_an_agent_that_stops_refuses_who_still_waits(bench, world):
    world.gate = asyncio.Event()

    async def scenario(image_list):
        waiting = asyncio.create_task(image_list.judge(local(EVIL)))
        await world.arrived.wait()
        await image_list._resolver.close()
        return await waiting

    answer = bench.judge([f"{REG}/app:1"], scenario)
    assert (answer.allowed, answer.reason[-15:]) == (False, "the agent stops")


# ---- status


def test_status_names_every_entry(bench, world):
    world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        before = image_list.status()
        await image_list.refresh_all()
        return before, image_list.status()

    before, after = bench.judge([f"{REG}/app:1", f"{REG}/other:*", "*"], scenario)
    assert [(s.entry, s.digests, s.age_seconds) for s in before] == [
        (f"{REG}/app:1", 0, None),
        (f"{REG}/other:*", 0, None),
        ("*", 0, None),
    ]
    assert (after[0].digests, after[0].age_seconds, after[0].stale) == (2, 0, False)


def test_refresh_all_reports_each_entry_as_it_ends(bench, world):
    world.image(REG, "app", "1", "app")
    seen = []

    async def scenario(image_list):
        await image_list.refresh_all(lambda done, total, status: seen.append((done, total, status.digests)))

    bench.judge([f"{REG}/app:1", f"{REG}/app:2"], scenario)
    assert sorted(seen) in ([(1, 2, 0), (2, 2, 2)], [(1, 2, 2), (2, 2, 0)])


@pytest.mark.parametrize("status", [500, 403])
def test_an_answer_without_sense_keeps_the_last_good_one(bench, world, status):
    _, config = world.image(REG, "app", "1", "app")

    async def scenario(image_list):
        await image_list.refresh_all()
        world.rules.append(lambda _: httpx.Response(status))
        await image_list.refresh_all()
        return await image_list.judge(local(config))

    assert bench.judge([f"{REG}/app:1"], scenario).allowed
