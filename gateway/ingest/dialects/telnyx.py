"""Telnyx media streaming.  [S]

Source: Telnyx, "Stream call media over WebSocket" (AsyncAPI): snake_case, the payloads of RTP packets, and no promise
of order, so that `chunk` is what puts them right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from gateway.ingest import names
from gateway.ingest.dialects.tracks import (
    Formats,
    TrackDialect,
    audio_format,
    decode,
    required,
    whole_number,
)
from gateway.ingest.events import IngestEvent, StreamStarted, StreamStopped


class _MediaFormat(msgspec.Struct):
    encoding: str
    sample_rate: int | str
    channels: int | str = 1


class _Parameter(msgspec.Struct):
    name: str
    value: str


class _Start(msgspec.Struct):
    call_control_id: str
    media_format: _MediaFormat
    call_session_id: str = ""
    client_state: str | None = None
    custom_parameters: dict[str, str] | list[_Parameter] | None = None
    """An object in the start's reference; the list is how the command that begins the stream takes them."""


class _Media(msgspec.Struct):
    track: str
    payload: bytes
    chunk: int | str


class _Message(msgspec.Struct):
    event: Annotated[str, msgspec.Meta(min_length=1)]
    start: _Start | None = None
    media: _Media | None = None


_decode = msgspec.json.Decoder(_Message).decode


class Telnyx(TrackDialect):
    """One Telnyx stream: legs ``inbound`` and ``outbound`` of the call named by its call_control_id.

    The start does not say which tracks come, so both legs are there, and one of them stays silent where only one does.
    """

    source = "telnyx"
    reorder_payloads = 10
    formats: ClassVar[Formats] = {
        "pcmu": ("mulaw", (8000,)),
        "pcma": ("alaw", (8000,)),
        "g722": ("g722", (8000, 16_000)),
        "opus": ("opus", (8000, 16_000, 48_000)),
        "l16": ("s16le", (8000, 16_000, 24_000, 48_000)),  # made so by `_LittleEndian`
    }

    def __init__(self, roles: Mapping[str, str] | None = None) -> None:
        """See `TrackDialect`."""
        super().__init__(roles)
        self._little_endian: _LittleEndian | None = None

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one text frame. See `Dialect.receive`."""
        decoded = decode(_decode, message)
        if decoded.event == "media":
            media = required("media", decoded.media)
            payload = self._little_endian.convert(media.payload) if self._little_endian else media.payload
            return [self.audio(media.track, payload, seq=int(whole_number("media.chunk", media.chunk)))]
        if decoded.event == "start":
            return [self._start(required("start", decoded.start))]
        return [StreamStopped()] if decoded.event == "stop" else []

    def _start(self, start: _Start) -> StreamStarted:
        call_id = names.call_id("start.call_control_id", start.call_control_id)
        wire = start.media_format
        channels = whole_number("start.media_format.channels", wire.channels)
        audio = audio_format(
            "start.media_format",
            wire.encoding,
            wire.sample_rate,
            self.formats,
            rate_key="sample_rate",
            channels=channels,
        )
        if audio.encoding == "s16le":
            self._little_endian = _LittleEndian()
        given = start.custom_parameters or {}
        parameters = {one.name: one.value for one in given} if isinstance(given, list) else given
        if start.client_state:
            parameters.setdefault("client_state", start.client_state)
        return self.begin(call_id, {"inbound": audio, "outbound": audio}, parameters)


class _LittleEndian:
    """Linear samples whose byte order is in dispute: RTP's is big-endian, and both have been met in the field.

    Sound is smooth, and read the wrong way round it is noise: the order with the smaller steps so far is the right one.
    """

    def __init__(self) -> None:
        self._steps = {">i2": 0.0, "<i2": 0.0}

    def convert(self, payload: bytes) -> bytes:
        """Return `payload` in little-endian order."""
        if len(payload) % 2:
            return payload  # the decoder refuses it
        for order in self._steps:
            self._steps[order] += float(np.abs(np.diff(np.frombuffer(payload, order).astype(np.int32))).sum())
        is_big = self._steps[">i2"] <= self._steps["<i2"]
        return np.frombuffer(payload, ">i2").astype("<i2").tobytes() if is_big else payload
