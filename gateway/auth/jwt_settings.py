"""Settings of the issuer of JSON Web Tokens.  [S]"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class JwtSettings(BaseModel):
    """An issuer, and the claims that its tokens must have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jwks_url: str | None = Field(
        None,
        description="where the issuer publishes its keys (RFC 7517): https, or http on this machine",
        examples=["https://id.example.com/.well-known/jwks.json"],
    )
    jwks_file: Path | None = Field(None, description="the same in a file, instead", examples=["jwks.json"])
    issuer: str = Field(min_length=1, description="claim iss of its tokens", examples=["https://id.example.com/"])
    audience: str = Field(min_length=1, description="what claim aud must contain", examples=["callscreen"])
    scope_claim: str = Field(
        "scope", min_length=1, description="claim with the scopes: a text with spaces between them, or a list"
    )
    tenant_claim: str | None = Field(
        None,
        min_length=1,
        description="claim with the tenant; then every token without the scope admin must have it",
        examples=["org_id"],
    )

    @field_validator("jwks_url")
    @classmethod
    def _keys_are_fetched_securely(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)
            if not parts.hostname or not (
                parts.scheme == "https" or (parts.scheme == "http" and _is_local(parts.hostname))
            ):
                raise ValueError("expected https://HOST/…")
        return url

    @model_validator(mode="after")
    def _keys_have_one_source(self) -> JwtSettings:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("jwks_url, jwks_file: expected one of them")
        return self


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
