"""The cost of one decision, in this process: routes and the command list, and the body of a container's creation.

Each request is timed on its own, so that the worst one shows; routes that the engine lacks and refusals are among them.
"""

from __future__ import annotations

import statistics
import timeit
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import images
from bench.figures import Target
from bench.ways import DENIED_COMMANDS, HERE
from sockwarden.dockerapi import routes
from sockwarden.dockerapi.bodies import read_create
from sockwarden.dockerapi.target import parse_target
from sockwarden.policy.commandlist import CommandRules

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS: Final = 9
CALLS: Final = 2000
"""A timed run of this many calls takes milliseconds, so that the host's interruptions fall between most of them."""

ID: Final = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

REQUESTS: Final[tuple[tuple[str, bytes], ...]] = (
    ("GET", b"/_ping"),
    ("GET", b"/v1.41/version"),
    ("GET", b"/v1.41/containers/json?all=1"),
    ("POST", b"/v1.41/containers/create?name=build"),
    ("POST", b"/v1.41/containers/" + ID + b"/start"),
    ("POST", b"/v1.41/containers/" + ID + b"/attach?stream=1&stdin=1&stdout=1"),
    ("GET", b"/v1.41/containers/" + ID + b"/logs?follow=1"),
    ("POST", b"/v1.41/exec/" + ID + b"/start"),
    ("DELETE", b"/v1.41/containers/" + ID + b"?v=1&force=1"),
    ("GET", b"/v1.41/images/registry.example.com/team/app/json"),
    ("POST", b"/v1.41/images/create?fromImage=busybox&tag=1.36"),
    ("POST", b"/v1.41/images/registry.example.com/team/app/push?tag=1"),  # denied
    ("DELETE", b"/v1.41/networks/build"),  # denied
    ("POST", b"/v1.41/build?t=app"),
    ("GET", b"/v1.41/containers/" + ID + b"/nothing"),  # a miss behind many routes
    ("PUT", b"/v1.41/nothing/at/all"),  # a miss before any
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of one kind of decision: over all requests the median, and the dearest request."""

    title: str
    median: float
    worst: float
    worst_request: str
    median_target: Target | None = None
    worst_target: Target | None = None


def _microseconds(call: Callable[[], object]) -> float:
    return statistics.median(timeit.repeat(call, number=CALLS, repeat=REPEATS)) / CALLS * 1e6


def _cost(title: str, calls: dict[str, Callable[[], object]], median: Target | None, worst: Target | None) -> Cost:
    measured = {name: _microseconds(call) for name, call in calls.items()}
    dearest = max(measured, key=lambda name: measured[name])
    return Cost(title, statistics.median(measured.values()), measured[dearest], dearest, median, worst)


def _operation(rules: CommandRules, method: str, raw: bytes) -> Callable[[], object]:
    target = parse_target(raw)

    def decide() -> object:
        route = routes.match(method, target.path)
        return rules.decide(None if route is None else routes.operation_key(route, target))

    return decide


def _request(rules: CommandRules, method: str, raw: bytes) -> Callable[[], object]:
    def decide() -> object:
        target = parse_target(raw)
        route = routes.match(method, target.path)
        return rules.decide(None if route is None else routes.operation_key(route, target))

    return decide


def measure() -> list[Cost]:
    """Time the decisions. The rules are those of the policy that the rounds use."""
    rules = CommandRules.compile("deny", DENIED_COMMANDS)
    named = [(f"{method} {raw.decode()}", method, raw) for method, raw in REQUESTS]
    body = (HERE / "create-body.json").read_bytes()
    limit = Target("<=", 2, unit="us"), Target("<=", 5, unit="us")
    reading = images.reading_us()
    return [
        _cost("route and command list", {name: _operation(rules, m, raw) for name, m, raw in named}, *limit),
        _cost(
            "the same with reading the target", {name: _request(rules, m, raw) for name, m, raw in named}, None, None
        ),
        _cost(
            f"reading a create body of the docker CLI ({len(body)} bytes)",
            {"POST /containers/create": lambda: read_create(body)},
            Target("<=", 50, unit="us"),
            None,
        ),
        _cost(
            f"allowing an image by {images.ENTRIES:,} entries",
            images.judging(images.IMAGES),
            None,
            Target("<=", 5, unit="us"),
        ),
        _cost(
            f"refusing an image by {images.ENTRIES:,} entries, with the reason",
            images.judging(images.REFUSED),
            None,
            Target("<=", 50, unit="us"),
        ),
        Cost(
            f"reading and checking a policy of {images.ENTRIES:,} entries",
            reading,
            reading,
            "sockwarden check",
            None,
            Target("<=", 1e6, unit="us"),
        ),
    ]
