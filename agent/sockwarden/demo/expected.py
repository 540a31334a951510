"""What Docker Desktop's documentation shows, byte for byte: the oracle of the demonstration and of the tests.

Owns the documented policy file and messages ("ECI advanced options", the page of Docker Desktop 4.34 to
4.36). It must never import the code that makes these messages: two copies are what makes it a check.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

ADMIN_SETTINGS: Final = """\
{
  "configurationFileVersion": 2,
  "enhancedContainerIsolation": {
    "locked": true,
    "value": true,
    "dockerSocketMount": {
      "imageList": {
        "images": [
          "docker.io/localstack/localstack:*",
          "docker.io/testcontainers/ryuk:*",
          "docker:cli"
        ],
        "allowDerivedImages": true
      },
      "commandList": {
        "type": "deny",
        "commands": ["push"]
      }
    }
  }
}
"""
"""The page's own example."""

MOUNT_DENIED: Final = (
    'enhanced container isolation: docker socket mount denied for container with image "docker.io/library/docker"; '
    "image is not in the allowed list; if you wish to allow it, configure the docker socket image list in the "
    "Docker Desktop settings."
)

PUSH_BLOCKED: Final = (
    'enhanced container isolation: docker command "/v1.43/images/myimage/push?tag=latest" is blocked; if you wish to '
    "allow it, configure the docker socket command list in the Docker Desktop settings or admin-settings."
)

DAEMON: Final = "Error response from daemon: "
"""What the docker CLI itself puts before a message of the engine."""

RUN_DENIED_LINE: Final = f"docker: {DAEMON}{MOUNT_DENIED}"
PUSH_BLOCKED_LINE: Final = f"{DAEMON}{PUSH_BLOCKED}"

CURL_COMMAND: Final = (
    "curl --unix-socket /var/run/docker.sock -XPOST http://localhost/v1.43/images/myimage/push?tag=latest"
)

_VERSION: Final = re.compile(r'"/v1\.[0-9]+/')
_SPELT_IN_FULL: Final = "/images/docker.io/library/myimage/push?"


def as_documented(text: str) -> str:
    """Undo the two differences that the CLI of this machine may make: a refusal shows the path as it was sent.

    The API version is the one that CLI and engine agree on, and CLIs from 28 on spell the repository in full.
    """
    return _VERSION.sub('"/v1.43/', text).replace(_SPELT_IN_FULL, "/images/myimage/push?")


def policy(*, without: str = "") -> dict[str, Any]:
    """Return the page's policy as a document, without one entry of its image list if wanted."""
    document: dict[str, Any] = json.loads(ADMIN_SETTINGS)
    images = document["enhancedContainerIsolation"]["dockerSocketMount"]["imageList"]["images"]
    if without:
        images.remove(without)
    return document
