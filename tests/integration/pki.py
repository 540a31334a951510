"""A certificate authority for tests, made by the openssl command: nothing in it outlives a day or leaves loopback."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path


class Authority:
    """A CA of its own in ``folder``."""

    def __init__(self, folder: Path, name: str = "a test's CA") -> None:
        self._folder = folder
        self.own = self._pair("ca")
        self._make("req", "-x509", *self._fresh(self.own), "-subj", f"/CN={name}", "-addext", "keyUsage=keyCertSign")

    def issue(self, name: str, *more: str) -> Pair:
        """Return a certificate of this CA: a server's for ``more`` such as ``subjectAltName=IP:127.0.0.1``."""
        pair = self._pair(name)
        request = self._folder / f"{name}.csr"
        extensions = self._folder / f"{name}.ext"
        extensions.write_text("\n".join(more))
        self._make("req", *self._fresh(Pair(request, pair.key)), "-subj", f"/CN={name}")
        self._make(
            *("x509", "-req", "-days", "1", "-in", str(request), "-out", str(pair.certificate)),
            *("-CA", str(self.own.certificate), "-CAkey", str(self.own.key), "-CAcreateserial"),
            *("-extfile", str(extensions)),
        )
        return pair

    def signer(self) -> Pair:
        """Return a self-signed RSA certificate: what signs tokens."""
        pair = self._pair("signer")
        self._make(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=signer"),
            *("-keyout", str(pair.key), "-out", str(pair.certificate)),
        )
        return pair

    def _pair(self, name: str) -> Pair:
        return Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")

    def _fresh(self, pair: Pair) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
        return (*curve, "-keyout", str(pair.key), "-out", str(pair.certificate))

    def _make(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self._folder)


SERVER = "subjectAltName=IP:127.0.0.1"
CLIENT = "extendedKeyUsage=clientAuth"
