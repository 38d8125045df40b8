"""Common part of the JSON media dialects: a `start` with call and tracks, then base64 audio of each track.  [S]

The `inbound` track carries the audio from a party; `outbound` is the audio that the platform plays to that party: the
other party, prompts and hold music.

Vendors add messages and omit fields without notice, and emulators use other spellings. So a message is first parsed as
documented, which is fast. If that fails, its type is compared without regard to case, and the message is ignored,
parsed, or refused with the name of the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from gateway.errors import UNREADABLE_JSON, BadMessage, ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest import names
from gateway.ingest.dialects.base import Dialect
from gateway.ingest.dialects.early import EarlyAudio
from gateway.ingest.events import (
    REORDER_PAYLOADS,
    AudioFormat,
    AudioReceived,
    Encoding,
    IngestEvent,
    LegDescription,
    LegId,
    MessageIgnored,
    StreamStarted,
)

TRACKS = ("inbound", "outbound")
_DECODED_RATE_HZ: dict[Encoding, int] = {"g722": 16_000, "opus": 48_000}
"""Decoder rate of codecs whose announced rate is that of the RTP clock or of the encoder's input."""
_Message = TypeVar("_Message")

Number = int | float | str
"""Numbers come as JSON numbers or strings."""
Formats = Mapping[str, tuple[Encoding, tuple[int, ...]]]
"""The formats of a vendor: its name in lower case, our encoding, and the possible rates in hertz."""


class TrackDialect(Dialect):
    """A dialect whose legs are tracks. Subclasses parse their vendor's messages and call `begin` and `audio`."""

    source: ClassVar[str]
    track_field: ClassVar[str] = "media.track"
    reorder_payloads: ClassVar[int] = REORDER_PAYLOADS
    formats: ClassVar[Formats]

    def __init__(self, roles: Mapping[str, str] | None = None) -> None:
        """`roles` maps leg names to roles; the peer's parameters ``role_inbound`` and ``role_outbound`` have
        precedence."""
        self._roles = roles or {}
        self._legs: dict[str, LegId] = {}
        self._started: tuple[StreamStarted, str] | None = None
        self._early: EarlyAudio[tuple[str, bytes, int | None, float | None]] = EarlyAudio("`start`")

    def begin(
        self, call_id: str, tracks: Mapping[str, AudioFormat], parameters: dict[str, str], stream_id: str = ""
    ) -> list[IngestEvent]:
        """Start the stream, and release audio that came before; a repeated start of the same stream is ignored.

        Args:
            call_id: validated.
            tracks: the format of each track.
            parameters: the peer's own parameters.
            stream_id: distinguishes streams of one call; empty if the vendor has no such id.

        Raises:
            ProtocolError: the start is of another stream, to which the following audio could belong.
        """
        legs = tuple(
            LegDescription(
                leg=LegId(track),
                format=audio,
                role=names.role(track, parameters, self._roles),
                direction="sent_to_party" if track == "outbound" else "received_from_party",
                reorder_payloads=self.reorder_payloads,
            )
            for track, audio in tracks.items()
        )
        started = StreamStarted(names.call_id("call_id", call_id), self.source, legs, parameters)
        if self._started is None:
            self._started = (started, stream_id)
            self._legs = {track: LegId(track) for track in tracks}
            return [started, *(event for early in self._early.release() for event in self._of_leg(*early))]
        first, first_id = self._started
        formats = {leg.leg: leg.format for leg in first.legs}
        if (first.call_id, first_id, formats) != (started.call_id, stream_id, {leg.leg: leg.format for leg in legs}):
            raise ProtocolError("event: expected one stream on this connection, got the `start` of another one")
        return [MessageIgnored("repeated_start")]

    def audio(
        self, track: str | None, payload: bytes, *, seq: int | None = None, start_ms: float | None = None
    ) -> list[IngestEvent]:
        """Put a payload to its leg; before the start, hold it. One of no track is of the only leg, if there is one.

        Raises:
            BadMessage: the track was not announced.
            ProtocolError: too much audio came before the start.
        """
        leg = self._legs.get(track or "")
        if leg is not None:
            return [AudioReceived(leg, self.payload(payload), seq, start_ms)]
        if not self._legs:
            self._early.hold((track or "", payload, seq, start_ms), len(payload))
            return []
        if events := self._of_leg(track or "", payload, seq, start_ms):
            return events
        raise BadMessage(
            f"{self.track_field}: expected one of start.tracks ({', '.join(self._legs)}), got {track!r:.40}",
            "unknown_track",
        )

    def payload(self, payload: bytes) -> bytes:
        """Convert a payload to the leg's format. Subclasses override this if theirs differs."""
        return payload

    def awaits(self) -> str:
        """See `Dialect`."""
        return "`start` before the media that came" if len(self._early) else "`start`"

    def _of_leg(self, track: str, payload: bytes, seq: int | None, start_ms: float | None) -> list[IngestEvent]:
        """As `audio`, of a track in any spelling; nothing where it is unknown."""
        only = next(iter(self._legs.values())) if len(self._legs) == 1 and not track.strip() else None
        leg = self._legs.get(track_name(track), only)
        return [AudioReceived(leg, self.payload(payload), seq, start_ms)] if leg else []


