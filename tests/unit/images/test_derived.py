import pytest

from sockwarden.images.derived import chain_of, is_local_only, parent_chains
from sockwarden.model import LocalImage

BASE, APP, TOP = "sha256:base", "sha256:app", "sha256:top"


@pytest.mark.parametrize(
    ("child", "parent", "answer"),
    [
        ((BASE, APP, TOP), (BASE, APP), True),
        ((BASE, APP, TOP), (BASE,), True),
        ((BASE, APP), (BASE, APP), False),  # metadata only: another program on the same files
        ((BASE, TOP), (BASE, APP), False),  # a shared base is not the parent
        ((APP, BASE, TOP), (BASE, APP), False),
        ((BASE,), (BASE, APP), False),
        ((TOP,), (), False),
        ((), (), False),
    ],
)
def test_derived_means_the_whole_chain_as_a_proper_prefix(child, parent, answer):
    assert (chain_of(parent) in parent_chains(child)) is answer


def test_layers_in_another_order_are_another_chain():
    assert chain_of((BASE, APP)) != chain_of((APP, BASE))


def test_an_image_with_a_repository_digest_is_not_local():
    assert not is_local_only(LocalImage("sha256:x", repo_digests=("a@sha256:1",)))


def test_an_image_with_tags_alone_is_local():
    assert is_local_only(LocalImage("sha256:x", repo_tags=("a:1",)))
