"""Genesys AudioHook, version 2: both speakers of a contact centre's conversation on one connection.  [S]

Source: Genesys Cloud, "AudioHook protocol reference", and the vendor's reference implementation. Text frames are JSON
messages, numbered in each direction; binary frames are samples, interleaved for two channels: `external` is the
customer, `internal` the agent. The position advances while audio is discarded (on hold, in a secure pause); the client
sends by how much, which is a gap here.

PCMU is selected if offered. L16 is little-endian, as in the reference implementation.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from gateway.errors import BadMessage, Forbidden, MessageTooBig, ProtocolError, UnsupportedMedia
from gateway.ingest import names
from gateway.ingest.dialects.base import Dialect, Handshake
from gateway.ingest.dialects.channels import deinterleave
from gateway.ingest.dialects.tracks import Number, decode, parameters_of, whole_number
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    CallId,
    IngestEvent,
    LegDescription,
    LegId,
    MessageIgnored,
    StreamStarted,
    StreamStopped,
)

SIGNED = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""Components that a signature must cover."""
MAX_TEXT = 65_535
_NOBODY = "00000000-0000-0000-0000-000000000000"
_ROLES = {"external": "customer", "internal": "agent"}
_CHANNELS = set(_ROLES)
_ENCODINGS: dict[str, tuple[Literal["mulaw", "s16le"], int]] = {"PCMU": ("mulaw", 1), "L16": ("s16le", 2)}
"""Ours, and bytes a sample; the first is preferred."""
_RATES_HZ = (8_000, 16_000, 44_100, 48_000)
VERSION = 2
"""Of the protocol."""
_DURATION = re.compile(r"PT(\d+(?:\.\d*)?|\.\d+)S")


class _Media(msgspec.Struct):
    """One of the formats offered."""

    type: str
    format: str
    channels: list[str]
    rate: Number


class _Open(msgspec.Struct, rename="camel"):
    organization_id: str
    conversation_id: str
    media: list[Any]
    """Read one by one: an offer that we do not understand must not spoil the others."""
    participant: Any = None
    custom_config: Any = None


class _Gap(msgspec.Struct):
    start: str
    discarded: str


class _Close(msgspec.Struct):
    reason: str | None = None


class _Message(msgspec.Struct):
    version: Number
    id: str
    type: str
    seq: Number
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Message).decode


