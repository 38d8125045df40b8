"""Settings of AudioSocket, and how a UUID identifies a speaker.  [S]

AudioSocket has no authentication and no encryption, only a UUID. A UUID is valid if it is listed in the settings, or if
it proves that its creator knows the secret:

    bytes 0-5    number of the call, any 48 bits; in hexadecimal they are the call's id
    bytes 6-7    version 8 (RFC 9562 section 5.8) and 12 bits: the index of the leg in `legs`
    bytes 8-15   variant, then the first 64 bits of HMAC-SHA256(secret, bytes 0-7) without the two highest
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.errors import Forbidden
from gateway.ingest import names
from gateway.ingest.dialects.audiosocket import Speaker
from gateway.ingest.events import CallId, LegId
from gateway.ingest.rtp.settings import HostPort, LegName, Network


class AnnouncedLeg(BaseModel):
    """Call and leg of a listed UUID."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    call_id: LegName = Field(description="the call id", examples=["line-7"])
    leg: LegName = Field(description="the leg's name", examples=["caller"])
    role: Literal["caller", "callee", "agent", "customer"] | None = Field(
        None, description="role of the leg; not set: by the leg's name", examples=["caller"]
    )


class AudioSocketDoor(BaseModel):
    """The TCP port for Asterisk's AudioSocket."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: HostPort = Field("127.0.0.1:9092", description="ADDRESS:PORT (TCP)")
    allow_ips: tuple[Network, ...] = Field(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")), description="networks that may connect"
    )
    uuids: dict[UUID, AnnouncedLeg] = Field(
        default_factory=dict,
        description="call and leg of a fixed UUID",
        examples=[{"40325ec2-5efd-4bd3-805f-53576e581d13": {"call_id": "line-7", "leg": "caller"}}],
    )
    secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="also accept UUIDs made with this secret",
        examples=["at least sixteen characters"],
    )
    legs: tuple[LegName, ...] = Field(("caller", "callee"), description="names of the legs of such UUIDs, by index")
    tenant: str | None = Field(None, description="the tenant of all AudioSocket calls", examples=["blue"])
    slin_rate_hz: int = Field(
        8000, ge=8000, le=192_000, description="rate of audio type 0x10, for Asterisk before 20.17, 21.12, 22.7, 23.1"
    )

    def identify(self, uuid: UUID, roles: Mapping[str, str]) -> Speaker:
        """Return the speaker of a UUID.

        Args:
            uuid: as received.
            roles: roles by leg name, if the settings of the UUID have none.

        Raises:
            Forbidden: the UUID is not listed and was not made with the secret.
        """
        announced = self.uuids.get(uuid)
        if announced is not None:
            leg = LegId(announced.leg)
            return Speaker(CallId(announced.call_id), leg, announced.role or names.role(leg, {}, roles))
        if self.secret is None or not hmac.compare_digest(uuid.bytes, _signed(self.secret, uuid.bytes[:8])):
            raise Forbidden("uuid: expected one of `audiosocket.uuids`, or one made with `audiosocket.secret`")
        index = int.from_bytes(uuid.bytes[6:8], "big") & 0x0FFF
        leg = LegId(self.legs[index] if index < len(self.legs) else f"party.{index}")
        return Speaker(CallId(uuid.bytes[:6].hex()), leg, names.role(leg, {}, roles))


def _signed(secret: SecretStr, head: bytes) -> bytes:
    """Return the only UUID of this secret that starts with `head`, 8 bytes; empty if its version is not 8."""
    if head[6] >> 4 != 8:
        return b""
    mac = hmac.new(secret.get_secret_value().encode(), head, hashlib.sha256).digest()
    return head + bytes([mac[0] & 0x3F | 0x80]) + mac[1:8]
