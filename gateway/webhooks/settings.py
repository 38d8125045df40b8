"""Settings of a webhook.  [S]"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from gateway.alerts.event import Stage
from gateway.errors import ConfigError
from gateway.webhooks import signature

Type = Literal[
    "call.started",
    "call.ended",
    "leg.started",
    "leg.ended",
    "alert.raised",
    "alert.cleared",
    "alert.verified",
    "alert.evidence",
    "voice.expected",
    "feedback.given",
    "coverage.reduced",
    "shadow.compared",
]
"""Event types that can be delivered. `score` is excluded: one per second and leg is too many for HTTP requests."""
TYPES = get_args(Type)
PositiveSeconds = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]


class Webhook(BaseModel):
    """A webhook endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")] = Field(
        description="name in logs, metrics and commands; its position is stored under this name",
        examples=["fraud-desk"],
    )
    url: str = Field(
        description="where events are posted to; https, or also http with allow_private",
        examples=["https://hooks.example.com/callscreen"],
    )
    secret: SecretStr | None = Field(
        default=None,
        description="signing secret, whsec_ and base64; or one of the next two",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    secret_env: str | None = Field(
        default=None, description="environment variable that holds the secret", examples=["FRAUD_DESK_SECRET"]
    )
    secret_file: Path | None = Field(
        default=None, description="file that holds the secret", examples=["/run/secrets/fraud-desk"]
    )
    events: tuple[Type, ...] = Field(
        default=("alert.raised", "alert.cleared"), min_length=1, description="event types that are delivered"
    )
    min_stage: Stage = Field(
        default="provisional", description="confirmed: alerts that are only provisional are left out"
    )
    tenant: str | None = Field(
        default=None, description="the only tenant whose events are delivered; none: all", examples=["blue"]
    )
    allow_private: bool = Field(
        default=False, description="deliver to addresses of private networks and of this machine, too"
    )
    timeout_s: PositiveSeconds = Field(default=10.0, description="seconds for one attempt")
    retry_first_s: PositiveSeconds = Field(
        default=5.0, description="seconds to the first retry; each further wait is twice as long, up to an hour"
    )
    retry_for_s: PositiveSeconds = Field(
        default=24 * 3600.0, description="seconds from the first attempt, after which an event is put on the dead list"
    )

    @model_validator(mode="after")
    def _url_is_valid(self) -> Webhook:
        try:
            url = urlsplit(self.url)
            port = url.port
        except ValueError:
            raise ValueError("url: expected https://host/path") from None
        if url.scheme not in ("https", "http") or not url.hostname or port == 0 or not self.url.isascii():
            raise ValueError("url: expected https://host/path")
        if url.username is not None or url.fragment:
            raise ValueError("url: expected neither user nor fragment")
        if url.scheme == "http" and not self.allow_private:
            raise ValueError("url: expected https; http only with `allow_private`, for receivers on your own network")
        return self

    @model_validator(mode="after")
    def _one_secret(self) -> Webhook:
        given = [name for name in ("secret", "secret_env", "secret_file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("secret: expected one of secret, secret_env, secret_file")
        if self.secret is not None:
            try:
                signature.key_of(self.secret.get_secret_value())
            except ValueError as error:
                raise ValueError(f"secret: {error}") from None
        return self

    def key(self) -> bytes:
        """Return the signing key. Raises ConfigError if the environment or the file does not hold one."""
        where = "secret_env" if self.secret_env else "secret_file" if self.secret_file else "secret"
        try:
            secret = self.secret.get_secret_value() if self.secret else ""
            if self.secret_env:
                if self.secret_env not in os.environ:
                    raise ValueError(f"the environment variable {self.secret_env} is not set")
                secret = os.environ[self.secret_env]
            elif self.secret_file:
                secret = self.secret_file.read_text(encoding="utf-8")
            return signature.key_of(secret)
        except OSError as error:
            raise ConfigError(f"webhooks.{self.name}.{where}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"webhooks.{self.name}.{where}: {error}") from None
