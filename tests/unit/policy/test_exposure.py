"""What follows from a mount that shows a guarded socket."""

from __future__ import annotations

import json

import pytest

from sockwarden.dockerapi import texts
from sockwarden.dockerapi.bodies_mounts import MountKind, MountSource
from sockwarden.model import ImageAnswer, Mode, Rule
from sockwarden.policy.commandlist import CommandRules
from sockwarden.policy.decide import Generation
from sockwarden.policy.document import parse_policy
from sockwarden.policy.exposure import decide_mounts, needs_image
from sockwarden.policy.mounts import Exposure, Finding

SOURCE = MountSource(kind=MountKind.BIND, source="/run", text="/run:/r", place="HostConfig.Binds[0]")
HARMLESS = Finding(Exposure.NONE, SOURCE)
PUBLIC = Finding(Exposure.PUBLIC, SOURCE, "is the socket", exact=True)
PUBLIC_ABOVE = Finding(Exposure.PUBLIC, SOURCE, "shows the socket")
ENGINE = Finding(Exposure.ENGINE, SOURCE, "is the engine's", exact=True)
ENGINE_ABOVE = Finding(Exposure.ENGINE, SOURCE, "shows the engine's")
UNJUDGEABLE = Finding(Exposure.UNJUDGEABLE, SOURCE, "cannot be judged")
YES = ImageAnswer(allowed=True)
NO = ImageAnswer(allowed=False, reason="not listed")


def generation(*, walled: bool) -> Generation:
    settings = {"configurationFileVersion": 2, "enhancedContainerIsolation": {"locked": True, "value": True}}
    document = parse_policy(json.dumps(settings).encode(), "p.json")
    return Generation(1, document, CommandRules.compile("deny", ()), Mode.ENFORCE, enforce_host=False, walled=walled)


@pytest.mark.parametrize(
    ("findings", "needed"),
    [
        ([], False),
        ([HARMLESS], False),
        ([ENGINE_ABOVE], False),
        ([UNJUDGEABLE], False),
        ([HARMLESS, PUBLIC], True),
        ([PUBLIC_ABOVE], True),
        ([ENGINE], True),
    ],
)
def test_the_image_matters_where_a_socket_is_mounted(findings: list[Finding], needed: bool) -> None:
    assert needs_image(findings) is needed


@pytest.mark.parametrize("walled", [False, True])
@pytest.mark.parametrize(
    ("findings", "answer", "rule"),
    [
        ([], None, Rule.DEFAULT),
        ([HARMLESS], None, Rule.DEFAULT),
        ([PUBLIC], YES, Rule.SOCKET_MOUNT),
        ([PUBLIC], None, Rule.SOCKET_MOUNT),
    ],
)
def test_these_mounts_are_allowed(
    findings: list[Finding], answer: ImageAnswer | None, rule: Rule, walled: bool
) -> None:
    verdict = decide_mounts(generation(walled=walled), findings, "docker:cli", answer)
    assert (verdict.allowed, verdict.rule) == (True, rule)


@pytest.mark.parametrize("walled", [False, True])
@pytest.mark.parametrize("finding", [PUBLIC, PUBLIC_ABOVE, ENGINE])
def test_an_image_that_is_not_listed_gets_no_socket(finding: Finding, walled: bool) -> None:
    verdict = decide_mounts(generation(walled=walled), [HARMLESS, finding], "docker:cli", NO)
    assert (verdict.allowed, verdict.rule) == (False, Rule.IMAGE_LIST)
    assert verdict.message == texts.socket_mount_denied("docker.io/library/docker")


@pytest.mark.parametrize("walled", [False, True])
@pytest.mark.parametrize("finding", [ENGINE, UNJUDGEABLE])
def test_nobody_gets_the_engines_own_socket_or_what_cannot_be_judged(finding: Finding, walled: bool) -> None:
    verdict = decide_mounts(generation(walled=walled), [PUBLIC, finding], "docker:cli", YES)
    assert (verdict.allowed, verdict.rule) == (False, Rule.ENGINE_MOUNT)
    assert verdict.message == texts.engine_mount_denied("/run:/r", "docker.io/library/docker")
    assert finding.reason in verdict.remedy


@pytest.mark.parametrize(("walled", "rule"), [(False, Rule.ENGINE_MOUNT), (True, Rule.SOCKET_MOUNT)])
def test_the_engines_directory_is_shown_only_where_the_kernel_walls_it_off(walled: bool, rule: Rule) -> None:
    assert decide_mounts(generation(walled=walled), [ENGINE_ABOVE], "docker:cli", YES).rule is rule
