"""LiveKit's track egress: one websocket per track, 16-bit little-endian samples, text when it is muted.  [S]

Source: LiveKit, "Track egress". There is no metadata and no header can be set, so the URL has call, leg and token:
``/v1/media/livekit?token=…&call_id=…&leg=…[&rate=48000][&channels=1]``.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import ProtocolError, UnsupportedMedia
from gateway.ingest import names
from gateway.ingest.codecs import open_decoder
from gateway.ingest.dialects.base import Dialect
from gateway.ingest.dialects.channels import deinterleave
from gateway.ingest.dialects.tracks import start_number
from gateway.ingest.events import AudioFormat, AudioReceived, IngestEvent, LegDescription, StreamStarted


class LiveKit(Dialect):
    """The track of one participant. A stereo track is one speaker; its left channel is used."""

    started: StreamStarted

    def __init__(self, query: Mapping[str, str], roles: Mapping[str, str]) -> None:
        """Parse the URL's query. Raises ProtocolError, UnsupportedMedia; both name the parameter."""
        audio = AudioFormat("s16le", start_number("rate", query.get("rate", "48000")))
        open_decoder(audio)
        if (channels := query.get("channels", "1").strip()) not in ("1", "2"):
            raise UnsupportedMedia(f"channels: expected 1 or 2, got {channels!r:.40}")
        self._channels = int(channels)
        for field in ("call_id", "leg"):
            if field not in query:
                raise ProtocolError(f"{field}: expected in the URL's query, got none")
        self._leg = names.leg_id("leg", query["leg"])
        parameters = {field: value for field, value in query.items() if field != "token"}
        self.started = StreamStarted(
            names.call_id("call_id", query["call_id"]),
            "livekit",
            (LegDescription(self._leg, audio, names.role(self._leg, parameters, roles)),),
            parameters,
        )

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one frame; text says `muted`, after which no audio comes. See `Dialect.receive`."""
        if isinstance(message, str):
            return []
        return [AudioReceived(self._leg, deinterleave(message, self._channels, 2)[0])]
