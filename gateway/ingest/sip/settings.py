"""What an operator says about SIP.  [S]"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from gateway.ingest.rtp_settings import HostPort, Network, split_address

_GROUPS = {"call_id", "leg", "role"}


def _pattern(value: str) -> str:
    try:
        groups = set(re.compile(value).groupindex)
    except re.error as error:
        raise ValueError(f"expected a regular expression: {error}") from None
    if not groups or groups - _GROUPS:
        raise ValueError(f"expected groups named {', '.join(sorted(_GROUPS))} and no others")
    return value


class SipSettings(BaseModel):
    """Where SIP comes in, from whom, and what its calls are called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    udp: HostPort | None = Field(None, description="ADDRESS:PORT")
    tcp: HostPort | None = Field(None, description="ADDRESS:PORT; SIPREC invitations are too large for UDP")
    tls: HostPort | None = Field(None, description="ADDRESS:PORT")
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = Field(None, description="then only peers with a certificate of this authority come in")
    allow_ips: tuple[Network, ...] = Field((), description="who may talk SIP and send media")
    users: dict[str, SecretStr] = Field(
        default_factory=dict, description="then a caller must prove one of these passwords"
    )
    public_host: str | None = Field(None, description="our address as the peers see it, where a NAT is in between")
    rtp_ports: tuple[int, int] = Field((10_000, 10_999), description="first and last port for media; a leg takes two")
    min_session_s: int = Field(90, ge=90, description="shortest session timer taken (RFC 4028)")

    call_id_header: str = Field("X-Call-ID", description="names the call; without it the user pattern, then Call-ID")
    leg_header: str = Field("X-Leg", description="names the leg of a plain call")
    role_header: str = Field("X-Role", description="who the leg of a plain call is")
    tenant_header: str = Field("X-Tenant", description="whose call it is; believed, so only for trusted peers")
    tenant: str | None = Field(None, description="whose calls all of them are; then the header is not read")
    user_pattern: Annotated[str, AfterValidator(_pattern)] = Field(
        r"(?P<call_id>.+)-(?P<leg>caller|callee|agent|customer)",
        description="what the user part of the dialled URI says, as in sip:4711-caller@gateway",
    )
    participants: dict[str, Literal["caller", "callee", "agent", "customer"]] = Field(
        default_factory=dict, description='who a recorded participant is, e.g. {"sip:agent*@pbx.example.com" = "agent"}'
    )
    allow_mixed: bool = Field(False, description="take recordings that mix the speakers in one stream")

    @model_validator(mode="after")
    def _is_sound(self) -> SipSettings:
        addresses = {field: getattr(self, field) for field in ("udp", "tcp", "tls")}
        listening = {field: split_address(field, value)[0] for field, value in addresses.items() if value}
        if not listening:
            raise ValueError("udp, tcp, tls: expected at least one address to listen on")
        if self.tls and not (self.tls_certificate and self.tls_key):
            raise ValueError("tls: tls_certificate and tls_key must be set too")
        for field, host in listening.items():
            mutual = field == "tls" and self.tls_client_ca
            if not (self.allow_ips or self.users or mutual or ipaddress.ip_address(host).is_loopback):
                raise ValueError(f"{field}: {host} is reachable by others, so `allow_ips` or `users` must be set")
        first, last = self.rtp_ports
        if not 1024 <= first < last < 1 << 16:
            raise ValueError(f"rtp_ports: expected two ports from 1024 to 65535 in order, got {first}, {last}")
        return self
