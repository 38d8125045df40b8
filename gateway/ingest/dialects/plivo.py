"""Plivo audio streaming.  [S]

Source: Plivo, "Audio Streaming"; plivo-python, `utils/signature_v3.py`. There is no ``connected``, timestamps are in
Unix time, and the stream ends with the socket.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import (
    Formats,
    Number,
    Reader,
    TrackDialect,
    announced_tracks,
    audio_format,
    media_time_ms,
    parameters_of,
)
from gateway.ingest.events import IngestEvent, StreamStopped


class _Message(msgspec.Struct, tag_field="event"):
    pass


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str
    sample_rate: Number | None = None


class _StartDetails(msgspec.Struct, rename="camel"):
    call_id: str | int
    media_format: _MediaFormat
    tracks: list[str] | None = None
    stream_id: str | int | None = None


class _Start(_Message, tag="start"):
    start: _StartDetails
    extra_headers: Any = None


class _MediaDetails(msgspec.Struct):
    payload: bytes
    timestamp: Number | None = None
    track: str | None = "inbound"


class _Media(_Message, tag="media"):
    media: _MediaDetails


class _Stop(_Message, tag="stop"):
    """Undocumented, but received in practice."""


_reader: Reader[_Start | _Media | _Stop] = Reader(
    _Start | _Media | _Stop,
    "event",
    ("start", "media", "stop"),
    ("connected", "dtmf", "playedstream", "clearedaudio"),
)


class Plivo(TrackDialect):
    """One Plivo stream: legs ``inbound`` and ``outbound`` of the call named by its callId."""

    source = "plivo"
    formats: ClassVar[Formats] = {
        "audio/x-mulaw": ("mulaw", (8000,)),
        "audio/x-l16": ("s16le", (8000, 16_000)),
    }

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one text frame. See `Dialect.receive`."""
        decoded = _reader.read(message)
        if isinstance(decoded, _Media):
            media = decoded.media
            start_ms = media_time_ms("media.timestamp", media.timestamp)
            return self.audio(media.track, media.payload, start_ms=start_ms)
        if isinstance(decoded, _Start):
            return self._start(decoded.start, decoded.extra_headers)
        return decoded if isinstance(decoded, list) else [StreamStopped()]

    def _start(self, start: _StartDetails, extra_headers: object) -> list[IngestEvent]:
        call_id = names.call_id("start.callId", str(start.call_id))
        wire = start.media_format
        audio = audio_format("start.mediaFormat", wire.encoding, wire.sample_rate, self.formats)
        tracks = announced_tracks("start.tracks", start.tracks)
        parameters = (
            read_extra_headers(extra_headers) if isinstance(extra_headers, str) else parameters_of(extra_headers)
        )
        return self.begin(call_id, dict.fromkeys(tracks, audio), parameters, str(start.stream_id or ""))


def read_extra_headers(text: str) -> dict[str, str]:
    """Parse ``k=v;k2=v2``, or ``{X-PH-k: v, …}`` in other versions; the prefix is removed."""
    pairs = (re.split(r"[=:]", part, maxsplit=1) for part in re.split(r"[;,]", text.strip().strip("{}")))
    return {re.sub(r"(?i)^x-ph-", "", pair[0].strip(" \"'")): pair[1].strip(" \"'") for pair in pairs if len(pair) == 2}


def signature_matches(auth_token: str, url: str, nonce: str, signatures: str) -> bool:
    """Whether one of `signatures` (header X-Plivo-Signature-V3, separated by commas) is Plivo's for an upgrade to
    `url`.

    A signature is base64(HMAC-SHA256(auth token, URL with its query sorted + "." + nonce)). The documentation does not
    say whether the websocket's scheme or that of HTTP is signed, so both are tried.
    """
    parts = urlsplit(url)
    query = "&".join(f"{key}={value}" for key, value in sorted(parse_qsl(parts.query, keep_blank_values=True)))
    rest = f"{parts.netloc}{parts.path}" + (f"?{query}" if query else "")
    schemes = ("wss", "https") if parts.scheme in ("wss", "https") else ("ws", "http")
    matches = [
        hmac.compare_digest(given.strip().encode(), _signature(auth_token, f"{scheme}://{rest}.{nonce}"))
        for given in signatures.split(",")
        for scheme in schemes
    ]
    return any(matches)


def _signature(auth_token: str, text: str) -> bytes:
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha256).digest())
