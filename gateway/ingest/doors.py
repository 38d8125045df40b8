"""Websocket endpoints for media: their settings, and who may use them.  [S]"""

from __future__ import annotations

import base64
import dataclasses
import hmac
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.errors import Forbidden, Unauthorized
from gateway.ingest import names
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.events import StreamStarted
from gateway.ingest.rtp.settings import Network, is_allowed

PositiveSeconds = Annotated[float, Field(gt=0.0, le=1e9)]
"""At most thirty years: timers overflow on very large values."""
DoorName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Secret = Annotated[SecretStr, Field(min_length=1)]


class Door(BaseModel):
    """A websocket endpoint, ``WS /v1/media/<its name>``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dialect: str | None = Field(
        None, description="the peer's protocol; not set: the endpoint's name", examples=["freeswitch"]
    )
    # Who may connect. Every check that is set must pass; if none is, the gateway's own `token` is required.
    token: Secret | None = Field(
        None,
        description="as bearer token, password of Basic, ?token=, or this vendor's own header",
        examples=["a long random string"],
    )
    signing_key: Secret | None = Field(
        None, description="key with which the vendor signs each upgrade", examples=["auth token of the account"]
    )
    allow_ips: tuple[Network, ...] = Field(
        (), description="networks that may connect; not set: any", examples=[["203.0.113.0/24"]]
    )
    # Identity of its calls
    roles: dict[str, Literal["caller", "callee", "agent", "customer"]] = Field(
        default_factory=dict,
        description="role of a leg, by the leg's name; takes precedence over the general `roles`",
        examples=[{"inbound": "customer"}],
    )
    call_id_parameter: str | None = Field(
        None, description="the peer's parameter that holds the call id; not set: the vendor's id", examples=["ticket"]
    )
    tenant_parameter: str | None = Field(
        None, description="the peer's parameter that holds the tenant", examples=["org"]
    )
    tenant: str | None = Field(None, description="the tenant of all calls of this endpoint", examples=["blue"])
    allow_mixed: bool = Field(False, description="accept streams that mix the speakers", examples=[True])
    swap_channels: bool = Field(False, description="the right channel comes first", examples=[True])
    # Limits; not set: the general ones
    start_deadline_s: PositiveSeconds | None = Field(
        None, description="as the general setting, for this endpoint alone", examples=[10.0]
    )
    idle_deadline_s: PositiveSeconds | None = Field(
        None, description="as the general setting, for this endpoint alone", examples=[3600.0]
    )
    max_message_bytes: int | None = Field(
        None, ge=1, description="as the general setting, for this endpoint alone", examples=[131072]
    )
    max_call_s: PositiveSeconds | None = Field(
        None, description="as the general setting, for this endpoint alone", examples=[7200.0]
    )

    @property
    def is_guarded(self) -> bool:
        """Whether the endpoint has checks of its own."""
        return bool(self.token or self.signing_key or self.allow_ips)

    def check_token_and_address(self, handshake: Handshake, token_header: str | None) -> None:
        """Check the peer's token and address, if configured.

        Args:
            handshake: the peer's upgrade.
            token_header: header in which peers of this dialect send the token, besides the usual places.

        Raises:
            Forbidden, Unauthorized
        """
        if not is_allowed(handshake.peer_ip, self.allow_ips):
            raise Forbidden("allow_ips: this address may not use this endpoint")
        if self.token is not None:
            given = presented_token(handshake, token_header)
            if not hmac.compare_digest(given.encode(), self.token.get_secret_value().encode()):
                raise Unauthorized(
                    f"token: missing or wrong; give it as {token_header or '`Authorization: Bearer …`'}, as the "
                    "password of Basic, the websocket subprotocol `bearer.…` or `?token=…`"
                )

    def owned_by(self, tenant: str | None) -> Door:
        """Return the endpoint for a client that may only send calls of `tenant`; None: of any tenant.

        Raises:
            Forbidden: the endpoint's calls belong to another tenant.
        """
        if tenant is None or tenant == self.tenant:
            return self
        if self.tenant is not None:
            raise Forbidden("tenant: the calls of this endpoint belong to another tenant than the token")
        return self.model_copy(update={"tenant": tenant})

    def admit(self, started: StreamStarted) -> StreamStarted:
        """Return the stream with the call id, tenant and limits of the endpoint.

        Raises:
            Forbidden: the speakers are mixed.
            ProtocolError: a required parameter is missing or invalid.
        """
        if started.separation == "mixed" and not self.allow_mixed:
            raise Forbidden("separation: expected separate speakers, got mixed ones; `allow_mixed` accepts them")
        call_id, tenant = started.call_id, self.tenant
        if self.call_id_parameter:
            call_id = names.call_id(self.call_id_parameter, started.parameters.get(self.call_id_parameter, ""))
        if tenant is None and self.tenant_parameter:
            tenant = names.call_id(self.tenant_parameter, started.parameters.get(self.tenant_parameter, ""))
        return dataclasses.replace(started, call_id=call_id, tenant=tenant, max_call_s=self.max_call_s)


def presented_token(handshake: Handshake, token_header: str | None = None) -> str:
    """Return the token from any of the places where peers can put it; empty if there is none."""
    if token_header and (token := handshake.headers.get(token_header)):
        return token
    scheme, _, value = handshake.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError:  # not base64, or not UTF-8
            return ""
    for item in handshake.headers.get("sec-websocket-protocol", "").split(","):
        if item.strip().startswith("bearer."):  # browsers cannot set headers on a websocket
            return item.strip().removeprefix("bearer.")
    return handshake.query.get("token", "")
