"""Asterisk's chan_websocket: one speaker on one connection.  [S]

Source: Asterisk, ``channels/chan_websocket.c``. Text frames are control messages, plain (``MEDIA_START format:ulaw …``)
or JSON; binary frames are raw payloads of the negotiated codec. Call and leg are in the dial string,
``v(call_id=…,leg=caller)``, which Asterisk puts into the URL's query.

Audio may come before ``MEDIA_START`` and is then held back. Releases before January 2026 close the connection on a
ping, so it is never pinged (see `gateway.http.connection`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.errors import BadMessage, ProtocolError, UnsupportedMedia
from gateway.ingest import names
from gateway.ingest.dialects.base import Dialect, Handshake
from gateway.ingest.dialects.early import EarlyAudio
from gateway.ingest.dialects.tracks import decode
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    IngestEvent,
    LegDescription,
    MessageIgnored,
    StreamStarted,
)

SUBPROTOCOL = "media"
_FORMATS = {
    "ulaw": AudioFormat("mulaw", 8_000),
    "alaw": AudioFormat("alaw", 8_000),
    "g722": AudioFormat("g722", 16_000),
    "opus": AudioFormat("opus", 48_000),
    "slin": AudioFormat("s16le", 8_000),
    **{f"slin{rate}": AudioFormat("s16le", 1_000 * rate) for rate in (12, 16, 24, 32, 48, 96, 192)},
    "slin44": AudioFormat("s16le", 44_100),
}
"""Asterisk's names of codecs."""


_IGNORED = (
    "DTMF_END",
    "ERROR",
    "MEDIA_BUFFERING_COMPLETED",
    "MEDIA_MARK_PROCESSED",
    "MEDIA_XOFF",
    "MEDIA_XON",
    "QUEUE_DRAINED",
    "STATUS",
)
"""DTMF, and the state of the playback queue, which is not used."""


class _Control(msgspec.Struct):
    event: str
    format: str | None = None


_decode = msgspec.json.Decoder(_Control).decode


class AsteriskWebsocket(Dialect):
    """One chan_websocket channel."""

    subprotocol = SUBPROTOCOL

    def __init__(self, handshake: Handshake, roles: Mapping[str, str]) -> None:
        """Read the URL's query. `roles` maps leg names to roles; a parameter ``role`` has precedence.

        Raises:
            ProtocolError: names the parameter.
        """
        if SUBPROTOCOL not in handshake.subprotocols:
            raise ProtocolError(f"Sec-WebSocket-Protocol: expected `{SUBPROTOCOL}` (protocols=media)")
        self._parameters = {field: value for field, value in handshake.query.items() if field != "token"}
        for field in ("call_id", "leg"):
            if not self._parameters.get(field):
                raise ProtocolError(f"{field}: expected in the URL's query, by the dial option v(call_id=…,leg=…)")
        self._call_id = names.call_id("call_id", self._parameters["call_id"])
        self._leg = names.leg_id("leg", self._parameters["leg"])
        self._role = names.role(self._leg, self._parameters, roles)
        self._audio: AudioFormat | None = None
        self._early: EarlyAudio[bytes] = EarlyAudio("MEDIA_START")
        self._uses_json = False

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one frame. See `Dialect.receive`."""
        if isinstance(message, bytes):
            if self._audio is not None:
                return [AudioReceived(self._leg, message)]
            self._early.hold(message, len(message))
            return []
        self._uses_json = message.lstrip().startswith("{")
        control = decode(_decode, message) if self._uses_json else _plain(message)
        event = control.event.strip().upper()
        if event != "MEDIA_START":
            return [] if event in _IGNORED else [MessageIgnored("unknown_event")]
        return self._start(control)

    def awaits(self) -> str:
        """See `Dialect`."""
        return "MEDIA_START before the audio that came" if len(self._early) else "MEDIA_START"

    def _start(self, control: _Control) -> list[IngestEvent]:
        name = (control.format or "").strip().lower()
        audio = _FORMATS.get(name)
        if audio is None:
            raise UnsupportedMedia(f"format: expected one of {', '.join(_FORMATS)}, got {name!r:.40}")
        if self._audio is not None:
            if audio != self._audio:
                raise ProtocolError(f"format: expected that of the first MEDIA_START, got {name!r:.40}")
            return [MessageIgnored("repeated_start")]
        self._audio = audio
        started = StreamStarted(
            self._call_id, "asterisk", (LegDescription(self._leg, audio, self._role),), self._parameters
        )
        return [started, *(AudioReceived(self._leg, payload) for payload in self._early.release())]

    def goodbye(self, reason: str) -> list[str | bytes]:  # noqa: ARG002  Asterisk takes no reason
        """Return the command to hang up, in the form that Asterisk uses."""
        return ['{"command":"HANGUP"}' if self._uses_json else "HANGUP"]


def _plain(message: str) -> _Control:
    """Parse ``MEDIA_START connection_id:… channel:… format:ulaw …``; unknown fields are ignored."""
    event, *fields = message.split() or [""]
    if not event:
        raise BadMessage("message: expected a control message, got an empty one")
    values = dict(field.partition(":")[::2] for field in fields)
    return _Control(event, values.get("format", ""))
