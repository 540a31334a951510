"""Every trick by which one image could pass for another, on real engines with a real registry.

The tricks bear the numbers of the notes in which they were first measured on bare engines. Each has an answer with
derived images forbidden and allowed, for graph drivers, where the id of an image is the digest of its config, and for
containerd's store, where it is the digest of a manifest or index, and where every name has a digest, so that no image
that has a name counts as local.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.integration import other_engine
from tests.integration.conftest import Docker, Gateway
from tests.integration.image_stage import BASE, REFUSAL, Scene, Stage, sha

from sockwarden.demo import expected
from sockwarden.demo.engine import CONTAINERD_STORE, ThrowAwayEngine
from sockwarden.demo.warden import ThrowAwayWarden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sockwarden.demo.registry import ThrowAwayRegistry

pytestmark = pytest.mark.docker

ALLOWED: Final = "allowed"
REFUSED: Final = "refused"
ABSENT: Final = "absent"

ENGINES: Final = ("installed", "26.1-containerd", "26.1")
APART: Final = ENGINES[:2]
"""Engines that may have answers of their own: 26.1 with graph drivers was seen to have those of the installed one."""

CORE: Final = re.compile(r"(0|1|2|4|10|10b|14|15) .*|.*\b(digest|index)\b.*")
"""What is played on 26.1 with graph drivers, too."""


def play(cases: Iterable[Trick | Entry], *, core: bool) -> pytest.MarkDecorator:
    """Return the mark that plays the core cases, or the others."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, id=case.sentence.replace(" ", "-"))
            for case in cases
            if (CORE.fullmatch(case.sentence) is not None) is core
        ],
    )


apart = pytest.mark.parametrize("stage", APART, indirect=True, scope="module")


def _other_stage(folder: Path, registry: ThrowAwayRegistry, *, containerd: bool) -> Iterator[Stage]:
    programs = other_engine.programs()
    features = {CONTAINERD_STORE: True} if containerd else None
    engine = ThrowAwayEngine(folder, mirror=registry.url, programs=programs, features=features)
    warden = ThrowAwayWarden(
        folder / "w", engine_socket=engine.socket, listen=folder / "w" / "docker.sock", takeover="none"
    )
    warden.configure(expected.policy(), registry={"mirrors": {"docker.io": registry.url}})
    try:
        engine.start()
        warden.start()
        gateway = Gateway(warden, Docker(warden.listen, folder / "home"))
        stage = Stage(engine, registry, Docker(engine.socket, folder / "direct"), gateway, containerd=containerd)
        stage.set_up(folder)
        yield stage
    finally:
        warden.stop()
        engine.stop()


@pytest.fixture(scope="module", params=ENGINES)
def stage(request: pytest.FixtureRequest, registry: ThrowAwayRegistry) -> Iterator[Stage]:
    """One engine after the other, each with a sockwarden in front."""
    if request.param == "installed":
        engine = request.getfixturevalue("engine")
        workshop = request.getfixturevalue("workshop")
        gateway = request.getfixturevalue("new_gateway")()
        stage = Stage(engine, registry, Docker(engine.socket, workshop / "identity-home"), gateway)
        stage.set_up(workshop)
        yield stage
        gateway.stop()
        return
    with tempfile.TemporaryDirectory(prefix="sw26-", ignore_cleanup_errors=True) as folder:
        yield from _other_stage(Path(folder), registry, containerd=request.param.endswith("containerd"))


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return stage.scene()


# -- tricks: each returns the reference that a container is asked for


def baseline(scene: Scene) -> str:
    return scene.good


def evil_itself(scene: Scene) -> str:
    return scene.evil


def retag(scene: Scene) -> str:
    return scene.tag(scene.evil, scene.good)


def retag_and_put_back(scene: Scene) -> str:
    keep = scene.keep_good()
    scene.tag(scene.evil, scene.good)
    return scene.tag(keep, scene.good)


def load_with_forged_tag(scene: Scene) -> str:
    assert "Loaded image" in scene.load(scene.parts(scene.evil).tar(scene.good))
    return scene.good


def load_good_config_with_evil_layer(scene: Scene) -> str:
    parts, evil = scene.parts(scene.good), scene.parts(scene.evil)
    parts.layers[-1] = evil.layers[-1]
    scene.load(parts.tar(scene.own("forged")))
    return scene.own("forged")


def load_good_config_with_evil_layer_without_good(scene: Scene) -> str:
    parts, evil = scene.parts(scene.good), scene.parts(scene.evil)
    parts.layers[-1] = evil.layers[-1]
    scene.docker.right("rmi", "-f", scene.good_id)
    scene.load(parts.tar(scene.own("forged")))
    return scene.own("forged")


