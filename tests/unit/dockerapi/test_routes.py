"""Routes: the engine's table, matched as the engine's router does."""

from __future__ import annotations

import pytest

from sockwarden.dockerapi.routes import (
    IMPORT,
    OPERATION_KEYS,
    PULL,
    ROUTE_KEYS,
    ROUTES,
    Stream,
    match,
    operation_key,
)
from sockwarden.dockerapi.target import parse_target


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("GET", "/_ping", "GET /_ping"),
        ("HEAD", "/_ping", "HEAD /_ping"),
        ("GET", "/containers/json", "GET /containers/json"),
        ("GET", "/containers/json/json", "GET /containers/{name}/json"),
        ("GET", "/containers/a/b/json", "GET /containers/{name}/json"),
        ("GET", "/containers/x/attach/ws", "GET /containers/{name}/attach/ws"),
        ("DELETE", "/containers/foo", "DELETE /containers/{name}"),
        ("DELETE", "/containers/foo/", "DELETE /containers/{name}"),
        ("DELETE", "/containers/x/checkpoints/y", "DELETE /containers/{name}/checkpoints/{checkpoint}"),
        ("DELETE", "/containers/a/b/checkpoints/y", "DELETE /containers/{name}"),
        ("DELETE", "/containers/x/checkpoints/", "DELETE /containers/{name}"),
        ("POST", "/containers/x/copy", "POST /containers/{name}/copy"),
        ("POST", "/exec/x/start", "POST /exec/{id}/start"),
        ("POST", "/images/create", "POST /images/create"),
        ("POST", "/images/create/push", "POST /images/{name}/push"),
        ("POST", "/images/load/push", "POST /images/{name}/push"),
        ("POST", "/images/json/push", "POST /images/{name}/push"),
        ("POST", "/images/x/tag/push", "POST /images/{name}/push"),
        ("POST", "/images/x/push/tag", "POST /images/{name}/tag"),
        ("POST", "/images/containers/json/push", "POST /images/{name}/push"),
        ("POST", "/images/a/b/c/push", "POST /images/{name}/push"),
        ("GET", "/images/get", "GET /images/get"),
        ("GET", "/images/get/get", "GET /images/{name}/get"),
        ("DELETE", "/images/create", "DELETE /images/{name}"),
        ("DELETE", "/images/", "DELETE /images/{name}"),
        ("GET", "/volumes", "GET /volumes"),
        ("GET", "/volumes/", "GET /volumes/{name}"),
        ("GET", "/networks", "GET /networks"),
        ("GET", "/networks/", "GET /networks/"),
        ("GET", "/networks/a/b", "GET /networks/{id}"),
        ("DELETE", "/networks/", "DELETE /networks/{id}"),
        ("GET", "/services/x", "GET /services/{id}"),
        ("GET", "/services/x/logs", "GET /services/{id}/logs"),
        ("GET", "/debug/pprof/", "GET /debug/pprof/"),
        ("GET", "/debug/pprof/trace", "GET /debug/pprof/trace"),
        ("GET", "/debug/pprof/heap", "GET /debug/pprof/{name}"),
        ("GET", "/distribution/a/b/json", "GET /distribution/{name}/json"),
        ("OPTIONS", "/", "OPTIONS /{any}"),
        ("OPTIONS", "/anything/at/all", "OPTIONS /{any}"),
        ("OPTIONS", "*", "OPTIONS /{any}"),
    ],
)
def test_a_request_runs_the_route_that_the_engine_would_run(method, path, key):
    route = match(method, path)
    assert route is not None
    assert route.key == key


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/containers/json"),
        ("HEAD", "/containers/json"),
        ("PUT", "/containers/json"),
        ("POST", "/containers/json"),
        ("POST", "/_ping"),
        ("GET", "/containers/json/"),
        ("GET", "/CONTAINERS/json"),
        ("GET", "/containers"),
        ("GET", "/containers/"),
        ("GET", "/images//json\n"),
        ("POST", "/images/a\nb/push"),
        ("POST", "/images/push"),
        ("GET", "/v1.41/info"),
        ("GET", "/V1.41/info"),
        ("GET", "/v1.41"),
        ("GET", "/"),
        ("GET", ""),
        ("GET", "*"),
        ("GET", "/services/"),
        ("GET", "/services/a/b"),
        ("GET", "/services/a/b/logs"),
        ("POST", "/debug/vars"),
        ("PRI", "*"),
        ("OPTIONS", "/a\nb"),
        ("OPTIONS", "x"),
    ],
)
def test_a_request_that_the_engine_answers_404_has_no_route(method, path):
    assert match(method, path) is None


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/containers/json", ""),
        ("POST", "/containers/x/start", "x"),
        ("POST", "/images/create/push", "create"),
        ("POST", "/images/reg:5000/a/b/push", "reg:5000/a/b"),
        ("DELETE", "/containers/foo/", "foo/"),
        ("GET", "/volumes/", ""),
        ("DELETE", "/containers/x/checkpoints/y", "x"),
        ("POST", "/exec/e/start", "e"),
    ],
)
def test_the_name_in_a_path_is_what_the_engine_takes_for_it(method, path, name):
    route = match(method, path)
    assert route is not None
    assert route.name_of(path) == name


def test_the_name_of_a_path_of_another_route_is_a_mistake_of_the_caller():
    with pytest.raises(AssertionError, match="does not match"):
        ROUTES[0].name_of("/info")


@pytest.mark.parametrize(
    ("path", "other"),
    [("/containers/a/start", "/containers/b/start"), ("/containers/a/start/start", "/containers/b/start")],
)
def test_a_path_can_be_given_another_name(path, other):
    route = match("POST", path)
    assert route is not None
    assert route.with_name(path, "b") == other


def test_a_path_of_another_route_is_given_no_name():
    with pytest.raises(AssertionError, match="does not match"):
        ROUTES[0].with_name("/info", "b")


def test_every_key_names_one_route():
    assert len(ROUTE_KEYS) == len(ROUTES)


def test_only_the_doors_to_raw_bytes_have_a_stream():
    assert {route.key: route.stream for route in ROUTES if route.stream is not Stream.PLAIN} == {
        "POST /containers/{name}/attach": Stream.ATTACH,
        "GET /containers/{name}/attach/ws": Stream.WEBSOCKET,
        "POST /exec/{id}/start": Stream.EXEC,
        "POST /session": Stream.H2C,
        "POST /grpc": Stream.H2C,
    }


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"/images/create?fromImage=alpine&tag=3", PULL),
        (b"/images/create?%66romImage=alpine", PULL),
        (b"/images/create?fromImage=:", PULL),
        (b"/images/create?fromSrc=-&fromImage=alpine", PULL),
        (b"/images/create?fromSrc=-", IMPORT),
        (b"/images/create?fromImage=&fromImage=alpine", IMPORT),
        (b"/images/create?FromImage=alpine", IMPORT),
        (b"/images/create", IMPORT),
        (b"/images/load?fromImage=x", "POST /images/load"),
    ],
)
def test_pull_and_import_are_told_apart_by_the_first_from_image(raw, key):
    target = parse_target(raw)
    route = match("POST", target.path)
    assert route is not None
    assert operation_key(route, target) == key


def test_the_operation_keys_are_the_routes_with_pull_and_import_apart():
    assert {"POST /images/create", PULL, IMPORT} == (ROUTE_KEYS ^ OPERATION_KEYS)
