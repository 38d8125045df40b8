"""Asterisk AudioSocket: one speaker on one TCP connection.  [S]

Source: Asterisk, ``res/res_audiosocket.c`` and ``include/asterisk/res_audiosocket.h``. A frame has a type (one byte),
the length of the payload (two bytes, big-endian) and the payload. The first frame has a UUID, the only information
about the call. The dialplan chooses it; `identify` maps it to a speaker.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from gateway.errors import ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    CallId,
    IngestEvent,
    LegDescription,
    LegId,
    MessageIgnored,
    Role,
    StreamStarted,
    StreamStopped,
)

_HANGUP, _UUID, _DTMF, _ERROR = 0x00, 0x01, 0x03, 0xFF
_SLIN = 0x10
# Signed linear, little-endian, mono; all but the first since Asterisk 20.17, 21.12, 22.7, 23.1.
_RATES_HZ = {
    _SLIN: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
_HEADER = struct.Struct(">BH")
HANGUP = _HEADER.pack(_HANGUP, 0)
"""The only frame besides audio that Asterisk accepts: it ends the channel, or the dialplan's `AudioSocket()`."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """The speaker whose audio a connection carries."""

    call_id: CallId
    leg: LegId
    role: Role


class AudioSocket:
    """One AudioSocket connection."""

    subprotocol = None

    def __init__(self, identify: Callable[[UUID], Speaker], slin_rate_hz: int = 8_000) -> None:
        """Parse one connection.

        Args:
            identify: returns the speaker of a UUID; raises RequestError for an unknown one.
            slin_rate_hz: rate of type 0x10. Asterisk before the releases above sends all audio under this type,
                whatever the channel's rate.
        """
        self._identify = identify
        self._rates_hz = _RATES_HZ | {_SLIN: slin_rate_hz}
        self._buffer = b""
        self._speaker: Speaker | None = None
        self._uuid: UUID | None = None
        self._rate_hz = 0

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse bytes from the socket, in pieces of any size. See `Dialect.receive`."""
        if isinstance(message, str):
            raise WrongFrameKind("message: expected bytes, got text")
        data, at = self._buffer + message, 0
        events: list[IngestEvent] = []
        while len(data) >= at + _HEADER.size:
            kind, length = _HEADER.unpack_from(data, at)
            start, end = at + _HEADER.size, at + _HEADER.size + length
            if len(data) < end:
                break
            at = end
            events += self._frame(kind, data[start:end])
        self._buffer = data[at:]
        return events

    def replies(self) -> list[str | bytes]:
        """Return nothing."""
        return []

    def goodbye(self, reason: str) -> list[str | bytes]:  # noqa: ARG002  AudioSocket cannot send a reason
        """Return the frame that hangs up."""
        return [HANGUP]

    def _frame(self, kind: int, payload: bytes) -> list[IngestEvent]:
        if kind == _HANGUP:
            return [StreamStopped("hangup")]
        if kind == _ERROR:
            return [StreamStopped(f"asterisk_error_{payload[0]}" if payload else "asterisk_error")]
        if kind == _UUID:
            return self._introduce(payload)
        if self._speaker is None:
            raise ProtocolError(f"type: expected the UUID (0x01) first, got 0x{kind:02x}")
        if kind == _DTMF:  # no audio, but it shows that the peer is alive
            return [AudioReceived(self._speaker.leg, b"")] if self._rate_hz else []
        if kind not in self._rates_hz:
            return [MessageIgnored("unknown_type")]
        return self._audio(self._speaker, self._rates_hz[kind], payload)

    def _introduce(self, payload: bytes) -> list[IngestEvent]:
        if len(payload) != 16:
            raise ProtocolError(f"uuid: expected 16 bytes, got {len(payload)}")
        uuid = UUID(bytes=payload)
        if self._uuid is not None:
            if uuid != self._uuid:
                raise ProtocolError("type: expected the UUID (0x01) once, got another one")
            return [MessageIgnored("repeated_start")]
        self._speaker, self._uuid = self._identify(uuid), uuid
        return []

    def _audio(self, speaker: Speaker, rate_hz: int, payload: bytes) -> list[IngestEvent]:
        """Return the audio. The first frame determines the rate, so the stream starts with it and not with the UUID."""
        audio = AudioReceived(speaker.leg, payload)
        if self._rate_hz:
            if rate_hz != self._rate_hz:
                raise UnsupportedMedia(f"type: expected {self._rate_hz} Hz as at the start, got {rate_hz} Hz")
            return [audio]
        self._rate_hz = rate_hz
        leg = LegDescription(speaker.leg, AudioFormat("s16le", rate_hz), speaker.role)
        return [StreamStarted(speaker.call_id, "audiosocket", (leg,)), audio]