def load_config_under_the_name_of_another(scene: Scene) -> str:
    parts = scene.parts(scene.good)
    config = json.loads(parts.config)
    config["config"]["Cmd"] = ["evil"]
    parts.config = json.dumps(config).encode()
    assert "Loaded image" in scene.load(
        parts.tar(scene.own("forged"), f"{sha(scene.parts(scene.good).config)[7:]}.json")
    )
    return scene.own("forged")


def load_a_listed_manifest_as_config(scene: Scene) -> str:
    parts = scene.parts(scene.evil)
    parts.config = scene.manifest(scene.good_digest)
    assert sha(parts.config) == scene.good_digest  # as a config it would give a graph driver's image a listed id
    scene.load(parts.tar(scene.own("confused")))
    return scene.own("confused")


def import_under_good_name(scene: Scene) -> str:
    container = scene.docker.right("create", "--network", "none", scene.evil, "true").strip()
    rootfs = scene.stage.engine.docker("export", container).stdout
    scene.docker.right("rm", container)
    scene.docker.right("import", "-", scene.good, stdin=rootfs)
    return scene.good


def commit_under_good_name(scene: Scene) -> str:
    container = scene.docker.right("create", "--network", "none", scene.good, "sh", "-c", "echo evil >/marker").strip()
    scene.docker.right("start", "-a", container)
    scene.docker.right("commit", container, scene.good)
    scene.docker.right("rm", container)
    return scene.good


def commit_with_another_command(scene: Scene) -> str:
    container = scene.docker.right("create", "--network", "none", scene.good, "true").strip()
    scene.docker.right("commit", "--change", 'CMD ["evil"]', container, scene.own("command"))
    scene.docker.right("rm", container)
    return scene.own("command")


def pull_from_another_repository(scene: Scene) -> str:
    mirror = scene.tag(scene.good, f"{scene.stage.registry}/{scene.name}/mirror:1")
    scene.docker.right("push", "-q", mirror)
    scene.docker.right("rmi", "-f", scene.good_id)
    pulled = f"{mirror.rpartition(':')[0]}@{scene.good_digest}"
    scene.docker.right("pull", "-q", pulled)
    return pulled


def pull_evil_digest_by_good_name(scene: Scene) -> str:
    forged = f"{scene.repository}@{scene.evil_digest}"
    done = scene.docker("pull", "-q", forged)
    assert done.returncode != 0, done.stdout
    return forged


def push_evil_into_good_repository(scene: Scene) -> str:
    forged = scene.tag(scene.evil, f"{scene.repository}:evil")
    scene.docker.right("push", "-q", forged)
    return f"{scene.repository}@{scene.evil_digest}"


def recompress(scene: Scene) -> str:
    scene.put_recompressed(scene.good, "recompressed")
    scene.docker.right("pull", "-q", f"{scene.repository}:recompressed")
    return f"{scene.repository}:recompressed"


def rebuild(scene: Scene) -> str:
    text = f"FROM {scene.evil}\nCOPY file /marker\n"
    return scene.build(scene.own("rebuilt"), text, file=scene.good)


def derive(scene: Scene) -> str:
    return scene.build(scene.own("derived"), f"FROM {scene.good}\nCOPY file /file\n")


def derive_without_a_name(scene: Scene) -> str:
    return scene.build("", f"FROM {scene.good}\nCOPY file /file\n", file=scene.good)


def derive_metadata_only(scene: Scene) -> str:
    return scene.build(scene.own("metadata"), f'FROM {scene.good}\nENTRYPOINT ["evil"]\nUSER 1\n')


def stack_layers_by_load(scene: Scene) -> str:
    parts, evil = scene.parts(scene.good), scene.parts(scene.evil)
    config = json.loads(parts.config)
    config["rootfs"]["diff_ids"].append(sha(evil.layers[-1]))
    config["history"].append({"created_by": "evil"})
    parts.config = json.dumps(config).encode()
    parts.layers.append(evil.layers[-1])
    assert "Loaded image" in scene.load(parts.tar(scene.own("stacked")))
    return scene.own("stacked")


def copy_from_good(scene: Scene) -> str:
    text = f"FROM {scene.good} AS it\nFROM {scene.evil}\nCOPY --from=it /marker /copy\n"
    return scene.build(scene.own("copied"), text)


