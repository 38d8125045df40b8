"""Bandwidth's <StartStream>.  [S]

Source: Bandwidth, "StartStream" (BXML); the messages as its partners' readers have them: `eventType`, a start with
`metadata`, then `track` and `payload` at top level, PCMU at 8 kHz.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import Formats, TrackDialect, audio_format, check_tracks, decode, required
from gateway.ingest.events import IngestEvent, StreamStarted, StreamStopped


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str = "audio/pcmu"
    sample_rate: int | str = 8000


class _Track(msgspec.Struct, rename="camel"):
    name: str
    media_format: _MediaFormat = msgspec.field(default_factory=_MediaFormat)


class _Metadata(msgspec.Struct, rename="camel"):
    call_id: str
    tracks: Annotated[list[str | _Track], msgspec.Meta(min_length=1)]


class _Message(msgspec.Struct, rename="camel"):
    event_type: Annotated[str, msgspec.Meta(min_length=1)]
    metadata: _Metadata | None = None
    stream_params: dict[str, str] | None = None
    track: str | None = None
    payload: bytes | None = None


class _Kind(msgspec.Struct, rename="camel"):
    """A `stop` has metadata too, and we need none of it."""

    event_type: Annotated[str, msgspec.Meta(min_length=1)]


_decode = msgspec.json.Decoder(_Message).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode


class Bandwidth(TrackDialect):
    """One Bandwidth stream: legs ``inbound`` and ``outbound`` of the call named by its callId."""

    source = "bandwidth"
    track_field = "track"
    formats: ClassVar[Formats] = {"audio/pcmu": ("mulaw", (8000,)), "pcmu": ("mulaw", (8000,))}

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one text frame. See `Dialect.receive`."""
        kind = decode(_decode_kind, message).event_type
        if kind not in ("start", "media"):
            return [StreamStopped()] if kind == "stop" else []
        decoded = decode(_decode, message)
        if kind == "media":
            return [self.audio(required("track", decoded.track), required("payload", decoded.payload))]
        return [self._start(required("metadata", decoded.metadata), decoded.stream_params or {})]

    def _start(self, metadata: _Metadata, parameters: dict[str, str]) -> StreamStarted:
        call_id = names.call_id("metadata.callId", metadata.call_id)
        tracks = [track if isinstance(track, _Track) else _Track(track) for track in metadata.tracks]
        check_tracks("metadata.tracks", [track.name for track in tracks])
        formats = {
            track.name: audio_format(
                "metadata.tracks.mediaFormat",
                track.media_format.encoding,
                track.media_format.sample_rate,
                self.formats,
            )
            for track in tracks
        }
        return self.begin(call_id, formats, parameters)
