"""Settings of a UDP port for RTP without signalling.  [S]"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from gateway.errors import ProtocolError
from gateway.ingest import names
from gateway.ingest.rtp.voice import STATIC, RtpCodec, codec, srtp_session


def _host_port(value: str) -> str:
    split_address("listen", value)
    return value


def split_address(field: str, value: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; IPv6 in brackets. Raises ValueError naming `field`."""
    host, _, port = value.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 16:
        raise ValueError(f"{field}: expected ADDRESS:PORT, as in 10.0.0.5:5004, got {value!r:.60}")
    return host.strip("[]"), number


def _leg_name(value: str) -> str:
    try:
        return names.leg_id("legs", value)
    except ProtocolError as error:
        raise ValueError(str(error)) from None


HostPort = Annotated[str, AfterValidator(_host_port)]
LegName = Annotated[str, AfterValidator(_leg_name)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RtpVoice(BaseModel):
    """A speaker of an RTP port."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ssrc: int | None = Field(
        None, ge=0, lt=1 << 32, description="the RTP source that is this speaker; not set: any", examples=[1111]
    )
    role: Literal["caller", "callee", "agent", "customer"] | None = Field(
        None, description="role of the leg", examples=["caller"]
    )


class RtpPort(BaseModel):
    """A UDP port for one speaker, or for several with different SSRCs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: HostPort = Field(description="ADDRESS:PORT (UDP)", examples=["10.0.0.5:5004"])
    legs: dict[LegName, RtpVoice] = Field(
        min_length=1, description="the speakers of this port, by leg", examples=[{"alice": {"ssrc": 1111}}]
    )
    call_id: str | None = Field(
        None,
        description="the call of these legs; ports with the same id form one call. Not set: a new call each time",
        examples=["room-1234"],
    )
    tenant: str | None = Field(None, description="the tenant of this port's calls", examples=["blue"])
    payload_types: dict[int, str] = Field(
        default_factory=dict,
        description="encodings of dynamic payload types; 0, 8 and 9 are known",
        examples=[{"111": "opus/48000"}],
    )
    srtp_suite: str = Field("AES_CM_128_HMAC_SHA1_80", description="SRTP crypto suite (RFC 4568)")
    srtp_key: SecretStr | None = Field(
        None,
        description="SRTP master key and salt, 30 bytes in base64 (RFC 4568); then only SRTP is accepted",
        examples=["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk"],
    )
    allow_ips: tuple[Network, ...] = Field(
        (),
        description="networks that may send; beyond loopback this or srtp_key is required",
        examples=[["10.0.0.8/32"]],
    )

    @property
    def codecs(self) -> dict[int, RtpCodec]:
        """The codecs by payload type."""
        named = {number: codec(rtpmap) for number, rtpmap in self.payload_types.items()}
        return STATIC | {number: known for number, known in named.items() if known is not None}

    @model_validator(mode="after")
    def _is_consistent(self) -> RtpPort:
        try:
            if self.call_id is not None:
                names.call_id("call_id", self.call_id)
            if self.srtp_key is not None:
                srtp_session(self.srtp_suite, self.srtp_key.get_secret_value())
        except ProtocolError as error:
            raise ValueError(str(error)) from None
        for number, rtpmap in self.payload_types.items():
            if codec(rtpmap) is None or not 0 <= number < 128:
                raise ValueError(
                    "payload_types: expected 0 to 127 = opus/48000, PCMU/8000, PCMA/8000, G722/8000 or L16/RATE, "
                    f"got {number} = {rtpmap!r:.40}"
                )
        ssrcs = [voice.ssrc for voice in self.legs.values()]
        if len(ssrcs) > 1 and (None in ssrcs or len(set(ssrcs)) < len(ssrcs)):
            raise ValueError("legs: expected a different ssrc for each leg of a port")
        host = split_address("listen", self.listen)[0]
        if not (self.allow_ips or self.srtp_key or ipaddress.ip_address(host).is_loopback):
            raise ValueError(f"allow_ips: {host} is reachable by others, so `allow_ips` or `srtp_key` must be set")
        return self


def is_allowed(host: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of the networks; any address is if there are none.

    A peer address passed on by a proxy may be malformed; then it is in none.
    """
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