def copy_evil_over_good(scene: Scene) -> str:
    text = f"FROM {scene.evil} AS it\nFROM {scene.good}\nCOPY --from=it /marker /marker\n"
    return scene.build(scene.own("over"), text)


def flatten(scene: Scene) -> str:
    container = scene.docker.right("create", "--network", "none", scene.good, "true").strip()
    rootfs = scene.stage.engine.docker("export", container).stdout
    scene.docker.right("rm", container)
    scene.docker.right("import", "-", scene.own("flat"), stdin=rootfs)
    return scene.own("flat")


def move_tag_in_registry(scene: Scene) -> str:
    scene.keep_good()
    scene.tag(scene.evil, scene.good)
    scene.docker.right("push", "-q", scene.good)
    return scene.good


def old_image_of_moved_tag(scene: Scene) -> str:
    move_tag_in_registry(scene)
    return scene.own("keep")


def by_id(scene: Scene) -> str:
    return scene.good_id


def by_hex(scene: Scene) -> str:
    return scene.good_id[7:]


def by_short_id(scene: Scene) -> str:
    return scene.good_id[7:19]


def evil_by_short_id(scene: Scene) -> str:
    return scene.evil_id[7:19]


def by_another_name(scene: Scene) -> str:
    return scene.keep_good()


def by_digest(scene: Scene) -> str:
    return f"{scene.repository}@{scene.good_digest}"


def by_digest_with_a_tag_that_is_not_there(scene: Scene) -> str:
    return f"{scene.repository}:nosuch@{scene.good_digest}"


def evil_name_with_good_digest(scene: Scene) -> str:
    return f"{scene.evil}@{scene.good_digest}"


def forge_a_digest_by_load(scene: Scene) -> str:
    forged = f"{scene.good}@{scene.good_digest}"
    scene.load(scene.parts(scene.evil).tar(forged))
    return forged


def forge_a_digest_by_load_without_good(scene: Scene) -> str:
    scene.docker.right("rmi", "-f", scene.good_id)
    return forge_a_digest_by_load(scene)


def evil_named_like_the_id_of_good(scene: Scene) -> str:
    return scene.tag(scene.evil, scene.good_id[7:19]).partition(":")[0]


def id_of_good_with_evil_named_like_it(scene: Scene) -> str:
    scene.tag(scene.evil, scene.good_id[7:19])
    return f"sha256:{scene.good_id[7:19]}"


@dataclass(frozen=True)
class Trick:
    """``plain`` and ``derived``: the answer without and with allowDerivedImages; ``store``: both, for containerd's."""

    sentence: str
    play: Callable[[Scene], str]
    plain: str
    derived: str = ""
    store: tuple[str, str] | None = None

    def answers(self, *, containerd: bool) -> tuple[str, str]:
        return self.store if containerd and self.store else (self.plain, self.derived or self.plain)


NOWHERE: Final = (REFUSED, REFUSED)

