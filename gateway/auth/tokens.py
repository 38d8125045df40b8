"""Bearer tokens with scopes, stored as hashes.  [S]

A token is random, so a plain SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, model_validator

from gateway.auth.access import EVERYTHING, Access, Scope
from gateway.errors import Unauthorized
from gateway.ingest import names

PREFIX = "cs_"
"""Prefix of tokens made here; secret scanners can recognise it."""
MISSING = "token: missing or wrong; give `Authorization: Bearer …`, the websocket subprotocol `bearer.…` or `?token=…`"


class ScopedToken(BaseModel):
    """A token's hash and what it allows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64, description="whose it is", examples=["fraud desk"])
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the token, in hex", examples=["0" * 64]
    )
    scopes: tuple[Scope, ...] = Field(
        min_length=1,
        description="ingest: media; subscribe: events and calls; evidence: audio evidence, encrypted; admin: all "
        "of them, and the metrics",
        examples=[["subscribe"]],
    )
    expires: AwareDatetime | None = Field(
        default=None, description="from then on it is refused; none: never", examples=["2027-06-30T00:00:00Z"]
    )
    tenant: Annotated[str, Field(pattern=names.PATTERN)] | None = Field(
        default=None, description="the only tenant whose calls it sends and sees; none: all", examples=["blue"]
    )

    @model_validator(mode="after")
    def _admin_is_for_all_tenants(self) -> ScopedToken:
        if self.tenant is not None and "admin" in self.scopes:
            raise ValueError("scopes: expected no admin together with a tenant: admin covers all tenants")
        return self

    def access(self) -> Access:
        """Return what the token allows."""
        expires_s = self.expires.timestamp() if self.expires else None
        return Access(self.name, frozenset(self.scopes), self.tenant, expires_s)


def make() -> tuple[str, str]:
    """Return a new token of 256 random bits, and its SHA-256 for the settings."""
    token = PREFIX + secrets.token_urlsafe(32)
    return token, hashed(token)


def hashed(token: str) -> str:
    """Return the SHA-256 of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def check(given: str, general: SecretStr | None, scoped: Iterable[ScopedToken], now: datetime) -> Access:
    """Return what the presented token allows.

    Every comparison takes constant time, but the total time reveals which token matched.

    Args:
        given: the presented token; empty if there was none.
        general: the token that allows everything; None: there is none.
        scoped: the tokens with scopes.
        now: with a time zone.

    Raises:
        Unauthorized: the token is missing, wrong or expired.
    """
    if general is not None and hmac.compare_digest(given.encode(), general.get_secret_value().encode()):
        return EVERYTHING
    digest = hashed(given)
    for token in scoped:
        if hmac.compare_digest(digest, token.sha256):
            if token.expires is not None and now >= token.expires:
                raise Unauthorized(f"token: {token.name!r} has expired")
            return token.access()
    raise Unauthorized(MISSING)