class AudioHook(Dialect):
    """One AudioHook session: legs ``external`` and ``internal`` of the conversation."""

    def __init__(self, handshake: Handshake, roles: Mapping[str, str]) -> None:
        """Read the upgrade's headers. `roles` maps leg names to roles; the defaults are customer and agent.

        Raises:
            ProtocolError: there is no session id.
        """
        self._session = names.call_id("Audiohook-Session-Id", handshake.headers.get("audiohook-session-id", ""))
        self._organization = handshake.headers.get("audiohook-organization-id", "")
        self._roles = _ROLES | dict(roles)
        self._seq = 0
        self._clientseq = 0
        self._state: Literal["new", "open", "paused", "closed"] = "new"
        self._legs: list[LegId] = []
        self._format = AudioFormat("mulaw", 8_000)
        self._sample_bytes = 1
        self._position_ms = 0.0
        self._replies: list[str | bytes] = []

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one frame. See `Dialect.receive`."""
        if isinstance(message, bytes):
            return self._audio(message)
        if len(message) > MAX_TEXT:
            raise MessageTooBig(f"message: expected at most {MAX_TEXT} characters, got {len(message)}")
        envelope = decode(_decode, message)
        kind = envelope.type.strip().lower()
        if (ignored := self._check(envelope, kind)) is not None:
            return ignored
        raw = bytes(envelope.parameters).decode()
        raw = "{}" if raw == "null" else raw
        match kind:
            case "open":
                return self._open(_read_open(raw))
            case "ping":
                return self._ping()
            case "paused":
                self._state = "paused"
            case "resumed" | "discarded":
                self._discard(decode(msgspec.json.Decoder(_Gap).decode, raw), resumed=kind == "resumed")
            case "update":
                self._reply("updated", {})
            case "close":
                return self._close(decode(msgspec.json.Decoder(_Close).decode, raw))
            case "dtmf" | "error" | "playback_started" | "playback_completed":
                pass  # `error` is followed by `close`
            case _:
                return [MessageIgnored("unknown_event")]
        return []

    def replies(self) -> list[str | bytes]:
        """Return the pending messages. See `Dialect.replies`."""
        replies, self._replies = self._replies, []
        return replies

    def goodbye(self, reason: str) -> list[str | bytes]:
        """Ask the peer to reconnect if the gateway shuts down; otherwise end the session."""
        if self._state == "closed":
            return []
        if reason == "shutdown":
            self._reply("reconnect", {"info": reason})
        else:
            kind = "completed" if reason == "call_too_long" else "error"
            self._reply("disconnect", {"reason": kind, "info": reason})
        return self.replies()

    def _check(self, message: _Message, kind: str) -> list[IngestEvent] | None:
        """Say what becomes of a message that need not be read: nothing, and it's counted. None for one to be read.

        Raises:
            BadMessage: it is of another session, or comes before `open`.
        """
        if whole_number("version", message.version) != VERSION:
            raise BadMessage(f"version: expected {VERSION}, got {message.version!r:.40}")
        if not _is_same(message.id, self._session):
            raise BadMessage(f"id: expected that of Audiohook-Session-Id, got {message.id!r:.40}")
        seq = int(whole_number("seq", message.seq))
        if seq <= self._clientseq:
            return [MessageIgnored("repeated_message")]
        if self._state == "new" and kind != "open":
            raise BadMessage(f"type: expected `open` first, got {message.type!r:.40}", "before_start")
        self._clientseq = seq
        if self._state != "new" and kind == "open":
            return [MessageIgnored("repeated_start")]
        return None

    def _open(self, offer: _Open) -> list[IngestEvent]:
        if not _is_same(offer.organization_id, self._organization):
            raise Forbidden("organizationId: expected that of Audiohook-Organization-Id")
        media = _best(offer.media)
        encoding, self._sample_bytes = _ENCODINGS[media.format]
        self._format = AudioFormat(encoding, int(media.rate))
        self._state = "open"
        self._reply("opened", {"media": [media], "startPaused": False})
        if offer.conversation_id == _NOBODY:
            return []  # a probe by Genesys, which closes right away
        self._legs = [LegId(channel) for channel in media.channels]
        parameters = parameters_of(offer.custom_config) | {"organizationId": offer.organization_id}
        if participant := parameters_of(offer.participant).get("id"):
            parameters["participantId"] = participant
        legs = tuple(LegDescription(leg, self._format, names.role(leg, parameters, self._roles)) for leg in self._legs)
        call_id: CallId = names.call_id("conversationId", offer.conversation_id)
        return [StreamStarted(call_id, "genesys", legs, parameters)]

    def _audio(self, message: bytes) -> list[IngestEvent]:
        if not self._legs:
            raise BadMessage("message: expected `open` before audio", "before_start")
        payloads = deinterleave(message, len(self._legs), self._sample_bytes)
        start_ms = self._position_ms
        self._position_ms += 1000 * len(payloads[0]) / (self._sample_bytes * self._format.rate_hz)
        return [
            AudioReceived(leg, payload, start_ms=start_ms) for leg, payload in zip(self._legs, payloads, strict=True)
        ]

    def _ping(self) -> list[IngestEvent]:
        self._reply("pong", {})
        # During a pause, which may be long, pings show that the peer is alive.
        return [AudioReceived(leg, b"") for leg in self._legs] if self._state == "paused" else []

    def _discard(self, gap: _Gap, *, resumed: bool) -> None:
        end_ms = _milliseconds("start", gap.start) + _milliseconds("discarded", gap.discarded)
        self._position_ms = max(self._position_ms, end_ms)
        if resumed:
            self._state = "open"

    def _close(self, close: _Close) -> list[IngestEvent]:
        self._reply("closed", {})
        self._state = "closed"
        return [StreamStopped("stopped" if close.reason in (None, "end") else f"{close.reason:.40}")]

    def _reply(self, kind: str, parameters: dict[str, Any]) -> None:
        self._seq += 1
        message = {
            "version": "2",
            "id": self._session,
            "type": kind,
            "seq": self._seq,
            "clientseq": self._clientseq,
            "parameters": parameters,
        }
        self._replies.append(msgspec.json.encode(message).decode())


def _read_open(raw: str) -> _Open:
    """Parse the parameters of ``open``. Raises ProtocolError, since there is no session without them."""
    try:
        return decode(msgspec.json.Decoder(_Open).decode, raw)
    except BadMessage as error:
        raise ProtocolError(str(error)) from None


def _is_same(one: str, other: str) -> bool:
    """Whether two UUIDs are the same, in any case (RFC 9562 section 4)."""
    return one.strip().lower() == other.strip().lower()


def _best(offered: list[Any]) -> _Media:
    """Return the offer with most speakers, in the best liked format. Raises UnsupportedMedia."""
    fit = []
    for one in offered:
        with contextlib.suppress(msgspec.ValidationError, BadMessage):
            media = msgspec.convert(one, _Media)
            media.type, media.format = media.type.strip().lower(), media.format.strip().upper()
            media.channels = [channel.strip().lower() for channel in media.channels]
            media.rate = int(whole_number("media.rate", media.rate))
            if _fits(media):
                fit.append(media)
    if not fit:
        raise UnsupportedMedia(f"media: expected audio in {' or '.join(_ENCODINGS)}, got none among {len(offered)}")
    formats = list(_ENCODINGS)
    return max(fit, key=lambda media: (len(media.channels), -formats.index(media.format)))


def _fits(media: _Media) -> bool:
    return (
        media.type == "audio"
        and media.format in _ENCODINGS
        and media.rate in _RATES_HZ
        and set(media.channels) <= _CHANNELS
        and 0 < len(set(media.channels)) == len(media.channels)
    )


def _milliseconds(field: str, value: str) -> float:
    """Read ``PT12.3S``. Raises BadMessage."""
    found = _DURATION.fullmatch(value.strip().upper())
    if found is None or len(value) > 24:
        raise BadMessage(f"{field}: expected a duration such as PT1.5S, got {value!r:.40}")
    return 1000 * float(found[1])
