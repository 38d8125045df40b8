"""Plain audio for any websocket client: the URL describes the stream, binary frames carry the audio.  [S]

``/v1/media/plain?call_id=…&leg=…&encoding=mulaw|alaw|s16le&rate=8000&channels=1|2[&role=…]``

With two channels, samples are interleaved and each channel is a leg: name both (``leg=caller,callee``); a single name
gives ``name.0`` and ``name.1``. A frame may have any number of whole samples. The stream ends when the socket closes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from gateway.errors import ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest import names
from gateway.ingest.codecs import open_decoder
from gateway.ingest.dialects.base import Dialect
from gateway.ingest.dialects.channels import deinterleave
from gateway.ingest.events import AudioFormat, AudioReceived, Encoding, IngestEvent, LegDescription, StreamStarted

_SAMPLE_BYTES = {"mulaw": 1, "alaw": 1, "s16le": 2}
_PARAMETERS = ("call_id", "leg", "encoding", "rate", "channels", "role")


class Plain(Dialect):
    """One plain stream. The URL starts it, so the stream is known before the first frame."""

    started: StreamStarted

    def __init__(self, query: Mapping[str, str], roles: Mapping[str, str] | None = None) -> None:
        """Parse the URL's query.

        Raises:
            ProtocolError, UnsupportedMedia: names the parameter.
        """
        for field in query:
            # `token` was checked before.
            if field not in (*_PARAMETERS, "token") and not field.startswith("role_"):
                raise ProtocolError(f"{field:.40}: unknown parameter; expected {', '.join(_PARAMETERS)}")
        call_id = names.call_id("call_id", _required(query, "call_id"))
        encoding = _one_of(query, "encoding", "mulaw", tuple(_SAMPLE_BYTES))
        channels = int(_one_of(query, "channels", "1", ("1", "2")))
        audio = AudioFormat(cast("Encoding", encoding), _rate(query.get("rate", "8000")))
        open_decoder(audio)
        legs = [names.leg_id("leg", name.strip()) for name in _required(query, "leg").split(",")]
        if channels == 2 and len(legs) == 1:
            legs = [names.leg_id("leg", f"{legs[0]}.{channel}") for channel in range(2)]
        if len(legs) != channels or len(set(legs)) != channels:
            raise ProtocolError(
                f"leg: expected {channels} different name(s), one per channel, got {query['leg']!r:.40}"
            )
        parameters = {field: value for field, value in query.items() if field.startswith("role")}
        self.started = StreamStarted(
            call_id,
            "plain",
            tuple(LegDescription(leg, audio, names.role(leg, parameters, roles or {})) for leg in legs),
        )
        self._legs = legs
        self._sample_bytes = _SAMPLE_BYTES[encoding]

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one binary frame. See `Dialect.receive`."""
        if isinstance(message, str):
            raise WrongFrameKind("message: expected a binary frame of audio, got a text one")
        channels = deinterleave(message, len(self._legs), self._sample_bytes)
        return [AudioReceived(leg, payload) for leg, payload in zip(self._legs, channels, strict=True)]


def _required(query: Mapping[str, str], field: str) -> str:
    if not (value := query.get(field)):
        raise ProtocolError(f"{field}: expected in the URL's query, got none")
    return value


def _one_of(query: Mapping[str, str], field: str, default: str, allowed: tuple[str, ...]) -> str:
    if (value := query.get(field, default).strip().lower()) not in allowed:
        raise UnsupportedMedia(f"{field}: expected one of {', '.join(allowed)}, got {value!r:.40}")
    return value


def _rate(value: str) -> int:
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise ProtocolError(f"rate: expected a whole number of hertz, got {value!r:.40}")
    return int(digits[:9])
