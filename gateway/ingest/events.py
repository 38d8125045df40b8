"""What every way into the gateway boils down to: a stream starts, audio arrives, a stream stops.  [S]

A *stream* is one connection that carries one or more *legs*; a *leg* is one speaker of one call. The leg is named once,
by the dialect, from what the wire says, and never worked out again downstream.
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
"""Whether each leg is one speaker, or all of the call in one: then nothing it says can be put down to anyone."""

REORDER_PAYLOADS = 5
"""100 ms of 20 ms packets: what jitter reorders in practice, and well under one hop of the windows."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How the payloads of one leg are coded. Always one channel: a stereo wire is split before it gets here."""

    encoding: Encoding
    rate_hz: int
    """Rate of the decoded audio; for G.722 that is 16000 although its RTP clock says 8000 (RFC 3551, 4.5.2)."""


@dataclass(frozen=True, slots=True)
class LegDescription:
    """One speaker of the stream."""

    leg: LegId
    format: AudioFormat
    role: Role = "unknown"
    """As configured or as the peer's parameters say; never guessed."""
    direction: Direction = "received_from_party"
    """Whether the network got this audio from the party or plays it to them (then prompts and hold music are in it)."""
    reorder_payloads: int = REORDER_PAYLOADS
    """How many payloads wait for one that is missing, where they are counted."""


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """A peer began to send the audio of one or more legs of a call."""

    call_id: CallId
    source: str
    """The dialect: ``twilio``, ``plain``, ``whip``."""
    legs: tuple[LegDescription, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    """The peer's own parameters, e.g. Twilio's ``customParameters``."""
    separation: Separation = "separate"
    tenant: str | None = None
    """Whose call it is, where one gateway serves several."""
    max_call_s: float | None = None
    """How long it may last; None: as long as any call."""


class AudioReceived(msgspec.Struct, frozen=True, gc=False):
    """One payload of one leg, in the order it came off the wire (which need not be the order it was sent in).

    A struct, because it is made for every packet: a frozen dataclass takes several times as long to make.
    """

    leg: LegId
    payload: bytes
    """Empty for a packet that counts but holds no speech: DTMF, comfort noise."""
    seq: int | None = None
    """The sender's counter for this leg, unwrapped, +1 a payload; None where the wire keeps order without counting."""
    start_ms: float | None = None
    """Media time of the first sample on the sender's clock, any origin; None: right after the payload before."""
    unreadable: str | None = None
    """What codec it is in, where that is none that was agreed on: ``RTP payload type 18``; then `payload` is empty."""


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The peer said, in its dialect, that it is done."""

    reason: str = "stopped"


@dataclass(frozen=True, slots=True)
class MessageIgnored:
    """A message that nobody needs was let pass: it is counted, and changes nothing."""

    reason: str
    """A short stable word: ``unknown_event``, ``repeated_start``."""


IngestEvent = StreamStarted | AudioReceived | StreamStopped | MessageIgnored


class OpenStream(Protocol):
    """A stream that was let in: where a shell puts what its dialect hears. All calls are made on the event loop."""

    def receive(self, audio: AudioReceived) -> None:
        """Take one payload. Never waits. Raises ProtocolError when the payload cannot be decoded."""
        ...

    def close(self, reason: str) -> None:
        """End the stream's legs with their verdicts. Idempotent. `reason` goes into ``leg.ended``."""
        ...

    async def closed(self) -> str:
        """Wait until the gateway itself ends the stream (drain, call too long); returns the reason."""
        ...


class Calls(Protocol):
    """The rest of the gateway, as the doors see it."""

    def open(self, started: StreamStarted) -> OpenStream:
        """Let a stream in.

        Raises:
            DuplicateStream: one of its legs is taken.
            Forbidden: the call is another tenant's.
            Overloaded: there is no room.
        """
        ...
