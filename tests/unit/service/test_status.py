"""What a status makes of the engine's own words."""

from __future__ import annotations

from typing import Any

import pytest

from sockwarden.service.status import ports_of

OPEN = (
    "WARNING: API is accessible on http://127.0.0.1:2375 without encryption.\n         Access to the remote API is "
    "equivalent to root access on the host."
)
UNVERIFIED = "[DEPRECATION NOTICE]: API is accessible on https://[::]:2376 without TLS client verification."


@pytest.mark.parametrize(
    ("info", "addresses"),
    [
        ({}, []),
        ({"Warnings": None}, []),
        ({"Warnings": "API is accessible on http://x without"}, []),
        ({"Warnings": ["WARNING: No swap limit support", 1]}, []),
        ({"Warnings": [OPEN, UNVERIFIED]}, ["http://127.0.0.1:2375", "https://[::]:2376"]),
    ],
)
def test_the_engine_says_itself_where_its_api_is_open(info: dict[str, Any], addresses: list[str]) -> None:
    assert ports_of(info) == addresses
