"""A token server for tests: it signs JSON Web Tokens that a real docker-registry verifies.

By distribution's docs/spec/auth/{token,jwt,oauth}.md: GET anonymously or with Basic, POST with a refresh token.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integration.pki import Pair

ISSUER = "test-issuer"
SERVICE = "test-service"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """``rights`` says who may pull what: "" is anybody, ``user:password`` by Basic, ``refresh TOKEN`` by POST."""

    def __init__(self, signer: Pair, rights: Mapping[str, str], tls: Pair | None = None) -> None:
        self._signer = signer
        self._rights = rights
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                who = self.headers.get("authorization", "")
                user = base64.b64decode(who.removeprefix("Basic ")).decode() if who else ""
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                self._answer("GET", user, query, "token")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {key: values[0] for key, values in parse_qs(body, strict_parsing=True).items()}
                right = form["grant_type"] == "refresh_token" and bool(form["client_id"]) and "?" not in self.path
                self._answer("POST", f"refresh {form['refresh_token']}" if right else "?", form, "access_token")

            def _answer(self, method: str, who: str, wanted: dict[str, str], field: str) -> None:
                outer.asked.append(f"{method} {wanted['scope']}")
                known = who in outer._rights or who == ""
                token = {field: outer.token(who, wanted["scope"]), "expires_in": 300} if known else {}
                body = json.dumps(token).encode()
                self.send_response(200 if known and wanted["service"] == SERVICE else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # The handshake is made in each connection's own thread, where it fails alone.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"

    @contextlib.contextmanager
    def serving(self) -> Iterator[dict[str, Any]]:
        """Serve, and yield the ``auth`` table for a docker-registry that trusts this server."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        realm = f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/token"
        bundle = str(self._signer.certificate)
        try:
            yield {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def token(self, who: str, scope: str) -> str:
        """Return a token with the rights of ``who`` within ``scope``."""
        kind, name, _ = scope.split(":")
        actions = ["pull"] if name in (self._rights.get(who), self._rights.get("")) else []
        now = int(time.time())
        certificate = "".join(self._signer.certificate.read_text().split("-----")[2].split())
        access = [{"type": kind, "name": name, "actions": actions}]
        about = {"iss": ISSUER, "sub": "somebody", "aud": SERVICE, "jti": "1", "access": access}
        claims = about | {"iat": now, "nbf": now - 10, "exp": now + 300}
        header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._signer.key)]
        return (
            f"{signed}.{encoded(subprocess.run(sign, input=signed.encode(), check=True, capture_output=True).stdout)}"
        )
