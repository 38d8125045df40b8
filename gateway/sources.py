"""Rate limits by source address: one token bucket per address, in a table of bounded size.  [S]"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from typing import Annotated

from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import TooManyRequests
from gateway.ingest.rtp.settings import Network, is_allowed

RATE_LIMITED = Counter(
    "callscreen_rate_limited_total",
    "Requests refused because one source asked too often, by what it asked for.",
    ["what"],
)
MAX_SOURCES = 10_000
"""Addresses per table; beyond this the least recently active one is dropped."""
IPV6_NETWORK_BITS = 64
"""An IPv6 host usually has a whole /64 and could use another address each time, so the /64 is limited."""
BURST_S = 10.0
"""Requests of this many seconds may come at once."""

Rate = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class RateLimits(BaseModel):
    """Requests per second that one source address may make, in the long run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_s: Rate = Field(100.0, description="HTTP requests and websocket upgrades of one address")
    offers_per_s: Rate = Field(20.0, description="WebRTC offers of one address")
    invites_per_s: Rate = Field(20.0, description="SIP calls of one address, over any transport")
    audiosockets_per_s: Rate = Field(40.0, description="AudioSocket connections of one address")
    exempt: tuple[Network, ...] = Field(
        (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128")),
        description="networks without these limits; not set: this machine",
        examples=[["127.0.0.0/8", "10.0.0.0/8"]],
    )


class Sources:
    """One rate limit, applied to each source address. Times are in seconds of a monotonic clock."""

    def __init__(self, what: str, per_s: float, exempt: tuple[Network, ...], max_sources: int = MAX_SOURCES) -> None:
        """Allow each source `per_s` requests per second, and a burst of `BURST_S` seconds, at least one request.

        Args:
            what: name of the limited requests in the metric and in errors, in the plural.
            exempt: networks without the limit.
        """
        self._what = what
        self._per_s = per_s
        self._burst = max(1.0, per_s * BURST_S)
        self._exempt = exempt
        self._max_sources = max_sources
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Level and time of each bucket, least recently active first."""

    def __len__(self) -> int:
        """Number of sources in the table."""
        return len(self._levels)

    def take(self, address: str, now_s: float) -> None:
        """Count a request of `address`. Raises TooManyRequests; a refused request is not counted."""
        if self._exempt and is_allowed(address, self._exempt):
            return
        source = _source(address)
        level, at_s = self._levels.pop(source, (0.0, now_s))
        level = max(0.0, level - self._per_s * (now_s - at_s))
        refused = level + 1.0 > self._burst
        self._levels[source] = (level if refused else level + 1.0, now_s)
        if len(self._levels) > self._max_sources:
            self._levels.popitem(last=False)
        if refused:
            RATE_LIMITED.labels(self._what).inc()
            wait_s = math.ceil((level + 1.0 - self._burst) / self._per_s)
            raise TooManyRequests(f"{self._what}: expected at most {self._per_s:g} a second of one address", wait_s)


def _source(address: str) -> str:
    """Return the key of the bucket: the address, or its network for IPv6; other text unchanged."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
