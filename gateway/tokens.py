"""Tokens that allow part of what the gateway offers, kept as hashes.  [S]

A token is made of random bytes, so a plain SHA-256 of it is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

from gateway import paths
from gateway.errors import Forbidden, Unauthorized

Scope = Literal["ingest", "subscribe", "admin"]


class ScopedToken(BaseModel):
    """One token, and what it is good for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64, description="whose it is", examples=["fraud desk"])
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the token, in hex", examples=["0" * 64]
    )
    scopes: tuple[Scope, ...] = Field(
        min_length=1,
        description="ingest: media; subscribe: events and calls; admin: these and the metrics",
        examples=[["subscribe"]],
    )
    expires: AwareDatetime | None = Field(
        default=None, description="from then on it is refused; none: never", examples=["2027-06-30T00:00:00Z"]
    )


def scope_of(path: str) -> Scope:
    """Return what a token must allow for `path`: `admin` where nothing else is said."""
    if path.startswith((paths.MEDIA, paths.WHIP)):
        return "ingest"
    for prefix in (paths.EVENTS, paths.CALLS):
        if path == prefix or path.startswith(prefix + "/"):
            return "subscribe"
    return "admin"


def check(given: str, scope: Scope, general: SecretStr | None, scoped: Iterable[ScopedToken], now: datetime) -> None:
    """Let in who presents the general token, or one that allows `scope`.

    Args:
        given: the token presented; empty where there is none.
        general: allows everything; none: there is no such token.
        now: time zone aware.

    Raises:
        Forbidden: the token is right, its scopes do not include `scope`.
        Unauthorized: the token is missing, wrong or expired.
    """
    if general is not None and hmac.compare_digest(given.encode(), general.get_secret_value().encode()):
        return
    digest = hashlib.sha256(given.encode()).hexdigest()
    for token in scoped:
        if not hmac.compare_digest(digest, token.sha256):
            continue
        if token.expires is not None and now >= token.expires:
            raise Unauthorized(f"token: {token.name!r} has expired")
        if scope not in token.scopes and "admin" not in token.scopes:
            raise Forbidden(f"token: {token.name!r} does not have the scope {scope!r}")
        return
    raise Unauthorized(
        "token: missing or wrong; give `Authorization: Bearer …`, the websocket subprotocol `bearer.…` or `?token=…`"
    )