TRICKS: Final = (
    Trick("0 the listed image is allowed", baseline, ALLOWED),
    Trick("0 another image on the same base is refused", evil_itself, REFUSED),
    Trick("1 the listed tag does not help another image", retag, REFUSED),
    Trick("1 the listed image is allowed again when its tag is put back", retag_and_put_back, ALLOWED),
    Trick("2 the listed tag in a loaded archive does not help", load_with_forged_tag, REFUSED),
    Trick(
        "2b over a layer that the engine has nothing is read", load_good_config_with_evil_layer, ALLOWED, "", NOWHERE
    ),
    Trick(
        "2b another layer under the listed config", load_good_config_with_evil_layer_without_good, ABSENT, "", NOWHERE
    ),
    Trick("2c the file name of a config does not help", load_config_under_the_name_of_another, REFUSED),
    Trick("2c a listed manifest is no config", load_a_listed_manifest_as_config, ABSENT, "", NOWHERE),
    Trick("3 an imported file tree under the listed name is refused", import_under_good_name, REFUSED),
    Trick("4 a commit is a derived image, whatever its name", commit_under_good_name, REFUSED, ALLOWED, NOWHERE),
    Trick("5 a commit of another command on the same layers is refused", commit_with_another_command, REFUSED),
    Trick("6 the listed image is allowed from another repository", pull_from_another_repository, ALLOWED),
    Trick("7 a digest of another repository cannot be pulled", pull_evil_digest_by_good_name, ABSENT),
    Trick("7b a push into the listed repository does not help", push_evil_into_good_repository, REFUSED),
    Trick("8 the listed image compressed otherwise is allowed by its config", recompress, ALLOWED, "", NOWHERE),
    Trick("9 an image rebuilt with the same files is refused", rebuild, REFUSED),
    Trick("10 a derived image is allowed where the policy says so", derive, REFUSED, ALLOWED, NOWHERE),
    Trick("10 a derived image without a name is one on every store", derive_without_a_name, REFUSED, ALLOWED),
    Trick("10b a child with the same layers and another config is refused", derive_metadata_only, REFUSED),
    Trick("10c stacked layers are a derived image", stack_layers_by_load, REFUSED, ALLOWED, NOWHERE),
    Trick("11 a file copied from the listed image does not help", copy_from_good, REFUSED),
    Trick("11b a file copied over the listed image is derived", copy_evil_over_good, REFUSED, ALLOWED, NOWHERE),
    Trick("12 a flattened image is refused", flatten, REFUSED),
    Trick("14 where the registry moved the tag its new image is allowed", move_tag_in_registry, ALLOWED),
    Trick("14 where the registry moved the tag its old image is refused", old_image_of_moved_tag, REFUSED),
    Trick("15 the listed image is allowed by its id", by_id, ALLOWED),
    Trick("15 the listed image is allowed by its id without algorithm", by_hex, ALLOWED),
    Trick("15 the listed image is allowed by its short id", by_short_id, ALLOWED),
    Trick("15 another image is refused by its short id", evil_by_short_id, REFUSED),
    Trick("15 the listed image is allowed by another name", by_another_name, ALLOWED),
    Trick("15 the listed image is allowed by its digest", by_digest, ALLOWED),
    Trick("15 beside a digest a tag means nothing", by_digest_with_a_tag_that_is_not_there, ALLOWED),
    Trick("15 a digest beside the name of another is no image", evil_name_with_good_digest, ABSENT),
    Trick("16 a forged digest in a loaded archive means nothing", forge_a_digest_by_load, ALLOWED),
    Trick("16b a forged digest names no image", forge_a_digest_by_load_without_good, ABSENT),
    Trick("17 a tag that looks like the listed id does not help", evil_named_like_the_id_of_good, REFUSED),
    Trick("17 an id with its algorithm is no tag", id_of_good_with_evil_named_like_it, ALLOWED),
)


def check_trick(scene: Scene, trick: Trick) -> None:
    reference = trick.play(scene)
    answers = []
    for derived in (False, True):
        scene.list_images(derived=derived)
        answers.append(scene.judge(reference))
    assert tuple(answers) == trick.answers(containerd=scene.stage.containerd)


@play(TRICKS, core=True)
def test_only_the_content_of_an_image_decides(scene: Scene, case: Trick) -> None:
    check_trick(scene, case)


@apart
@play(TRICKS, core=False)
def test_no_trick_passes_for_content(scene: Scene, case: Trick) -> None:
    check_trick(scene, case)


# -- entries: each returns what is listed and what a container is asked for


def its_digest(scene: Scene) -> tuple[str, str]:
    return f"{scene.repository}@{scene.good_digest}", scene.good


def its_digest_and_evil_in_its_place(scene: Scene) -> tuple[str, str]:
    return f"{scene.repository}@{scene.good_digest}", retag(scene)


def any_tag(scene: Scene) -> tuple[str, str]:
    return f"{scene.repository}:*", scene.good


def any_tag_and_evil_in_its_place(scene: Scene) -> tuple[str, str]:
    return f"{scene.repository}:*", retag(scene)


def any_tag_and_evil_pushed_there(scene: Scene) -> tuple[str, str]:
    return f"{scene.repository}:*", push_evil_into_good_repository(scene)


def glob_and_evil_in_its_place(scene: Scene) -> tuple[str, str]:
    return f"{scene.stage.registry}/{scene.name}/g*:*", retag(scene)


def digest_of_another_repository(scene: Scene) -> tuple[str, str]:
    return f"{scene.repository}@{scene.evil_digest}", scene.evil


def index_by_tag(scene: Scene) -> tuple[str, str]:
    scene.put_index("index")
    scene.docker.right("rmi", "-f", scene.good_id)
    scene.docker.right("pull", "-q", f"{scene.repository}:index")
    return f"{scene.repository}:index", f"{scene.repository}:index"


def index_by_digest(scene: Scene) -> tuple[str, str]:
    _, reference = index_by_tag(scene)
    return f"{scene.repository}@{scene.put_index('index')}", reference


def platform_of_an_index_by_digest(scene: Scene) -> tuple[str, str]:
    _, reference = index_by_tag(scene)
    return f"{scene.repository}@{scene.good_digest}", reference


