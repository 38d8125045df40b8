"""Twilio Media Streams.  [S]

Source: Twilio, "Media Streams - WebSocket messages"; "Security - Validating requests are coming from Twilio".
JSON text frames: ``connected``, ``start``, then ``media`` of one or both tracks interleaved, ``stop``. Numbers come as
strings from Twilio and as numbers from some emulators; both are taken.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import msgspec

from gateway.errors import ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest import names
from gateway.ingest.dialects.base import Dialect
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    IngestEvent,
    LegDescription,
    LegId,
    StreamStarted,
    StreamStopped,
)

# A party's own voice arrives on the `inbound` track; `outbound` is what the platform plays to that party: the far side,
# and prompts and hold music with it.
_TRACKS = ("inbound", "outbound")


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


class Twilio(Dialect):
    """One Twilio media stream: legs ``inbound`` and ``outbound`` of the call named by its callSid."""

    def __init__(self, roles: Mapping[str, str] | None = None) -> None:
        """`roles` says who a leg is, by its name; a custom parameter ``role_inbound`` or ``role_outbound`` wins."""
        self._roles = roles or {}
        self._legs: dict[str, LegId] = {}

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one text frame. See `Dialect.receive`."""
        if isinstance(message, bytes):
            raise WrongFrameKind("message: expected a JSON text frame, got a binary one")
        try:
            decoded = _decode(message)
        except msgspec.ValidationError as error:
            raise ProtocolError(_explain(error)) from None
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise ProtocolError(f"message: expected JSON, got {message!r:.40}: {error}") from None
        if isinstance(decoded, _Media):  # first: 50 of them a second and track
            return [self._media(decoded.media)]
        if isinstance(decoded, _Start):
            return [self._start(decoded.start)]
        return [StreamStopped()] if isinstance(decoded, _Stop) else []

    def _start(self, start: _StartDetails) -> StreamStarted:
        if self._legs:
            raise ProtocolError("event: expected `start` once, got a second one")
        call_id = names.call_id("start.callSid", start.call_sid)
        wire = start.media_format
        rate_hz, channels = (
            _number("start.mediaFormat." + field, value)
            for field, value in (("sampleRate", wire.sample_rate), ("channels", wire.channels))
        )
        if wire.encoding != "audio/x-mulaw" or rate_hz != 8000 or channels != 1:
            raise UnsupportedMedia(
                "start.mediaFormat: expected encoding audio/x-mulaw, sampleRate 8000, channels 1, "
                f"got {wire.encoding:.40}, {rate_hz:g}, {channels:g}"
            )
        for track in start.tracks:
            if track not in _TRACKS:
                raise ProtocolError(f"start.tracks: expected inbound or outbound, got {track!r:.40}")
        if len(set(start.tracks)) != len(start.tracks):
            raise ProtocolError(f"start.tracks: expected each track once, got {', '.join(start.tracks)}")
        self._legs = {track: LegId(track) for track in start.tracks}
        legs = tuple(
            LegDescription(
                leg=leg,
                format=AudioFormat("mulaw", 8000),
                role=names.role(leg, start.custom_parameters, self._roles),
                direction="received_from_party" if track == "inbound" else "sent_to_party",
            )
            for track, leg in self._legs.items()
        )
        return StreamStarted(call_id, "twilio", legs, start.custom_parameters)

    def _media(self, media: _MediaDetails) -> AudioReceived:
        leg = self._legs.get(media.track)
        if leg is None:
            if not self._legs:
                raise ProtocolError("event: expected `start` before `media`")
            raise ProtocolError(
                f"media.track: expected one of start.tracks ({', '.join(self._legs)}), got {media.track!r:.40}"
            )
        # No `chunk` here: whether the two tracks share that counter is not said, and the socket keeps the order anyway.
        return AudioReceived(leg, media.payload, start_ms=_number("media.timestamp", media.timestamp))


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


def _number(field: str, value: int | str) -> float:
    try:
        return float(int(value))
    except ValueError:
        raise ProtocolError(f"{field}: expected a whole number, got {value!r:.40}") from None


def _explain(error: msgspec.ValidationError) -> str:
    """msgspec says "Expected `str`, got `int` - at `$.media.payload`"; put the field first, like all our errors."""
    text, _, path = str(error).partition(" - at ")
    return f"{path.strip('`').removeprefix('$').lstrip('.') or 'message'}: {text[:1].lower()}{text[1:]}"
