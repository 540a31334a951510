"""Scrapes over real sockets."""

from __future__ import annotations

import socket
import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sockwarden.errors import SockwardenError
from sockwarden.observe import exposition
from sockwarden.observe.exposition import serve
from sockwarden.observe.metrics import Metrics, registry_of

if TYPE_CHECKING:
    from collections.abc import Iterator

REGISTRY = registry_of(Metrics("1", ["ps"]))


@pytest.fixture
def server() -> Iterator[exposition.MetricsServer]:
    server = serve(REGISTRY, "127.0.0.1", 0)
    yield server
    server.close()


def get(host: str, port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_scrape_is_readable_by_prometheus(server):
    status, body = get(server.host, server.port, "/metrics")
    assert (status, len(list(text_string_to_metric_families(body.decode()))) > 10) == (200, True)


def test_any_other_path_says_where_the_metrics_are(server):
    assert get(server.host, server.port, "/") == (404, b"The metrics are at /metrics\n")


def test_port_zero_picks_a_port(server):
    assert server.port > 0


def test_ipv6_is_served():
    server = serve(REGISTRY, "::1", 0)
    try:
        assert get("::1", server.port, "/metrics")[0] == 200
    finally:
        server.close()


def test_an_address_in_use_is_an_error_that_says_what_to_do(server):
    with pytest.raises(SockwardenError, match=f"127.0.0.1:{server.port}") as caught:
        serve(REGISTRY, "127.0.0.1", server.port)
    assert "port 0" in caught.value.remedy


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("no such host", 0), ("127.0.0.1", 65536)])
def test_an_address_that_cannot_be_used_is_an_error(host, port):
    with pytest.raises(SockwardenError, match="cannot serve metrics"):
        serve(REGISTRY, host, port)


def test_after_closing_nobody_listens(server):
    other = serve(REGISTRY, "127.0.0.1", 0)
    other.close()
    with pytest.raises(ConnectionRefusedError):
        get("127.0.0.1", other.port, "/metrics")


def test_garbage_does_not_stop_the_server(server, capfd):
    with socket.create_connection((server.host, server.port)) as sock:
        sock.sendall(b"\xff\0garbage\r\n\r\n")
        sock.settimeout(10)
        while sock.recv(4096):
            pass
    assert (get(server.host, server.port, "/metrics")[0], capfd.readouterr().err) == (200, "")


def test_connections_beyond_the_limit_are_closed_at_once(monkeypatch):
    monkeypatch.setattr(exposition, "MAX_SCRAPES", 1)
    server = serve(REGISTRY, "127.0.0.1", 0)
    try:
        with socket.create_connection((server.host, server.port)) as idle:
            with socket.create_connection((server.host, server.port)) as refused:
                refused.settimeout(10)
                assert refused.recv(1) == b""
            idle.sendall(b"GET / HTTP/1.0\r\n\r\n")
            idle.settimeout(10)
            assert idle.recv(4096).startswith(b"HTTP/1.0 404")
    finally:
        server.close()


def test_the_server_runs_on_a_thread_that_does_not_hold_the_process(server):
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "metrics"] == [True]