def index_for_what_was_pulled_by_platform(scene: Scene) -> tuple[str, str]:
    scene.put_index("index")
    return f"{scene.repository}:index", scene.good


@dataclass(frozen=True)
class Entry:
    """``store``: the answer on containerd's store, where it is another one."""

    sentence: str
    play: Callable[[Scene], tuple[str, str]]
    answer: str
    store: str = ""


ENTRIES: Final = (
    Entry("a digest allows its image", its_digest, ALLOWED),
    Entry("a digest does not allow another image under its name", its_digest_and_evil_in_its_place, REFUSED),
    Entry("any tag allows what the repository holds", any_tag, ALLOWED),
    Entry("any tag does not allow a name that nobody pushed", any_tag_and_evil_in_its_place, REFUSED),
    Entry("7b any tag trusts whoever may push there", any_tag_and_evil_pushed_there, ALLOWED),
    Entry("a glob does not allow a name that nobody pushed", glob_and_evil_in_its_place, REFUSED),
    Entry("a digest allows nothing of another repository", digest_of_another_repository, REFUSED),
    Entry("the tag of an index allows what was pulled by it", index_by_tag, ALLOWED),
    Entry("the digest of an index allows what was pulled by it", index_by_digest, ALLOWED),
    Entry("one platform is not the index that was pulled", platform_of_an_index_by_digest, ALLOWED, REFUSED),
    Entry("an index allows its platform pulled alone", index_for_what_was_pulled_by_platform, ALLOWED),
)


def check_entry(scene: Scene, entry: Entry) -> None:
    listed, reference = entry.play(scene)
    scene.list_images(listed)
    assert scene.judge(reference) == (entry.store if scene.stage.containerd and entry.store else entry.answer)


@play(ENTRIES, core=True)
def test_an_entry_stands_for_what_its_registry_holds(scene: Scene, case: Entry) -> None:
    check_entry(scene, case)


@apart
@play(ENTRIES, core=False)
def test_a_pattern_stands_for_what_repositories_hold(scene: Scene, case: Entry) -> None:
    check_entry(scene, case)


# -- containers


def test_13_a_container_is_known_by_its_image_when_that_is_removed(scene: Scene) -> None:
    scene.list_images()
    words = ("-d", "--pull", "never", "--network", "none", "-v", scene.mount, scene.good, "sleep", "600")
    container = scene.stage.gateway.docker.right("run", *words).strip()
    scene.docker.right("rmi", "-f", scene.good)
    done = scene.stage.gateway.docker("restart", "-t", "0", container)
    scene.docker.right("rm", "-f", container)
    assert done.returncode == 0, done.stderr


def test_13_a_name_given_to_a_listed_image_later_does_not_help_a_container(scene: Scene) -> None:
    scene.list_images()
    container = scene.docker.right("create", "--network", "none", "-v", scene.mount, scene.evil, "true").strip()
    scene.docker.right("rmi", "-f", scene.evil)
    scene.tag(scene.good, scene.evil)
    done = scene.stage.gateway.docker("start", container)
    scene.docker.right("rm", "-f", container)
    assert REFUSAL in done.stderr


def test_a_local_image_is_allowed_by_its_id_and_not_by_its_name(scene: Scene) -> None:
    local = scene.build(scene.own("local"), f"FROM {BASE}\nCOPY file /local\n", file=scene.name)
    scene.list_images(local=scene.id_of(local))
    answers = [scene.judge(scene.id_of(local)), scene.judge(local)]
    scene.tag(scene.evil, local)
    assert [*answers, scene.judge(local)] == [ALLOWED, ALLOWED, REFUSED]


def test_the_audit_says_which_digest_matched_which_entry(scene: Scene) -> None:
    scene.list_images()
    assert scene.judge(scene.good) == ALLOWED
    (last,) = [record for record in scene.stage.gateway.audit() if record.get("rule") == "socket-mount"][-1:]
    assert last["image"] == {"entry": scene.good, "digest": scene.good_id}


def test_the_metrics_tell_how_questions_to_its_registry_ended(scene: Scene, eventually: Callable[..., bool]) -> None:
    gateway = scene.stage.gateway
    before = gateway.metrics()
    scene.list_images(scene.good, f"{scene.repository}@{scene.evil_digest}")
    assert scene.judge(scene.good) == ALLOWED

    def grown() -> bool:
        now = gateway.metrics()
        ends = [f'sockwarden_registry_requests_total{{outcome="{word}"}}' for word in ("answered", "not-found")]
        return all(now[end] > before[end] for end in ends)

    eventually(grown)
