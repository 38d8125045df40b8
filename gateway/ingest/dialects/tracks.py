"""What the JSON media dialects share: a `start` that names call and tracks, then base64 audio of either track.  [S]

A party's own voice arrives on the `inbound` track; `outbound` is what the platform plays to that party: the far side,
and prompts and hold music with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, TypeVar

import msgspec

from gateway.errors import ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest import names
from gateway.ingest.dialects.base import Dialect
from gateway.ingest.events import (
    REORDER_PAYLOADS,
    AudioFormat,
    AudioReceived,
    Encoding,
    LegDescription,
    LegId,
    StreamStarted,
)

TRACKS = ("inbound", "outbound")
_DECODED_RATE_HZ: dict[Encoding, int] = {"g722": 16_000, "opus": 48_000}
"""Of codecs whose announced rate is that of their RTP clock, or of the encoder's input."""
_Message = TypeVar("_Message")

Formats = Mapping[str, tuple[Encoding, tuple[int, ...]]]
"""What a vendor may announce: its word, in lower case, to our encoding and the rates it comes at."""


class TrackDialect(Dialect):
    """Legs are tracks. Subclasses read their vendor's messages and call `begin` and `audio`."""

    source: ClassVar[str]
    track_field: ClassVar[str] = "media.track"
    reorder_payloads: ClassVar[int] = REORDER_PAYLOADS

    def __init__(self, roles: Mapping[str, str] | None = None) -> None:
        """`roles` says who a leg is, by its name; the peer's parameter ``role_inbound`` or ``role_outbound`` wins."""
        self._roles = roles or {}
        self._legs: dict[str, LegId] = {}

    def begin(self, call_id: str, tracks: Mapping[str, AudioFormat], parameters: dict[str, str]) -> StreamStarted:
        """Name the legs. `call_id` must have been checked. Raises ProtocolError at a second start."""
        if self._legs:
            raise ProtocolError("event: expected `start` once, got a second one")
        self._legs = {track: LegId(track) for track in tracks}
        legs = tuple(
            LegDescription(
                leg=leg,
                format=tracks[leg],
                role=names.role(leg, parameters, self._roles),
                direction="sent_to_party" if track == "outbound" else "received_from_party",
                reorder_payloads=self.reorder_payloads,
            )
            for track, leg in self._legs.items()
        )
        return StreamStarted(names.call_id("call_id", call_id), self.source, legs, parameters)

    def audio(
        self, track: str, payload: bytes, *, seq: int | None = None, start_ms: float | None = None
    ) -> AudioReceived:
        """Put a payload to its leg. Raises ProtocolError when that was not announced."""
        leg = self._legs.get(track)
        if leg is None:
            if not self._legs:
                raise ProtocolError("event: expected `start` before `media`")
            raise ProtocolError(
                f"{self.track_field}: expected one of start.tracks ({', '.join(self._legs)}), got {track!r:.40}"
            )
        return AudioReceived(leg, payload, seq, start_ms)


def decode(decoder: Callable[[str], _Message], message: str | bytes) -> _Message:
    """Read one text frame. Raises ProtocolError naming the field, WrongFrameKind."""
    if isinstance(message, bytes):
        raise WrongFrameKind("message: expected a JSON text frame, got a binary one")
    try:
        return decoder(message)
    except msgspec.ValidationError as error:
        raise ProtocolError(_explain(error)) from None
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ProtocolError(f"message: expected JSON, got {message!r:.40}: {error}") from None


def check_tracks(field: str, tracks: list[str]) -> None:
    """Raises ProtocolError unless `tracks` are known and each is there once."""
    for track in tracks:
        if track not in TRACKS:
            raise ProtocolError(f"{field}: expected inbound or outbound, got {track!r:.40}")
    if len(set(tracks)) != len(tracks):
        raise ProtocolError(f"{field}: expected each track once, got {', '.join(tracks)}")


def audio_format(
    field: str, encoding: str, rate: int | str, formats: Formats, *, rate_key: str = "sampleRate", channels: float = 1
) -> AudioFormat:
    """Return the format that a start announces. Raises ProtocolError, UnsupportedMedia naming `field`."""
    rate_hz = whole_number(f"{field}.{rate_key}", rate)
    word = encoding.lower().partition(";")[0].strip()
    known, rates = formats.get(word, ("mulaw", ()))
    if rate_hz not in rates or channels != 1:
        expected = "; ".join(f"{name} at {'/'.join(map(str, rates))} Hz" for name, (_, rates) in formats.items())
        raise UnsupportedMedia(
            f"{field}: expected encoding {expected}, one channel, got {encoding:.40}, {rate_hz:g}, {channels:g}"
        )
    return AudioFormat(known, _DECODED_RATE_HZ.get(known, int(rate_hz)))


def whole_number(field: str, value: int | str) -> float:
    """Read a number that may have come as a string. Raises ProtocolError."""
    try:
        number = int(value)
    except ValueError:
        raise ProtocolError(f"{field}: expected a whole number, got {value!r:.40}") from None
    if abs(number) >= 1 << 53:
        raise ProtocolError(f"{field}: expected a whole number below 2**53, got {value!r:.40}")
    return float(number)


def required(field: str, value: _Message | None) -> _Message:
    """Return what a message must have. Raises ProtocolError."""
    if value is None:
        raise ProtocolError(f"{field}: expected in this message, got none")
    return value


def _explain(error: msgspec.ValidationError) -> str:
    """msgspec says "Expected `str`, got `int` - at `$.media.payload`"; put the field first, like all our errors."""
    text, _, path = str(error).partition(" - at ")
    return f"{path.strip('`').removeprefix('$').lstrip('.') or 'message'}: {text[:1].lower()}{text[1:]}"
