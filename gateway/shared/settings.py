"""Settings of the shared stream.  [S]"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

SCHEMES = ("nats", "tls")


class NatsSettings(BaseModel):
    """A NATS server with JetStream, or a cluster of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="nats://HOST:PORT, or tls://…; several of a cluster separated by commas",
        examples=["nats://127.0.0.1:4222"],
    )
    stream: str = Field(
        "callscreen", pattern="^[A-Za-z0-9_-]{1,64}$", description="name of the stream, and first part of its subjects"
    )
    user: str | None = Field(None, min_length=1, description="user name at the server", examples=["callscreen"])
    password: SecretStr | None = Field(None, min_length=1, description="password of the user", examples=["a long text"])
    token: SecretStr | None = Field(
        None, min_length=1, description="token, instead of user and password", examples=["a long random text"]
    )
    credentials: Path | None = Field(
        None, description="credentials file (.creds: JWT and NKey), instead of both", examples=["/etc/nats/gw.creds"]
    )
    ca: Path | None = Field(
        None, description="PEM file of the authorities that sign the server certificate", examples=["/etc/nats/ca.pem"]
    )
    scores: bool = Field(True, description="forward `score` events too; they are most of the traffic")
    verifier_pool: bool = Field(
        False,
        description="windows are verified by `callscreen verifier` processes at this server, and not in the gateway",
    )
    keep_s: Annotated[float, Field(ge=60, allow_inf_nan=False)] = Field(
        7 * 86400.0, description="age of the oldest event kept, if the gateway creates the stream"
    )
    keep_bytes: Annotated[int, Field(ge=1 << 20)] = Field(
        1 << 30, description="size of the stream, beyond which the oldest events go, if the gateway creates it"
    )
    replicas: Annotated[int, Field(ge=1, le=5)] = Field(
        1, description="servers of the cluster that keep each event, if the gateway creates the stream"
    )

    @property
    def servers(self) -> list[str]:
        """The URLs of the servers."""
        return [url.strip() for url in self.url.split(",")]

    @model_validator(mode="after")
    def _servers_only(self) -> NatsSettings:
        """Validates the whole table: an error of the field `url` would show its value, which may hold credentials."""
        for one in self.servers:
            parts = urlsplit(one)
            if parts.scheme not in SCHEMES or not parts.hostname:
                raise ValueError("url: expected nats://HOST:PORT or tls://HOST:PORT")
            if "@" in parts.netloc:
                raise ValueError("url: expected no credentials in it; set user and password, token or credentials")
        return self

    @model_validator(mode="after")
    def _credentials_are_consistent(self) -> NatsSettings:
        if (self.user is None) != (self.password is None):
            raise ValueError("user, password: expected both or neither")
        if sum(one is not None for one in (self.user, self.token, self.credentials)) > 1:
            raise ValueError("user, token, credentials: expected at most one of them")
        return self
