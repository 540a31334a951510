"""Images that were built on an allowed one: each case of the documentation has its answer here."""

import asyncio
from typing import Any

import pytest
from tests.unit.images.locals import EVIL, REG, judged, local

from sockwarden.errors import EngineError
from sockwarden.model import ImageAnswer, LocalImage

BASE, APP, TOP, OTHER = ("sha256:" + digit * 64 for digit in "1234")
PARENT = f"{REG}/app:1"


class Store:
    """An engine's image store that counts what it is asked."""

    def __init__(self, *images: LocalImage) -> None:
        self.images = list(images)
        self.listed = 0
        self.inspected: list[str] = []
        self.fault: EngineError | None = None

    async def inspect_image(self, ref: str, /) -> LocalImage | None:
        self.inspected.append(ref)
        return next((image for image in self.images if image.id == ref), None)

    async def list_images(self) -> tuple[LocalImage, ...]:
        self.listed += 1
        if self.fault is not None:
            raise self.fault
        return tuple(LocalImage(image.id, image.repo_tags, image.repo_digests) for image in self.images)


@pytest.fixture
def config(world: Any) -> str:
    """Return the id of the allowed parent."""
    image_id: str = world.image(REG, "app", "1", "app")[1]
    return image_id


@pytest.fixture
def store(config: str) -> Store:
    return Store(local(config, PARENT, layers=(BASE, APP)), local(OTHER, "other:1", layers=(BASE,)))


def child(*layers: str, names: tuple[str, ...] = ("child:1",)) -> LocalImage:
    return local(EVIL, *names, layers=layers)


def test_an_image_built_on_an_allowed_one_is_allowed(bench, store, config):
    assert bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=store) == [
        ImageAnswer(allowed=True, entry=PARENT, digest=config, parent=config)
    ]


def test_a_loaded_image_that_stacks_a_layer_is_allowed_as_one_that_was_built(bench, store):
    # Only the layers tell, and whoever may load images may stack them: the documentation says so.
    assert bench.judge([PARENT], judged(child(BASE, APP, OTHER, names=())), store=store)[0].allowed


@pytest.mark.parametrize(
    ("layers", "case"),
    [
        ((BASE, APP), "the same layers with another configuration"),
        ((TOP,), "flattened"),
        ((BASE, OTHER, TOP), "COPY --from the allowed image, on another base"),
        ((BASE, TOP), "only the base layer is shared"),
        ((APP, BASE, TOP), "another order"),
        ((), "no layers"),
    ],
)
def test_what_does_not_begin_with_the_whole_chain_is_refused(bench, store, layers, case):
    assert not bench.judge([PARENT], judged(child(*layers)), store=store)[0].allowed, case


def test_without_a_store_it_is_refused(bench, config):
    assert not bench.judge([PARENT], judged(child(BASE, APP, TOP)))[0].allowed


def test_an_image_that_a_repository_has_is_refused(bench, store):
    pulled = child(BASE, APP, TOP, names=(f"{REG}/child@{EVIL}",))
    assert not bench.judge([PARENT], judged(pulled), store=store)[0].allowed


def test_a_parent_that_is_not_allowed_by_its_own_digest_counts_for_nothing(bench, world):
    world.image(REG, "app", "1", "app")
    forged = Store(local("sha256:" + "9" * 64, PARENT, layers=(BASE, APP)))
    (answer,) = bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=forged)
    assert not answer.allowed
    assert answer.reason.endswith("and it was built on no allowed image of the engine's store")


def test_a_parent_that_is_not_in_the_store_counts_for_nothing(bench, config):
    assert not bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=Store())[0].allowed


def test_a_parent_without_layers_counts_for_nothing(bench, config):
    empty = Store(local(config, PARENT))
    assert not bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=empty)[0].allowed


def test_a_parent_that_is_replaced_while_it_is_inspected_counts_for_nothing(bench, store, config):
    async def another(_: str) -> LocalImage:
        return local(OTHER, layers=(BASE, APP))

    store.inspect_image = another
    assert not bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=store)[0].allowed


@pytest.mark.parametrize("entry", [f"{REG}/app:*", f"{REG}/a*:*", f"{REG}/app:1*", f"{REG}/a*:1"])
def test_a_parent_may_be_allowed_by_a_pattern(bench, store, config, entry):
    (answer,) = bench.judge([entry], judged(child(BASE, APP, TOP)), store=store)
    assert answer == ImageAnswer(allowed=True, entry=entry, digest=config, parent=config)


