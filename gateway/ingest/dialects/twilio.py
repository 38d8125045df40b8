"""Twilio Media Streams.  [S]

Source: Twilio, "Media Streams - WebSocket messages"; "Security - Validating requests are coming from Twilio".
JSON text frames: ``connected``, ``start``, then ``media`` of one or both tracks interleaved, ``stop``. Numbers come as
strings from Twilio and as numbers from some emulators; both are taken.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated, ClassVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

from gateway.ingest import names
from gateway.ingest.dialects.tracks import Formats, TrackDialect, audio_format, check_tracks, decode, whole_number
from gateway.ingest.events import IngestEvent, StreamStarted, StreamStopped


class _Message(msgspec.Struct, tag_field="event", rename="camel"):
    pass


class _Connected(_Message, tag="connected"):
    protocol: str = "Call"
    version: str = ""


class _MediaFormat(msgspec.Struct, rename="camel"):
    encoding: str
    sample_rate: int | str
    channels: int | str = 1


class _StartDetails(msgspec.Struct, rename="camel"):
    call_sid: str
    tracks: Annotated[list[str], msgspec.Meta(min_length=1)]
    media_format: _MediaFormat
    stream_sid: str = ""
    account_sid: str = ""
    custom_parameters: dict[str, str] = {}


class _Start(_Message, tag="start"):
    start: _StartDetails


class _MediaDetails(msgspec.Struct, rename="camel"):
    track: str
    payload: bytes  # msgspec decodes the base64
    timestamp: int | str


class _Media(_Message, tag="media"):
    media: _MediaDetails


class _Dtmf(_Message, tag="dtmf"):
    pass


class _Mark(_Message, tag="mark"):
    pass


class _Stop(_Message, tag="stop"):
    pass


_decode = msgspec.json.Decoder(_Connected | _Start | _Media | _Dtmf | _Mark | _Stop).decode


class Twilio(TrackDialect):
    """One Twilio media stream: legs ``inbound`` and ``outbound`` of the call named by its callSid."""

    source = "twilio"
    formats: ClassVar[Formats] = {"audio/x-mulaw": ("mulaw", (8000,))}

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one text frame. See `Dialect.receive`."""
        decoded = decode(_decode, message)
        if isinstance(decoded, _Media):  # first: 50 of them a second and track
            media = decoded.media
            # No `chunk`: whether the two tracks share that counter is not said, and the socket keeps the order anyway.
            return [self.audio(media.track, media.payload, start_ms=whole_number("media.timestamp", media.timestamp))]
        if isinstance(decoded, _Start):
            return [self._start(decoded.start)]
        return [StreamStopped()] if isinstance(decoded, _Stop) else []

    def _start(self, start: _StartDetails) -> StreamStarted:
        call_id = names.call_id("start.callSid", start.call_sid)
        wire = start.media_format
        channels = whole_number("start.mediaFormat.channels", wire.channels)
        audio = audio_format("start.mediaFormat", wire.encoding, wire.sample_rate, self.formats, channels=channels)
        check_tracks("start.tracks", start.tracks)
        return self.begin(call_id, dict.fromkeys(start.tracks, audio), start.custom_parameters)


def signature_matches(auth_token: str, urls: Iterable[str], signature: str) -> bool:
    """Whether `signature` (header X-Twilio-Signature) is Twilio's for a websocket upgrade to one of `urls`.

    The signature is base64(HMAC-SHA1(auth token, URL)); an upgrade has no parameters to add. Which spelling of the URL
    was signed depends on the account's age and the proxy in between, so each URL is tried as ``wss`` and ``https``,
    with and without port 443, with and without a trailing slash.
    """
    expected = [
        base64.b64encode(hmac.new(auth_token.encode(), spelling.encode(), hashlib.sha1).digest())
        for url in urls
        for spelling in _spellings(url)
    ]
    given = signature.encode()
    return any([hmac.compare_digest(given, one) for one in expected])  # noqa: C419  all compared: no timing to learn from


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
