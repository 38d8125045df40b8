"""Exotel's Stream and Voicebot applets: the caller only.  [S]

Source: Exotel, "WebSocket protocol" of AgentStream: snake_case, raw 16-bit little-endian PCM of about 100 ms per
message; a track is not named, because there is only one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import (
    Formats,
    Number,
    Reader,
    TrackDialect,
    audio_format,
    media_time_ms,
    parameters_of,
)
from gateway.ingest.events import IngestEvent, StreamStopped

CALLER = "caller"
_PCM_HZ = (8000, 16_000, 24_000)


class _Message(msgspec.Struct, tag_field="event"):
    pass


class _MediaFormat(msgspec.Struct):
    sample_rate: Number = 8000
    encoding: str = "audio/x-raw"


class _StartDetails(msgspec.Struct):
    call_sid: str | int
    media_format: _MediaFormat
    stream_sid: str | int | None = None
    custom_parameters: Any = None


class _Start(_Message, tag="start"):
    start: _StartDetails


class _MediaDetails(msgspec.Struct):
    payload: bytes
    timestamp: Number | None = None


class _Media(_Message, tag="media"):
    media: _MediaDetails


class _Stop(_Message, tag="stop"):
    pass


_reader: Reader[_Start | _Media | _Stop] = Reader(
    _Start | _Media | _Stop, "event", ("start", "media", "stop"), ("connected", "dtmf", "mark", "clear")
)


class Exotel(TrackDialect):
    """One Exotel stream: leg ``caller`` of the call named by its call_sid."""

    source = "exotel"
    # Versions of the documentation use three names for the same format.
    formats: ClassVar[Formats] = {
        "audio/x-raw": ("s16le", _PCM_HZ),
        "raw/slin": ("s16le", _PCM_HZ),
        "base64": ("s16le", _PCM_HZ),
        "audio/x-mulaw": ("mulaw", (8000,)),
    }

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one text frame. See `Dialect.receive`."""
        decoded = _reader.read(message)
        if isinstance(decoded, _Media):
            media = decoded.media
            start_ms = media_time_ms("media.timestamp", media.timestamp)
            return self.audio(CALLER, media.payload, start_ms=start_ms)
        if isinstance(decoded, _Start):
            return self._start(decoded.start)
        return decoded if isinstance(decoded, list) else [StreamStopped()]

    def _start(self, start: _StartDetails) -> list[IngestEvent]:
        call_id = names.call_id("start.call_sid", str(start.call_sid))
        wire = start.media_format
        audio = audio_format(
            "start.media_format", wire.encoding, wire.sample_rate, self.formats, rate_key="sample_rate"
        )
        return self.begin(call_id, {CALLER: audio}, parameters_of(start.custom_parameters), str(start.stream_sid or ""))
