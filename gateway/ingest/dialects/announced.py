"""Media forks that send one text frame of metadata, then 16-bit little-endian samples in binary frames.  [S]

- FreeSWITCH's mod_audio_fork (drachtio, jambonz) and mod_audio_stream send the dialplan's metadata unchanged, so rate
  and mix must be in it, or in the URL.
- jambonz ``listen`` sends the call's attributes, `sampleRate` and `mixType`.
- Vonage's websocket endpoint sends its content type and the NCCO's `headers`. Its audio is mixed.

Rate and mix are never guessed: audio that arrives before them, as from mod_audio_stream, is held back.

In stereo the left channel is the audio from this leg's party (FreeSWITCH: read), the right one the audio to it (write).
Documentation of some forks says the reverse, so an endpoint can swap them.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gateway.errors import BadMessage, ProtocolError, UnsupportedMedia
from gateway.ingest import names
from gateway.ingest.codecs import open_decoder
from gateway.ingest.dialects.base import Dialect, Handshake
from gateway.ingest.dialects.channels import deinterleave
from gateway.ingest.dialects.early import EarlyAudio
from gateway.ingest.dialects.tracks import decode, parameters_of, start_number
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    IngestEvent,
    LegDescription,
    LegId,
    MessageIgnored,
    Separation,
    StreamStarted,
)

_LEGS = {"mono": ("inbound",), "mixed": ("mixed",), "stereo": ("inbound", "outbound")}
_decode = msgspec.json.Decoder(dict[str, object]).decode


class Announced(Dialect):
    """One fork. Parameters of the URL's query apply unless the first text frame overrides them."""

    source: ClassVar[str]
    call_id_fields: ClassVar[tuple[str, ...]] = ("call_id",)
    rate_fields: ClassVar[tuple[str, ...]] = ("rate",)
    mix_fields: ClassVar[tuple[str, ...]] = ("mix",)

    def __init__(self, handshake: Handshake, roles: dict[str, str], *, swap_channels: bool = False) -> None:
        """`roles` maps leg names to roles; with `swap_channels` the right channel comes first."""
        self.subprotocol = next(iter(handshake.subprotocols), None)  # FreeSWITCH can be configured to use any name
        self._parameters = {field: value for field, value in handshake.query.items() if field != "token"}
        self._roles = roles
        self._swap_channels = swap_channels
        self._channels: list[LegId] = []
        self._started: StreamStarted | None = None
        self._early: EarlyAudio[bytes] = EarlyAudio("the text frame that says call, rate and mix")

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one frame. See `Dialect.receive`."""
        if isinstance(message, bytes):
            if self._started is None and self._missing():
                self._early.hold(message, len(message))
                return []
            if self._started is None:
                return [self._start(), *self._first_audio(message)]
            return self._audio(message)
        announced = _flat(decode(_decode, message))
        if self._started is not None:
            self._check_unchanged(self._started, announced)
            return []  # DTMF and the like
        self._parameters |= announced
        if missing := self._missing():
            raise BadMessage(
                f"{missing}: expected in this text frame or in the URL's query, got none", "incomplete_start"
            )
        return [self._start(), *(event for early in self._early.release() for event in self._first_audio(early))]

    def awaits(self) -> str:
        """See `Dialect`."""
        early = "audio came before it; " if len(self._early) else ""
        return f"the opening text frame; {early}missing: {self._missing()}"

    def mix(self) -> str:
        """Return the arrangement of the speakers: ``mono``, ``stereo`` or ``mixed``."""
        mix = self._field(self.mix_fields).lower()
        if mix not in _LEGS:
            raise ProtocolError(f"{self.mix_fields[0]}: expected one of {', '.join(_LEGS)}, got {mix!r:.40}")
        return mix

    def rate_hz(self) -> int:
        """Return the sampling rate; FreeSWITCH writes ``16k`` for 16000."""
        value = self._field(self.rate_fields).lower()
        return start_number(self.rate_fields[0], f"{value[:-1]}000" if value.endswith("k") else value)

    def _audio(self, message: bytes) -> list[IngestEvent]:
        payloads = deinterleave(message, len(self._channels), 2)
        return [AudioReceived(leg, audio) for leg, audio in zip(self._channels, payloads, strict=True)]

    def _first_audio(self, message: bytes) -> list[IngestEvent]:
        """Like `_audio`, but count an invalid frame instead of raising, which would discard the start as well."""
        try:
            return self._audio(message)
        except BadMessage as error:
            return [MessageIgnored(error.reason)]

    def _check_unchanged(self, started: StreamStarted, announced: dict[str, str]) -> None:
        """Raises ProtocolError if rate or mix differ from those with which audio has been parsed so far."""
        fields = (*self.rate_fields, *self.mix_fields)
        if not any(field in announced for field in fields):
            return
        self._parameters |= {field: announced[field] for field in fields if field in announced}
        if self.rate_hz() != started.legs[0].format.rate_hz or len(_LEGS[self.mix()]) != len(started.legs):
            raise ProtocolError("rate, mix: expected those of the URL, with which the stream started, got others")

    def _start(self) -> StreamStarted:
        call_id = names.call_id(self.call_id_fields[0], self._field(self.call_id_fields))
        audio = AudioFormat("s16le", self.rate_hz())
        open_decoder(audio)
        mix = self.mix()
        legs = [LegId(leg) for leg in _LEGS[mix]]
        separation: Separation = "mixed" if mix == "mixed" else "separate"
        self._channels = legs[::-1] if self._swap_channels else legs
        self._started = StreamStarted(
            call_id,
            self.source,
            tuple(
                LegDescription(
                    leg,
                    audio,
                    names.role(leg, self._parameters, self._roles),
                    "sent_to_party" if leg == "outbound" else "received_from_party",
                )
                for leg in legs
            ),
            dict(self._parameters),
            separation,
        )
        return self._started

    def _missing(self) -> str:
        """Return the first missing parameter; empty if there is none."""
        needed = (self.call_id_fields, self.rate_fields, self.mix_fields)
        return next((fields[0] for fields in needed if not self._field(fields)), "")

    def _field(self, fields: tuple[str, ...]) -> str:
        return next((self._parameters[field].strip() for field in fields if self._parameters.get(field)), "")


class FreeSwitch(Announced):
    """mod_audio_fork or mod_audio_stream of FreeSWITCH."""

    source = "freeswitch"
    call_id_fields = ("call_id", "callId", "uuid")
    rate_fields = ("rate", "sampleRate")
    mix_fields = ("mix", "mixType")


class Jambonz(Announced):
    """jambonz ``listen``."""

    source = "jambonz"
    call_id_fields = ("callSid", "callId", "call_id")
    rate_fields = ("sampleRate", "rate")
    mix_fields = ("mixType", "mix")


class Vonage(Announced):
    """The websocket endpoint of Vonage's Voice API: the mix of all other speakers in the conversation."""

    source = "vonage"
    call_id_fields = ("call_id", "uuid", "conversation_uuid")
    rate_fields = ("content-type",)
    mix_fields = ("content-type",)  # the mix does not depend on it

    def mix(self) -> str:
        """Always mixed: according to Vonage's documentation a single leg is not available."""
        return "mixed"

    def rate_hz(self) -> int:
        """Read ``audio/l16;rate=16000``."""
        content_type = self._field(self.rate_fields).lower()
        kind, *given = content_type.split(";")
        named = {name.strip(): value.strip(' "') for name, _, value in (one.partition("=") for one in given)}
        if kind.strip() != "audio/l16" or named.get("channels", "1") != "1":
            raise UnsupportedMedia(f"content-type: expected audio/l16 of one channel, got {content_type!r:.60}")
        return start_number("content-type", named.get("rate", ""))


def _flat(announced: dict[str, object]) -> dict[str, str]:
    """Return the scalars as text; those one level down too, as jambonz nests the application's own metadata.

    What is empty says nothing, and so unsays nothing that was said before.
    """
    flat: dict[str, str] = {}
    for value in announced.values():
        flat = parameters_of(value) | flat
    flat |= parameters_of(announced)
    return {field: value for field, value in flat.items() if value.strip()}
