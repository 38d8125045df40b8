"""Events of all attach points: a stream starts, audio arrives, a stream stops.  [S]

A *stream* is one connection with one or more *legs*; a *leg* is one speaker of one call. The dialect names the leg
once, from the protocol's fields; later stages do not change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NewType, Protocol

import msgspec

CallId = NewType("CallId", str)
LegId = NewType("LegId", str)

Encoding = Literal["mulaw", "alaw", "s16le", "s16be", "g722", "opus"]
Direction = Literal["received_from_party", "sent_to_party"]
Role = Literal["caller", "callee", "agent", "customer", "unknown"]
Separation = Literal["separate", "mixed"]
"""Whether each leg is one speaker, or one leg mixes all; then no result concerns a single speaker."""

REORDER_PAYLOADS = 5
"""100 ms of 20 ms packets: enough for usual jitter, and much less than a hop."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Format of a leg's payloads. Always one channel: stereo is split before."""

    encoding: Encoding
    rate_hz: int
    """Rate of the decoded audio; 16000 for G.722, although its RTP clock is 8000 (RFC 3551, 4.5.2)."""


@dataclass(frozen=True, slots=True)
class LegDescription:
    """One speaker of a stream."""

    leg: LegId
    format: AudioFormat
    role: Role = "unknown"
    """From the settings or the peer's parameters; never guessed."""
    direction: Direction = "received_from_party"
    """Whether the audio comes from the party, or is played to it, which may include prompts and hold music."""
    reorder_payloads: int = REORDER_PAYLOADS
    """Size of the jitter buffer, in payloads, if they are numbered."""


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """A peer starts to send the audio of one or more legs of a call."""

    call_id: CallId
    source: str
    """The attach point: ``twilio``, ``plain``, ``whip``."""
    legs: tuple[LegDescription, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    """The peer's own parameters, e.g. Twilio's ``customParameters``."""
    separation: Separation = "separate"
    tenant: str | None = None
    """The tenant, if the gateway serves several."""
    max_call_s: float | None = None
    """Limit on its duration in seconds; None: that of the settings."""


class AudioReceived(msgspec.Struct, frozen=True, gc=False):
    """One payload of one leg, in order of arrival, which may differ from the order of sending.

    A msgspec struct, since one is made per packet, and a frozen dataclass takes several times as long to make.
    """

    leg: LegId
    payload: bytes
    """Empty for a packet without speech that counts in the sequence: DTMF, comfort noise."""
    seq: int | None = None
    """The sender's counter for this leg, unwrapped, +1 per payload; None if the transport keeps the order."""
    start_ms: float | None = None
    """Media time of the first sample, any origin; None: directly after the payload before."""
    unreadable: str | None = None
    """The codec, if it was not negotiated: ``RTP payload type 18``; then `payload` is empty."""


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The peer ended the stream by a message."""

    reason: str = "stopped"


@dataclass(frozen=True, slots=True)
class MessageIgnored:
    """A message that is not needed; it is counted, and has no effect."""

    reason: str
    """A short stable word: ``unknown_event``, ``repeated_start``."""


IngestEvent = StreamStarted | AudioReceived | StreamStopped | MessageIgnored


class OpenStream(Protocol):
    """An accepted stream, to which a transport passes the audio. All calls are made on the event loop."""

    def receive(self, audio: AudioReceived) -> None:
        """Process one payload. Never waits. Raises ProtocolError if it cannot be decoded."""
        ...

    def close(self, reason: str) -> None:
        """End the stream's legs with verdicts. Idempotent. `reason` becomes `ended_by` of ``leg.ended``."""
        ...

    async def closed(self) -> str:
        """Wait until the gateway ends the stream (drain, call too long); return the reason."""
        ...


class Calls(Protocol):
    """The interface that attach points use to open streams."""

    def open(self, started: StreamStarted) -> OpenStream:
        """Accept a stream.

        Raises:
            DuplicateStream: one of its legs has a stream already.
            Forbidden: the call belongs to another tenant.
            Overloaded: the limit of calls is reached.
        """
        ...
