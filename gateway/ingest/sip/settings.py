"""Settings of SIP.  [S]"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from gateway.ingest.rtp.settings import HostPort, Network, split_address

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
    """Addresses, access and naming of SIP calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    udp: HostPort | None = Field(None, description="ADDRESS:PORT", examples=["10.0.0.5:5060"])
    tcp: HostPort | None = Field(
        None, description="ADDRESS:PORT; SIPREC invitations are too large for UDP", examples=["10.0.0.5:5060"]
    )
    tls: HostPort | None = Field(
        None, description="ADDRESS:PORT; needs tls_certificate and tls_key", examples=["10.0.0.5:5061"]
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the certificate and its chain", examples=["/etc/callscreen/sip.pem"]
    )
    tls_key: Path | None = Field(
        None, description="PEM file with the private key", examples=["/etc/callscreen/sip.key"]
    )
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of an authority; then only peers with a certificate of it may connect over TLS",
        examples=["/etc/callscreen/peers.pem"],
    )
    allow_ips: tuple[Network, ...] = Field(
        (), description="networks that may signal and send media", examples=[["10.0.0.0/24"]]
    )
    users: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="passwords by user; then callers must authenticate (digest)",
        examples=[{"pbx": "a long password"}],
    )
    public_host: str | None = Field(
        None, description="the gateway's address as peers see it, behind a NAT", examples=["203.0.113.7"]
    )
    rtp_ports: tuple[int, int] = Field((10_000, 10_999), description="first and last port for media; a leg takes two")
    min_session_s: int = Field(90, ge=90, description="shortest session timer accepted (RFC 4028), in seconds")

    call_id_header: str = Field(
        "X-Call-ID", description="header with the call id; without it the dialled name counts, then Call-ID"
    )
    leg_header: str = Field("X-Leg", description="header with the leg's name, of a plain call")
    role_header: str = Field("X-Role", description="header with the leg's role, of a plain call")
    tenant_header: str = Field(
        "X-Tenant", description="header with the tenant; it is trusted, so only for trusted peers"
    )
    tenant: str | None = Field(
        None, description="the tenant of all SIP calls; then tenant_header is not read", examples=["blue"]
    )
    user_pattern: Annotated[str, AfterValidator(_pattern)] = Field(
        r"(?P<call_id>.+)-(?P<leg>caller|callee|agent|customer)",
        description="regular expression for the dialled name, as in sip:4711-caller@gateway, with the groups call_id, "
        "leg and role",
    )
    participants: dict[str, Literal["caller", "callee", "agent", "customer"]] = Field(
        default_factory=dict,
        description="role of a recorded participant, by address; * matches anything",
        examples=[{"sip:agent*@pbx.example.com": "agent"}],
    )
    allow_mixed: bool = Field(
        False, description="accept recordings that mix the speakers in one stream", examples=[True]
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> SipSettings:
        addresses = {field: getattr(self, field) for field in ("udp", "tcp", "tls")}
        listening = {field: split_address(field, value)[0] for field, value in addresses.items() if value}
        if not listening:
            raise ValueError("udp, tcp, tls: expected at least one address to listen on")
        if self.tls and not (self.tls_certificate and self.tls_key):
            raise ValueError("tls: tls_certificate and tls_key must be set, too")
        for field, host in listening.items():
            mutual = field == "tls" and self.tls_client_ca
            if not (self.allow_ips or self.users or mutual or ipaddress.ip_address(host).is_loopback):
                raise ValueError(f"{field}: {host} is reachable by others, so `allow_ips` or `users` must be set")
        first, last = self.rtp_ports
        if not 1024 <= first < last < 1 << 16:
            raise ValueError(f"rtp_ports: expected two ports from 1024 to 65535 in order, got {first}, {last}")
        return self