def test_a_parent_may_be_a_local_image(bench, store, config):
    (answer,) = bench.judge([], judged(child(BASE, APP, TOP)), store=store, local_ids=[config])
    assert answer == ImageAnswer(allowed=True, entry=config, digest=config, parent=config)


def test_a_parent_that_a_registry_does_not_confirm_counts_for_nothing(bench, store, world):
    del world.stored[REG, "app", "1"]
    assert not bench.judge([f"{REG}/app:*"], judged(child(BASE, APP, TOP)), store=store)[0].allowed


def test_a_child_that_is_started_again_costs_the_engine_nothing(bench, store):
    async def scenario(image_list):
        answers = [(await image_list.judge(child(BASE, APP, TOP))).allowed for _ in range(100)]
        return all(answers), image_list.judge_now(LocalImage(EVIL)).allowed

    assert bench.judge([PARENT], scenario, store=store) == (True, True)
    assert (store.listed, len(store.inspected)) == (1, 1)


def test_each_image_of_the_store_is_inspected_once(bench, store, config):
    async def scenario(image_list):
        for digit in "abcdef":
            assert (await image_list.judge(local("sha256:" + digit * 64, layers=(BASE, APP, TOP)))).allowed
            bench.clock.now += 1

    bench.judge([PARENT], scenario, store=store)
    assert (store.listed, store.inspected) == (6, [config])


def test_children_that_start_at_once_share_a_listing(bench, store):
    many = [local("sha256:" + f"{number:064x}", layers=(BASE, APP, TOP)) for number in range(100)]

    async def scenario(image_list):
        return all(answer.allowed for answer in await asyncio.gather(*map(image_list.judge, many)))

    assert bench.judge([PARENT], scenario, store=store)
    assert (store.listed, len(store.inspected)) == (1, 1)


def test_a_parent_must_still_be_in_the_store_after_a_minute(bench, store):
    async def scenario(image_list):
        first = await image_list.judge(child(BASE, APP, TOP))
        store.images.clear()
        bench.clock.now += 60
        return first.allowed, (await image_list.judge(child(BASE, APP, TOP))).allowed

    assert bench.judge([PARENT], scenario, store=store) == (True, False)


def test_a_parent_that_is_allowed_no_more_takes_its_children_with_it(bench, store, world):
    async def scenario(image_list):
        first = await image_list.judge(child(BASE, APP, TOP))
        world.image(REG, "app", "1", "another")
        await image_list.refresh_all()
        return first.allowed, (await image_list.judge(child(BASE, APP, TOP))).allowed

    assert bench.judge([PARENT], scenario, store=store) == (True, False)


def test_a_child_that_was_pushed_meanwhile_is_not_remembered_as_local(bench, store):
    async def scenario(image_list):
        await image_list.judge(child(BASE, APP, TOP))
        return await image_list.judge(child(BASE, APP, TOP, names=(f"{REG}/child@{EVIL}",)))

    assert not bench.judge([PARENT], scenario, store=store).allowed


def test_more_images_than_one_question_may_inspect_are_learnt_by_the_next(bench, store, config, monkeypatch):
    monkeypatch.setattr("sockwarden.images.ancestry.MAX_INSPECTS", 1)
    store.images.insert(0, local(OTHER, f"{REG}/app:old", layers=(OTHER,)))

    async def scenario(image_list):
        return [(await image_list.judge(child(BASE, APP, TOP))).allowed for _ in range(2)]

    assert bench.judge([PARENT], scenario, store=store) == [False, True]


def test_what_is_remembered_of_images_is_bounded(bench, store, config, monkeypatch):
    monkeypatch.setattr("sockwarden.images.ancestry.MAX_CHILDREN", 1)
    first, second = (local("sha256:" + digit * 64, layers=(BASE, APP, TOP)) for digit in "ab")

    async def scenario(image_list):
        await image_list.judge(first)
        await image_list.judge(second)
        return [bool(image_list._ancestry.known(image.id)) for image in (first, second)]

    assert bench.judge([PARENT], scenario, store=store) == [False, True]


def test_an_engine_that_cannot_be_asked_is_a_refusal_with_its_reason(bench, store):
    store.fault = EngineError("the engine is gone")
    (answer,) = bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=store)
    assert answer.reason == "the engine cannot say what the image was built on: the engine is gone"


def test_an_engine_that_fails_at_an_inspect_is_a_refusal_with_its_reason(bench, store):
    async def down(_: str) -> LocalImage | None:
        raise EngineError("the engine is gone")

    store.inspect_image = down
    (answer,) = bench.judge([PARENT], judged(child(BASE, APP, TOP)), store=store)
    assert answer.reason == "the engine cannot say what the image was built on: the engine is gone"