class Reader(Generic[_Message]):
    """Parses the messages of one vendor, whose type is in one of their fields."""

    def __init__(self, model: Any, kind_field: str, kinds: tuple[str, ...], ignored: tuple[str, ...] = ()) -> None:
        """Prepare the parser.

        Args:
            model: the type to which msgspec decodes a text frame.
            kind_field: the field with the message type.
            kinds: types in `model`, in the vendor's spelling; ``start`` must be one of them.
            ignored: other documented types, which are ignored without being counted.
        """
        self._decode: Callable[[str], _Message] = msgspec.json.Decoder(model).decode
        self._model = model
        self._kind_field = kind_field
        self._kinds = {kind.lower(): kind for kind in kinds}
        self._ignored = ignored

    def read(self, message: str | bytes) -> _Message | list[IngestEvent]:
        """Parse one text frame; for a type that is ignored return events instead of a message.

        Raises:
            ProtocolError: an invalid `start`; names the field.
            BadMessage: another invalid message; names the field.
            WrongFrameKind: a binary frame.
        """
        if isinstance(message, bytes):
            raise WrongFrameKind("message: expected a JSON text frame, got a binary one")
        try:
            return self._decode(message)
        except UNREADABLE_JSON:
            return self._read_leniently(message)

    def _read_leniently(self, message: str) -> _Message | list[IngestEvent]:
        fields = decode(_decode_any, message)
        name = fields.get(self._kind_field)
        if not isinstance(name, str) or not name.strip():
            raise BadMessage(f"{self._kind_field}: expected the type of this message, got {name!r:.40}")
        kind = name.strip().lower()
        if kind not in self._kinds:
            return [] if kind in self._ignored else [MessageIgnored("unknown_event")]
        fields = _with_plain_base64(fields) | {self._kind_field: self._kinds[kind]}
        try:
            read: _Message = msgspec.convert(fields, self._model)
        except msgspec.ValidationError as error:
            if kind == "start":
                raise ProtocolError(_explain(error)) from None
            raise BadMessage(_explain(error)) from None
        return read


def decode(decoder: Callable[[str], _Message], message: str | bytes) -> _Message:
    """Parse one text frame. Raises BadMessage naming the field, WrongFrameKind."""
    if isinstance(message, bytes):
        raise WrongFrameKind("message: expected a JSON text frame, got a binary one")
    try:
        return decoder(message)
    except msgspec.ValidationError as error:
        raise BadMessage(_explain(error)) from None
    except UNREADABLE_JSON as error:
        raise BadMessage(f"message: expected JSON, got {message!r:.40}: {error}", "not_json") from None


