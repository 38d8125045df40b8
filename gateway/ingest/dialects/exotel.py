"""Exotel's Stream and Voicebot applets: the caller, and only the caller.  [S]

Source: Exotel, "WebSocket protocol" of AgentStream: snake_case, raw 16-bit little-endian PCM of about 100 ms a message,
and no word for tracks, because there is but one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import Formats, TrackDialect, audio_format, decode, required, whole_number
from gateway.ingest.events import IngestEvent, StreamStarted, StreamStopped

CALLER = "caller"
_PCM_HZ = (8000, 16_000, 24_000)


class _MediaFormat(msgspec.Struct):
    sample_rate: int | str = 8000
    encoding: str = "audio/x-raw"


class _Start(msgspec.Struct):
    call_sid: str
    media_format: _MediaFormat
    custom_parameters: dict[str, str] | None = None


class _Media(msgspec.Struct):
    payload: bytes
    timestamp: int | str


class _Message(msgspec.Struct):
    event: Annotated[str, msgspec.Meta(min_length=1)]
    start: _Start | None = None
    media: _Media | None = None


_decode = msgspec.json.Decoder(_Message).decode


class Exotel(TrackDialect):
    """One Exotel stream: leg ``caller`` of the call named by its call_sid."""

    source = "exotel"
    # The documentation's own editions call the same samples by three names.
    formats: ClassVar[Formats] = {
        "audio/x-raw": ("s16le", _PCM_HZ),
        "raw/slin": ("s16le", _PCM_HZ),
        "base64": ("s16le", _PCM_HZ),
        "audio/x-mulaw": ("mulaw", (8000,)),
    }

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one text frame. See `Dialect.receive`."""
        decoded = decode(_decode, message)
        if decoded.event == "media":
            media = required("media", decoded.media)
            return [self.audio(CALLER, media.payload, start_ms=whole_number("media.timestamp", media.timestamp))]
        if decoded.event == "start":
            return [self._start(required("start", decoded.start))]
        return [StreamStopped()] if decoded.event == "stop" else []

    def _start(self, start: _Start) -> StreamStarted:
        call_id = names.call_id("start.call_sid", start.call_sid)
        wire = start.media_format
        audio = audio_format(
            "start.media_format", wire.encoding, wire.sample_rate, self.formats, rate_key="sample_rate"
        )
        return self.begin(call_id, {CALLER: audio}, start.custom_parameters or {})
