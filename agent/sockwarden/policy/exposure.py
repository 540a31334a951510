"""What follows from mounts that show a guarded socket: the rule behind the first point of refusal.

A mount of the public socket is for images of the image list. A mount that shows the engine's own socket would
walk round the gateway: nobody gets the socket itself, and its directory only where the kernel walls it off.

Never: I/O; what a source shows is judged in ``policy.mounts``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockwarden.dockerapi import texts
from sockwarden.model import ImageAnswer, Rule, Verdict, allow, deny
from sockwarden.policy.decide import Generation, deny_image, shown_image
from sockwarden.policy.mounts import Exposure, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

_HARMLESS = allow(Rule.DEFAULT)


def needs_image(findings: Sequence[Finding]) -> bool:
    """Whether the verdict depends on the container's image."""
    return any(finding.exposure is Exposure.PUBLIC or finding.exact for finding in findings)


def decide_mounts(
    generation: Generation, findings: Sequence[Finding], image_text: str, answer: ImageAnswer | None
) -> Verdict:
    """Judge the mounts of one container.

    Args:
        generation: the policy in force.
        findings: what each of its mounts shows.
        image_text: the image as the client wrote it, for the message.
        answer: the image list's answer, where :func:`needs_image` says that it matters; None when the image is not
            in the engine's store, so that the engine will refuse by itself.
    """
    exposed = [finding for finding in findings if finding.exposure is not Exposure.NONE]
    if answer is not None and not answer.allowed and needs_image(exposed):
        return deny_image(image_text, answer)
    for finding in exposed:
        if finding.exposure is Exposure.PUBLIC or (_walled(generation, finding)):
            continue
        return deny(
            Rule.ENGINE_MOUNT,
            texts.engine_mount_denied(finding.source.text, shown_image(image_text, answer.digest if answer else "")),
            f"mount a narrower path, or the docker socket itself ({finding.reason})",
        )
    return allow(Rule.SOCKET_MOUNT, answer) if exposed else _HARMLESS


def _walled(generation: Generation, finding: Finding) -> bool:
    """Whether the kernel keeps containers from the engine's socket even where they can see its directory."""
    return generation.walled and finding.exposure is Exposure.ENGINE and not finding.exact
