"""What opens a registry: a name with its password, or an identity token.

Owns the two kinds and how each goes into a request. They must never show in a repr, a message or a log.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and its password or access token."""

    user: str
    password: str = field(repr=False)

    def header(self) -> str:
        """Return the value of an Authorization header, RFC 7617."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A refresh token that only a token server takes (distribution: docs/spec/auth/oauth.md)."""

    token: str = field(repr=False)

    def form(self, service: str, scope: str) -> dict[str, str]:
        """Return the fields of the POST that asks for an access token."""
        return {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": "sockwarden",
            "scope": scope,
            "refresh_token": self.token,
        }


Secret = Basic | IdentityToken
