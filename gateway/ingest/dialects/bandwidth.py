"""Bandwidth's <StartStream>.  [S]

Source: Bandwidth, "StartStream" (BXML); details of the messages from partners' implementations: `eventType`, a start
with `metadata`, then `track` and `payload` at top level, PCMU at 8 kHz.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import (
    Formats,
    Number,
    Reader,
    TrackDialect,
    audio_format,
    check_tracks,
    parameters_of,
    track_name,
)
from gateway.ingest.events import IngestEvent, StreamStopped


class _Message(msgspec.Struct, tag_field="eventType", rename="camel"):
    pass


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str | None = "audio/pcmu"
    sample_rate: Number | None = 8000


class _Track(msgspec.Struct, rename="camel"):
    name: str
    media_format: _MediaFormat | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    call_id: str | int
    tracks: Annotated[list[str | _Track], msgspec.Meta(min_length=1)]
    stream_id: str | int | None = None


class _Start(_Message, tag="start"):
    metadata: _Metadata
    stream_params: Any = None


class _Media(_Message, tag="media"):
    payload: bytes
    track: str | None = None


class _Stop(_Message, tag="stop"):
    pass


_reader: Reader[_Start | _Media | _Stop] = Reader(_Start | _Media | _Stop, "eventType", ("start", "media", "stop"))


class Bandwidth(TrackDialect):
    """One Bandwidth stream: legs ``inbound`` and ``outbound`` of the call named by its callId."""

    source = "bandwidth"
    track_field = "track"
    formats: ClassVar[Formats] = {"audio/pcmu": ("mulaw", (8000,)), "pcmu": ("mulaw", (8000,))}

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one text frame. See `Dialect.receive`."""
        decoded = _reader.read(message)
        if isinstance(decoded, _Media):
            return self.audio(decoded.track, decoded.payload)
        if isinstance(decoded, _Start):
            return self._start(decoded.metadata, parameters_of(decoded.stream_params))
        return decoded if isinstance(decoded, list) else [StreamStopped()]

    def _start(self, metadata: _Metadata, parameters: dict[str, str]) -> list[IngestEvent]:
        call_id = names.call_id("metadata.callId", str(metadata.call_id))
        tracks = [track if isinstance(track, _Track) else _Track(track) for track in metadata.tracks]
        named = [track_name(track.name) for track in tracks]
        check_tracks("metadata.tracks", named)
        wires = [track.media_format or _MediaFormat() for track in tracks]
        formats = [
            audio_format("metadata.tracks.mediaFormat", wire.encoding, wire.sample_rate, self.formats) for wire in wires
        ]
        return self.begin(call_id, dict(zip(named, formats, strict=True)), parameters, str(metadata.stream_id or ""))
