import json
from itertools import chain

import pytest

from sockwarden.dockerapi.reference import parse_entry
from sockwarden.errors import DocumentError
from sockwarden.images.answers import unpack
from sockwarden.images.endpoints import Repository
from sockwarden.images.lock import LAZY, Lock, check_policy, parse_lock, render_lock, target_of
from sockwarden.images.resolver import Parts, Target

INDEX, MANIFEST, CONFIG = (f"sha256:{letter * 64}" for letter in "abc")
PARTS = Parts.of(INDEX, frozenset({INDEX}), frozenset({MANIFEST}), frozenset({CONFIG}))
SINGLE = Parts.of(MANIFEST, frozenset(), frozenset({MANIFEST}), frozenset({CONFIG}))
LOCK = Lock(
    "0" * 64,
    "2026-11-22T14:00:00Z",
    {"docker:cli": PARTS, f"reg.example/app@{MANIFEST}": SINGLE},
    ("reg.example/any:*",),
)


def test_what_was_rendered_is_parsed():
    assert parse_lock(render_lock(LOCK).encode(), "f") == LOCK


def test_the_order_of_entries_makes_no_difference():
    other = Lock(LOCK.policy_sha256, LOCK.created, dict(reversed(LOCK.entries.items())), LOCK.lazy)
    assert render_lock(other) == render_lock(LOCK)


def test_an_entry_that_cannot_be_locked_says_so():
    assert json.loads(render_lock(LOCK))["entries"]["reg.example/any:*"] == {"locked": False, "reason": LAZY}


def test_answers_are_those_of_the_references_that_entries_stand_for():
    docker = Target(Repository("docker.io", "library/docker"), "cli")
    pinned = Target(Repository("reg.example", "app"), MANIFEST)
    answers = LOCK.answers()
    assert {target: unpack(raw) for target, raw in answers.items()} == {
        docker: [INDEX, MANIFEST, CONFIG],
        pinned: [MANIFEST, CONFIG],
    }


def test_an_index_that_lies_in_another_one_does_not_hide_which_one_is_meant():
    parts = Parts.of(MANIFEST, {INDEX, MANIFEST}, (), {CONFIG})
    assert (parts.root, unpack(parts.answer)[0]) == (MANIFEST, MANIFEST)
    assert parts.indexes == {INDEX, MANIFEST}


@pytest.mark.parametrize("text", ["*", "name:*", "reg.example/name:*"])
def test_a_pattern_is_no_target(text):
    assert target_of(parse_entry(text)) is None


def test_a_lock_of_another_policy_names_both_and_the_remedy():
    with pytest.raises(DocumentError) as caught:
        check_policy(LOCK, "a.lock.json", "1" * 64, "policy.json")
    (fault,) = caught.value.faults
    assert (fault.file, "0" * 64 in fault.message, "1" * 64 in fault.message) == ("a.lock.json", True, True)
    assert "sockwarden digests lock --policy policy.json --output a.lock.json" in fault.remedy


def test_a_lock_of_this_policy_counts():
    check_policy(LOCK, "f", "0" * 64, "policy.json")


def changed(**keys):
    document = json.loads(render_lock(LOCK))
    return json.dumps(document | keys)


def entry(**keys):
    return changed(entries={"docker:cli": json.loads(render_lock(LOCK))["entries"]["docker:cli"] | keys})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "digests-lock"),
        ("{}", "digests-lock"),
        ("[" * 100_000, "recursion"),
        (changed(version=2), "it is of version 2"),
        (changed(policy_sha256="x"), "policy_sha256"),
        (changed(created=1), "created or entries"),
        (changed(entries=[]), "created or entries"),
        (changed(entries={"docker": 1}), "holds no digests"),
        (changed(entries={"Docker": {}}), "lower case"),
        (entry(digest=None), "something else than digests"),
        (entry(digest=CONFIG), "none of its index and manifests"),
        (entry(configs=None), "something else than digests"),
        (entry(manifests=["sha256:short"]), "something else than digests"),
        (entry(index=[1]), "something else than digests"),
        (changed(entries={f"a@{CONFIG}": json.loads(entry())["entries"]["docker:cli"]}), "another one than the entry"),
        ('{"sockwarden": 1, "sockwarden": 2}', "a key stands twice"),
        ("\udcff", "codec"),
    ],
)
def test_what_is_no_lock_is_refused_with_a_reason(text, reason):
    with pytest.raises(DocumentError, match="no lock file that can be used") as caught:
        parse_lock(text.encode("utf-8", "surrogateescape"), "f")
    assert reason in str(caught.value)


def test_no_digest_is_listed_twice():
    listed = json.loads(render_lock(LOCK))["entries"]["docker:cli"]
    digests = list(chain(listed["index"], listed["manifests"], listed["configs"]))
    assert sorted(digests) == sorted({INDEX, MANIFEST, CONFIG})
