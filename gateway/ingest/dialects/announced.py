"""Forks that announce themselves in one text frame and then send 16-bit little-endian samples in binary ones.  [S]

- FreeSWITCH's mod_audio_fork (drachtio, jambonz) and mod_audio_stream send as metadata what the dialplan wrote, and add
  nothing: rate and mix must be in it, or in the URL.
- jambonz ``listen`` sends the call's attributes, `sampleRate` and `mixType`.
- Vonage's websocket endpoint sends its content type and the NCCO's `headers`. It hears the conversation's mix.

Rate and mix are never guessed: audio that comes before all is said, as mod_audio_stream may send it, waits for it.

In stereo the left channel is what this leg's person says (FreeSWITCH: read) and the right one what that person hears
(write); guides contradict each other, so a door can swap them.
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
    """One fork. What the URL's query says holds unless the first text frame says otherwise."""

    source: ClassVar[str]
    call_id_fields: ClassVar[tuple[str, ...]] = ("call_id",)
    rate_fields: ClassVar[tuple[str, ...]] = ("rate",)
    mix_fields: ClassVar[tuple[str, ...]] = ("mix",)

    def __init__(self, handshake: Handshake, roles: dict[str, str], *, swap_channels: bool = False) -> None:
        """`roles` says who a leg is, by its name; `swap_channels`, that the right channel comes first."""
        self.subprotocol = next(iter(handshake.subprotocols), None)  # its name can be configured in FreeSWITCH
        self._parameters = {field: value for field, value in handshake.query.items() if field != "token"}
        self._roles = roles
        self._swap_channels = swap_channels
        self._channels: list[LegId] = []
        self._started: StreamStarted | None = None
        self._early: EarlyAudio[bytes] = EarlyAudio("the text frame that says call, rate and mix")

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one frame. See `Dialect.receive`."""
        if isinstance(message, bytes):
            if self._started is None and self._missing():
                self._early.hold(message, len(message))
                return []
            if self._started is None:
                return [self._start(), *self._first_audio(message)]
            return self._audio(message)
        said = _flat(decode(_decode, message))
        if self._started is not None:
            self._check_again(self._started, said)
            return []  # DTMF and the like
        self._parameters |= said
        if missing := self._missing():
            raise BadMessage(f"{missing}: expected in this text frame or in the URL, got none", "incomplete_start")
        return [self._start(), *(event for early in self._early.release() for event in self._first_audio(early))]

    def awaits(self) -> str:
        """See `Dialect`."""
        came = "audio came, but " if len(self._early) else ""
        return f"a text frame with call_id, rate and mix; {came}nobody said {self._missing()}"

    def mix(self) -> str:
        """Return how the speakers come: ``mono``, ``stereo`` or ``mixed``."""
        mix = self._field(self.mix_fields).lower()
        if mix not in _LEGS:
            raise ProtocolError(f"{self.mix_fields[0]}: expected one of {', '.join(_LEGS)}, got {mix!r:.40}")
        return mix

    def rate_hz(self) -> int:
        """Return the sampling rate; ``16k`` is FreeSWITCH's word for 16000."""
        value = self._field(self.rate_fields).lower()
        return start_number(self.rate_fields[0], f"{value[:-1]}000" if value.endswith("k") else value)

    def _audio(self, message: bytes) -> list[IngestEvent]:
        payloads = deinterleave(message, len(self._channels), 2)
        return [AudioReceived(leg, audio) for leg, audio in zip(self._channels, payloads, strict=True)]

    def _first_audio(self, message: bytes) -> list[IngestEvent]:
        """As `_audio`, but what is of no use is only counted: an error would take the start that it comes with away."""
        try:
            return self._audio(message)
        except BadMessage as error:
            return [MessageIgnored(error.reason)]

    def _check_again(self, started: StreamStarted, said: dict[str, str]) -> None:
        """Raises ProtocolError when what is said now is not how the audio has been read so far."""
        fields = (*self.rate_fields, *self.mix_fields)
        if not any(field in said for field in fields):
            return
        self._parameters |= {field: said[field] for field in fields if field in said}
        if self.rate_hz() != started.legs[0].format.rate_hz or len(_LEGS[self.mix()]) != len(started.legs):
            raise ProtocolError("rate, mix: expected what the URL said and audio has been read by, got others")

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
        """Return what nobody has said yet; nothing when all is known."""
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
    """The websocket endpoint of Vonage's Voice API: always the mix of everybody else in the conversation."""

    source = "vonage"
    call_id_fields = ("call_id", "uuid", "conversation_uuid")
    rate_fields = ("content-type",)
    mix_fields = ("content-type",)  # it is always the same

    def mix(self) -> str:
        """Vonage documents that a single leg cannot be had."""
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