_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def _with_plain_base64(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose payload has no white space in it: MIME's base64 has lines of 76 characters."""
    media = fields.get("media")
    inside = {"media": _with_plain_base64(media)} if isinstance(media, dict) and "media" not in media else {}
    payload = fields.get("payload")
    return fields | inside | ({"payload": "".join(payload.split())} if isinstance(payload, str) else {})


def track_name(track: str) -> str:
    """Return our name of a track: ``inbound`` for ``Inbound_Track``."""
    return track.strip().lower().removesuffix("_track")


def announced_tracks(field: str, tracks: list[str] | None) -> list[str]:
    """Return our names of the tracks in a start; ``both`` means two, None means ``inbound``.

    Raises:
        ProtocolError: a track is unknown or repeated.
    """
    named = [track_name(track) for track in tracks or ["inbound"]]
    if named in (["both"], ["both_tracks"]):
        return list(TRACKS)
    check_tracks(field, named)
    return named


def parameters_of(given: object) -> dict[str, str]:
    """Return a peer's own parameters as text; those that are null or no scalars are left out, and what is no object."""
    named = given if isinstance(given, dict) else {}
    return {str(key): str(value) for key, value in named.items() if isinstance(value, str | int | float)}


def check_tracks(field: str, tracks: list[str]) -> None:
    """Raises ProtocolError unless all tracks are known and different."""
    for track in tracks:
        if track not in TRACKS:
            raise ProtocolError(f"{field}: expected inbound or outbound, got {track!r:.40}")
    if len(set(tracks)) != len(tracks):
        raise ProtocolError(f"{field}: expected each track once, got {', '.join(tracks)}")


def audio_format(
    field: str,
    encoding: str | None,
    rate: Number | None,
    formats: Formats,
    *,
    rate_key: str = "sampleRate",
    channels: Number | None = None,
) -> AudioFormat:
    """Return the format in a start; a field may be omitted if only one value is possible.

    Raises:
        ProtocolError, UnsupportedMedia: names `field`.
    """
    if encoding is None and len(formats) == 1:
        encoding = next(iter(formats))
    word = (encoding or "").lower().partition(";")[0].strip()
    known, rates = formats.get(word, ("mulaw", ()))
    if rate is None and len(rates) == 1:
        rate = rates[0]
    rate_hz = 0 if rate is None else start_number(f"{field}.{rate_key}", rate)
    channel_count = 1 if channels is None else start_number(f"{field}.channels", channels)
    if rate_hz not in rates or channel_count != 1:
        expected = "; ".join(f"{name} at {'/'.join(map(str, rates))} Hz" for name, (_, rates) in formats.items())
        raise UnsupportedMedia(
            f"{field}: expected encoding {expected}, one channel, got {word:.40}, {rate_hz}, {channel_count}"
        )
    return AudioFormat(known, _DECODED_RATE_HZ.get(known, rate_hz))


def start_number(field: str, value: Number) -> int:
    """Like `whole_number`, for a start, which is invalid without it. Raises ProtocolError."""
    try:
        return int(whole_number(field, value))
    except BadMessage as error:
        raise ProtocolError(str(error)) from None


def whole_number(field: str, value: Number) -> float:
    """Parse a whole number, which may be a string. Raises BadMessage."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not number.is_integer():
        raise BadMessage(f"{field}: expected a whole number, got {value!r:.40}")
    if abs(number) >= 1 << 53:
        raise BadMessage(f"{field}: expected a whole number below 2**53, got {value!r:.40}")
    return number


def media_time_ms(field: str, value: Number | None) -> float | None:
    """Parse the time of a payload in ms; None if there is none. Raises BadMessage."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) < 1 << 53:
        raise BadMessage(f"{field}: expected a number of milliseconds, got {value!r:.40}")
    return number


def required(field: str, value: _Message | None) -> _Message:
    """Return a mandatory value. Raises BadMessage if it is None."""
    if value is None:
        raise BadMessage(f"{field}: expected in this message, got none")
    return value


def _explain(error: msgspec.ValidationError) -> str:
    """Put the field first, as in all our errors; msgspec says "Expected `str`, got `int` - at `$.media.payload`"."""
    text, _, path = str(error).partition(" - at ")
    return f"{path.strip('`').removeprefix('$').lstrip('.') or 'message'}: {text[:1].lower()}{text[1:]}"
