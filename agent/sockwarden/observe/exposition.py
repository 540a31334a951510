"""Serves the metrics over HTTP, on a thread of its own.

Owns the listening socket and its limits. It never touches the request path: a scrape reads plain numbers, and a slow or
hostile scraper costs at most MAX_SCRAPES threads for SCRAPE_SECONDS.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from sockwarden.errors import PermissionNeededError, SockwardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

MAX_SCRAPES: Final = 8
"""Scrapes at once: a pair of Prometheus servers and a few people with curl."""

SCRAPE_SECONDS: Final = 5.0
"""The longest silence within a scrape; Prometheus gives up after 10 seconds by default."""

PATH: Final = "/metrics"


class MetricsServer:
    """A running exposition. ``host`` and ``port`` are where it really listens."""

    def __init__(self, server: _Server) -> None:
        self._server: Final = server
        self.host: Final = str(server.server_address[0])
        self.port: Final = int(server.server_address[1])
        self._thread: Final = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Scrapes that are under way end on their own."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(registry: CollectorRegistry, host: str, port: int) -> MetricsServer:
    """Serve ``registry`` at http://host:port/metrics; port 0 picks a free one.

    Raises:
        PermissionNeededError: the port needs a privilege.
        SockwardenError: the address cannot be listened on.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        server = _Server(host, port, family, _only_metrics(make_wsgi_app(registry)))
    except PermissionError as error:
        raise PermissionNeededError(
            f"no permission to serve metrics on {where}", remedy="choose a port above 1023"
        ) from error
    except (OSError, OverflowError) as error:
        raise SockwardenError(
            f"cannot serve metrics on {where}: {error}",
            remedy="stop what listens there, or set metrics.listen in sockwarden.toml (port 0 picks a free one)",
        ) from error
    return MetricsServer(server)


def _only_metrics(metrics: Callable[..., Any]) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"The metrics are at {PATH}\n".encode()]
        answer: Iterable[bytes] = metrics(environ, start_response)
        return answer

    return app


class _Handler(WSGIRequestHandler):
    timeout = SCRAPE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is the base class's)
        """Say nothing: a scrape is not worth a line."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, family: int, app: Callable[..., Iterable[bytes]]) -> None:
        self.address_family = family
        self._room: Final = threading.BoundedSemaphore(MAX_SCRAPES)
        super().__init__((host, port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without asking the name service for this host's name, as the base class does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread, or close it where all are busy."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a scraper that went away; the base class prints its stack."""
