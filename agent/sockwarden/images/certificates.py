"""Whom to believe over TLS: the system's roots, and what the engine's own folder adds for one registry.

Owns the reading of ``/etc/docker/certs.d/HOST[:PORT]`` (moby: registry/registry.go, ReadCertsDirectory): ``*.crt``
are further CAs, ``*.cert`` with ``*.key`` is what we show of ourselves. It must never weaken a check: a file
that cannot be used refuses its registry.
"""

from __future__ import annotations

import os
import re
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import Final

from sockwarden.errors import RegistryError
from sockwarden.images.ownfile import Stamp, read_own, stamp_of

MAX_CERTIFICATE_BYTES: Final = 1024 * 1024
"""The whole bundle of public roots has a quarter of this."""

MAX_CERTIFICATE_FILES: Final = 64
"""Files of one registry that are looked at."""

MAX_CONTEXTS: Final = 32
"""Registries whose certificates are kept in memory, up to 1 MiB each; further ones push out the oldest."""

_HOST: Final = re.compile(r"(?=.{1,255}\Z)(?:[A-Za-z0-9_\-][A-Za-z0-9._\-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""Begins with no dot, and is no longer than a name in a folder: it becomes a path."""

_CA, _CERTIFICATE, _KEY = ".crt", ".cert", ".key"

_Print = tuple[tuple[str, Stamp], ...]


class Certificates:
    """TLS contexts by registry. ``folder`` None: the system's roots for everybody."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, tuple[_Print, ssl.SSLContext]] = OrderedDict()

    def listed(self, netloc: str) -> bool:
        """Is there a folder for ``host[:port]``? Then it speaks TLS, wherever it is."""
        folder = self._folder_of(netloc)
        return folder is not None and os.path.isdir(folder)

    def context_for(self, netloc: str, endpoint: str) -> tuple[str, ssl.SSLContext]:
        """Return the context to meet ``netloc`` with, and the name under which it is kept.

        A host without a folder that ``endpoint`` leads to, such as its token server, is met like ``endpoint``:
        so does the engine, whose settings of one registry hold for everything that it asks on its behalf.

        Raises:
            RegistryError: a file of the folder cannot be used; the message names it.
        """
        for name in (netloc, endpoint):
            folder = self._folder_of(name)
            if folder is not None and os.path.isdir(folder):
                return str(folder), self._context(str(folder), folder)
        return "", self._context("", None)

    def _folder_of(self, netloc: str) -> Path | None:
        if self._folder is None or not _HOST.fullmatch(netloc):
            return None
        return self._folder / netloc.lower()

    def _context(self, name: str, folder: Path | None) -> ssl.SSLContext:
        """Return the context of now: the same object for as long as no file changed."""
        try:
            now = _system_print() + (() if folder is None else _print_of(folder))
        except OSError as error:
            raise _unusable(str(error.filename), error.strerror or "it cannot be read") from error
        kept = self._kept.get(name)
        if kept is None or kept[0] != now:
            self._kept[name] = kept = (now, _load(folder, [path for path, _ in now]))
        self._kept.move_to_end(name)
        while len(self._kept) > MAX_CONTEXTS:
            self._kept.popitem(last=False)
        return kept[1]


def _system_print() -> _Print:
    """Return the state of the bundle of roots, if there is one; OpenSSL looks into a folder of roots each time."""
    bundle = ssl.get_default_verify_paths().cafile
    return ((bundle, stamp_of(os.stat(bundle))),) if bundle else ()


def _print_of(folder: Path) -> _Print:
    paths = sorted(path for path in folder.iterdir() if path.suffix in (_CA, _CERTIFICATE, _KEY))
    if len(paths) > MAX_CERTIFICATE_FILES:
        raise _unusable(str(folder), f"it has more than {MAX_CERTIFICATE_FILES} files")
    return tuple((str(path), stamp_of(path.stat())) for path in paths)


def _load(folder: Path | None, names: list[str]) -> ssl.SSLContext:
    # The system's own roots, which update-ca-certificates keeps, as the engine uses them.
    context = ssl.create_default_context()
    # As Go's TLS, so that we trust what the engine trusts: a CA in the folder need not be self-signed nor have every
    # extension of RFC 5280 (Python 3.13 began to insist), and a common name is no host name.
    context.verify_flags = (context.verify_flags | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN) & ~(
        ssl.VerifyFlags.VERIFY_X509_STRICT
    )
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if folder is None:
        return context
    paths = [path for path in map(Path, names) if path.parent == folder]
    for path in paths:
        if path.suffix == _CA:
            _trust(context, path)
    shown = [path for path in paths if path.suffix == _CERTIFICATE]
    for key in (path for path in paths if path.suffix == _KEY):
        if key.with_suffix(_CERTIFICATE) not in shown:
            raise _unusable(str(key), f"there is no {key.with_suffix(_CERTIFICATE).name} beside it")
    if len(shown) > 1:
        raise _unusable(str(shown[1]), f"{shown[0].name} is shown already, and only one can be")
    for path in shown:
        _show(context, path, path.with_suffix(_KEY))
    return context


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cadata=read_own(path, MAX_CERTIFICATE_BYTES).decode("ascii", "replace"))
    except (OSError, ValueError) as error:
        raise _unusable(str(path), _reason(error, "it holds no certificate in PEM")) from error


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    if not key.exists():
        raise _unusable(
            str(certificate), f"there is no {key.name} beside it; the certificate of a CA has to end in {_CA}"
        )
    try:
        for path in (certificate, key):
            read_own(path, MAX_CERTIFICATE_BYTES)
        # Without a password OpenSSL would ask for one on the terminal, if there is one.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise _unusable(str(certificate), _reason(error, f"it and {key.name} are no pair in PEM")) from error


def _reason(error: Exception, otherwise: str) -> str:
    """Return the system's reason; what OpenSSL calls its own says less than ``otherwise``."""
    if isinstance(error, ssl.SSLError):
        return otherwise
    return error.strerror or otherwise if isinstance(error, OSError) else str(error)


def _unusable(file: str, why: str) -> RegistryError:
    return RegistryError(f"{file} cannot be used: {why}", remedy="correct the file, or remove it")
