"""Telnyx media streaming.  [S]

Source: Telnyx, "Stream call media over WebSocket" (AsyncAPI): snake_case, RTP payloads, no guaranteed order; `chunk`
defines the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from gateway.ingest import names
from gateway.ingest.dialects.tracks import (
    Formats,
    Number,
    Reader,
    TrackDialect,
    audio_format,
    parameters_of,
    whole_number,
)
from gateway.ingest.events import IngestEvent, StreamStopped


class _Message(msgspec.Struct, tag_field="event"):
    pass


class _MediaFormat(msgspec.Struct):
    encoding: str
    sample_rate: Number | None = None
    channels: Number | None = None


class _StartDetails(msgspec.Struct):
    call_control_id: str | int
    media_format: _MediaFormat
    client_state: Any = None
    custom_parameters: Any = None
    """An object in the start's reference; a list of names and values is how the command that begins a stream has them.
    """


class _Start(_Message, tag="start"):
    start: _StartDetails
    stream_id: str | int | None = None


class _MediaDetails(msgspec.Struct):
    payload: bytes
    track: str | None = "inbound"
    chunk: Number | None = None


class _Media(_Message, tag="media"):
    media: _MediaDetails


class _Stop(_Message, tag="stop"):
    pass


_reader: Reader[_Start | _Media | _Stop] = Reader(
    _Start | _Media | _Stop, "event", ("start", "media", "stop"), ("connected", "dtmf", "mark", "error")
)


class Telnyx(TrackDialect):
    """One Telnyx stream: legs ``inbound`` and ``outbound`` of the call named by its call_control_id.

    The start does not list the tracks, so both legs exist; if only one is sent, the other stays silent.
    """

    source = "telnyx"
    reorder_payloads = 10
    formats: ClassVar[Formats] = {
        "pcmu": ("mulaw", (8000,)),
        "pcma": ("alaw", (8000,)),
        "g722": ("g722", (8000, 16_000)),
        "opus": ("opus", (8000, 16_000, 48_000)),
        "l16": ("s16le", (8000, 16_000, 24_000, 48_000)),  # converted by `_LittleEndian`
    }

    def __init__(self, roles: Mapping[str, str] | None = None) -> None:
        """See `TrackDialect`."""
        super().__init__(roles)
        self._little_endian: _LittleEndian | None = None

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one text frame. See `Dialect.receive`."""
        decoded = _reader.read(message)
        if isinstance(decoded, _Media):
            media = decoded.media
            seq = None if media.chunk in (None, "") else int(whole_number("media.chunk", media.chunk))
            return self.audio(media.track, media.payload, seq=seq)
        if isinstance(decoded, _Start):
            return self._start(decoded.start, str(decoded.stream_id or ""))
        return decoded if isinstance(decoded, list) else [StreamStopped()]

    def payload(self, payload: bytes) -> bytes:
        """See `TrackDialect`."""
        return self._little_endian.convert(payload) if self._little_endian else payload

    def _start(self, start: _StartDetails, stream_id: str) -> list[IngestEvent]:
        call_id = names.call_id("start.call_control_id", str(start.call_control_id))
        wire = start.media_format
        audio = audio_format(
            "start.media_format",
            wire.encoding,
            wire.sample_rate,
            self.formats,
            rate_key="sample_rate",
            channels=wire.channels,
        )
        if audio.encoding == "s16le" and self._little_endian is None:
            self._little_endian = _LittleEndian()
        given = start.custom_parameters
        if isinstance(given, list):
            given = {str(one.get("name")): one.get("value") for one in given if isinstance(one, dict)}
        parameters = parameters_of(given)
        if isinstance(start.client_state, str) and start.client_state:
            parameters.setdefault("client_state", start.client_state)
        return self.begin(call_id, {"inbound": audio, "outbound": audio}, parameters, stream_id)


class _LittleEndian:
    """Converts linear samples of unknown byte order: RTP's is big-endian, but both occur.

    Audio is smooth, and noise in the wrong byte order: the order with the smaller sum of differences so far is the
    right one.
    """

    def __init__(self) -> None:
        self._steps = {">i2": 0.0, "<i2": 0.0}

    def convert(self, payload: bytes) -> bytes:
        """Return `payload` in little-endian order."""
        if len(payload) % 2:
            return payload  # the decoder raises an error
        for order in self._steps:
            self._steps[order] += float(np.abs(np.diff(np.frombuffer(payload, order).astype(np.int32))).sum())
        is_big = self._steps[">i2"] <= self._steps["<i2"]
        return np.frombuffer(payload, ">i2").astype("<i2").tobytes() if is_big else payload
