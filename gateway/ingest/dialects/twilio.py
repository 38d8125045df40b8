"""Twilio Media Streams.  [S]

Source: Twilio, "Media Streams - WebSocket messages"; "Security - Validating requests are coming from Twilio". JSON text
frames: ``connected``, ``start``, then ``media`` of one or both tracks, interleaved, ``stop``. Twilio sends numbers as
strings, some emulators as numbers; both are accepted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import urlsplit, urlunsplit

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


class _Message(msgspec.Struct, tag_field="event", rename="camel"):
    pass


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str | None = None
    sample_rate: Number | None = None
    channels: Number | None = None


class _StartDetails(msgspec.Struct, rename="camel"):
    call_sid: str | int
    tracks: list[str] | None = None
    media_format: _MediaFormat | None = None
    stream_sid: str | int | None = None
    custom_parameters: Any = None


class _Start(_Message, tag="start"):
    start: _StartDetails
    stream_sid: str | int | None = None


class _MediaDetails(msgspec.Struct, rename="camel"):
    payload: bytes  # msgspec decodes the base64
    track: str | None = "inbound"
    timestamp: Number | None = None


class _Media(_Message, tag="media"):
    media: _MediaDetails


class _Stop(_Message, tag="stop"):
    pass


_reader: Reader[_Start | _Media | _Stop] = Reader(
    _Start | _Media | _Stop, "event", ("start", "media", "stop"), ("connected", "dtmf", "mark")
)


class Twilio(TrackDialect):
    """One Twilio media stream: legs ``inbound`` and ``outbound`` of the call named by its callSid."""

    source = "twilio"
    formats: ClassVar[Formats] = {"audio/x-mulaw": ("mulaw", (8000,))}

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one text frame. See `Dialect.receive`."""
        decoded = _reader.read(message)
        if isinstance(decoded, _Media):  # first, since there are 50 per second and track
            media = decoded.media
            # `chunk` is not needed, as the socket keeps the order; whether tracks share it is not documented.
            start_ms = media_time_ms("media.timestamp", media.timestamp)
            return self.audio(media.track, media.payload, start_ms=start_ms)
        if isinstance(decoded, _Start):
            return self._start(decoded.start, str(decoded.start.stream_sid or decoded.stream_sid or ""))
        return decoded if isinstance(decoded, list) else [StreamStopped()]

    def _start(self, start: _StartDetails, stream_sid: str) -> list[IngestEvent]:
        call_id = names.call_id("start.callSid", str(start.call_sid))
        wire = start.media_format or _MediaFormat()
        audio = audio_format("start.mediaFormat", wire.encoding, wire.sample_rate, self.formats, channels=wire.channels)
        tracks = announced_tracks("start.tracks", start.tracks)
        return self.begin(call_id, dict.fromkeys(tracks, audio), parameters_of(start.custom_parameters), stream_sid)


def signature_matches(auth_token: str, urls: Iterable[str], signature: str) -> bool:
    """Whether `signature` (header X-Twilio-Signature) is Twilio's for a websocket upgrade to one of `urls`.

    The signature is base64(HMAC-SHA1(auth token, URL)); an upgrade has no parameters to add. Which form of the URL is
    signed depends on the account's age and on proxies, so each URL is tried as ``wss`` and ``https``, with and without
    port 443, with and without a final slash.
    """
    expected = [
        base64.b64encode(hmac.new(auth_token.encode(), spelling.encode(), hashlib.sha1).digest())
        for url in urls
        for spelling in _spellings(url)
    ]
    given = signature.encode()
    return any([hmac.compare_digest(given, one) for one in expected])  # noqa: C419  constant time: all are compared


def _spellings(url: str) -> list[str]:
    parts = urlsplit(url)
    schemes = ("wss", "https") if parts.scheme in ("wss", "https") else ("ws", "http")
    hosts = {parts.netloc, parts.netloc.removesuffix(":443")}
    if parts.port is None:
        hosts.add(f"{parts.netloc}:443")
    paths = {parts.path.rstrip("/"), parts.path.rstrip("/") + "/"}
    return [
        urlunsplit((scheme, host, path, parts.query, ""))
        for scheme in schemes
        for host in sorted(hosts)
        for path in sorted(paths)
    ]
