"""Plivo audio streaming.  [S]

Source: Plivo, "Audio Streaming"; plivo-python, `utils/signature_v3.py`. No ``connected``, timestamps in Unix time, and
the end is the end of the socket.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Annotated, ClassVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import (
    Formats,
    TrackDialect,
    audio_format,
    check_tracks,
    decode,
    required,
    whole_number,
)
from gateway.ingest.events import IngestEvent, StreamStarted, StreamStopped


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str
    sample_rate: int | str


class _Start(msgspec.Struct, rename="camel"):
    call_id: str
    media_format: _MediaFormat
    tracks: list[str] = msgspec.field(default_factory=lambda: ["inbound"])


class _Media(msgspec.Struct):
    payload: bytes
    timestamp: int | str
    track: str = "inbound"


class _Message(msgspec.Struct):
    event: Annotated[str, msgspec.Meta(min_length=1)]
    start: _Start | None = None
    media: _Media | None = None
    extra_headers: str | None = None


_decode = msgspec.json.Decoder(_Message).decode


class Plivo(TrackDialect):
    """One Plivo stream: legs ``inbound`` and ``outbound`` of the call named by its callId."""

    source = "plivo"
    formats: ClassVar[Formats] = {
        "audio/x-mulaw": ("mulaw", (8000,)),
        "audio/x-l16": ("s16le", (8000, 16_000)),
    }

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one text frame. See `Dialect.receive`."""
        decoded = decode(_decode, message)
        if decoded.event == "media":
            media = required("media", decoded.media)
            start_ms = whole_number("media.timestamp", media.timestamp)
            return [self.audio(media.track, media.payload, start_ms=start_ms)]
        if decoded.event == "start":
            return [self._start(required("start", decoded.start), decoded.extra_headers or "")]
        return [StreamStopped()] if decoded.event == "stop" else []  # not documented, but seen

    def _start(self, start: _Start, extra_headers: str) -> StreamStarted:
        call_id = names.call_id("start.callId", start.call_id)
        wire = start.media_format
        audio = audio_format("start.mediaFormat", wire.encoding, wire.sample_rate, self.formats)
        check_tracks("start.tracks", start.tracks)
        return self.begin(call_id, dict.fromkeys(start.tracks, audio), read_extra_headers(extra_headers))


def read_extra_headers(text: str) -> dict[str, str]:
    """Read ``k=v;k2=v2``, or ``{X-PH-k: v, …}`` as some editions have it; the prefix goes."""
    pairs = (re.split(r"[=:]", part, maxsplit=1) for part in re.split(r"[;,]", text.strip().strip("{}")))
    return {re.sub(r"(?i)^x-ph-", "", pair[0].strip(" \"'")): pair[1].strip(" \"'") for pair in pairs if len(pair) == 2}


def signature_matches(auth_token: str, url: str, nonce: str, signatures: str) -> bool:
    """Whether one of `signatures` (header X-Plivo-Signature-V3, commas between) is Plivo's for an upgrade to `url`.

    It is base64(HMAC-SHA256(auth token, URL with its query sorted + "." + nonce)); whether the websocket's scheme was
    signed or that of HTTP is not said, so both are tried.
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
