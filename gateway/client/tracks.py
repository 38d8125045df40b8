"""Clients that send a call's audio as vendors with JSON messages do.  [IO]

    async with TelnyxCall("http://127.0.0.1:8080", "v3:abc") as call:
        await call.send("inbound", samples)         # float32, mono, 16 kHz

Each class writes one vendor's messages, from the vendor's documentation and independently of the gateway's parsers.
Nothing here keeps real time; the caller sets the pace.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from gateway.client.codecs import Encoding, Packetizer, Samples
from gateway.client.media import PACKET_MS, MediaSocket, bearer, websocket_url


class TrackCall(MediaSocket, ABC):
    """A call's tracks on one websocket.

    Args:
        url: base address of the gateway, or the whole address of the endpoint.
        call_id: the call's id, sent in the vendor's field.
        tracks: the tracks to be sent.
        parameters: the operator's parameters of the call, sent in the vendor's field.
        headers: headers of the upgrade.
        encoding: encoding of the audio.
        rate_hz: samples per second on the wire.
    """

    door: ClassVar[str]
    """Name of the endpoint."""
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "audio/x-mulaw"}
    """The vendor's name of each supported encoding."""

    def __init__(
        self,
        url: str,
        call_id: str,
        tracks: Sequence[str] = ("inbound", "outbound"),
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        encoding: Encoding = "mulaw",
        rate_hz: int = 8000,
    ) -> None:
        super().__init__(websocket_url(url, f"/v1/media/{self.door}"), dict(headers or {}))
        self.call_id = call_id
        self.parameters = dict(parameters or {})
        self.encoding, self.rate_hz = self.encodings[encoding], rate_hz
        self._packetizers = {track: Packetizer(encoding, rate_hz) for track in tracks}
        self._packets_of_track = dict.fromkeys(tracks, 0)
        self._sequence = 0

    async def __aenter__(self) -> Self:
        """Connect, and send the messages before the audio."""
        await super().__aenter__()
        for message in self.opening(list(self._packetizers)):
            await self.transmit(json.dumps(message))
        return self

    def packets(self, track: str, samples: Samples) -> list[str]:
        """Return the media messages that `samples` complete, in order. They are numbered: not idempotent."""
        return [self._numbered(track, payload) for payload in self._packetizers[track].push(samples)]

    async def send(self, track: str, samples: Samples) -> None:
        """Send the next samples of `track`: float32, mono, 16 kHz."""
        for packet in self.packets(track, samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send the rest of each track, and the messages after the audio."""
        for track, packetizer in self._packetizers.items():
            for payload in packetizer.flush():
                await self.transmit(self._numbered(track, payload))
        for message in self.closing():
            await self.transmit(json.dumps(message))

    @abstractmethod
    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:
        """Return the messages before the audio."""

    @abstractmethod
    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:
        """Return the message of packet number `index` of its track, from 0."""

    @abstractmethod
    def closing(self) -> list[dict[str, Any]]:
        """Return the messages after the audio."""

    def next_sequence(self) -> int:
        """Return the number of the next message."""
        self._sequence += 1
        return self._sequence

    def _numbered(self, track: str, payload: bytes) -> str:
        index = self._packets_of_track[track]
        self._packets_of_track[track] += 1
        return json.dumps(self.media(track, index, base64.b64encode(payload).decode()))


class SignalWireCall(TrackCall):
    """SignalWire: similar to Twilio."""

    door = "signalwire"
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "audio/x-mulaw", "s16le": "audio/x-L16"}

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:
        """``connected`` 0.2.0 and ``start``; no streamSid at top level."""
        start = {
            "streamSid": "6cf8e4b1-3e0e-4a1b-9f5f-2a1b6f0a6f6a",
            "accountSid": "b08dacad-4f16-4bfb-a5b2-1c6ee7cfb1ad",
            "callSid": self.call_id,
            "tracks": tracks,
            "customParameters": self.parameters,
            "mediaFormat": {"encoding": self.encoding, "sampleRate": self.rate_hz, "channels": 1},
        }
        return [
            {"event": "connected", "protocol": "Call", "version": "0.2.0"},
            {"event": "start", "sequenceNumber": str(self.next_sequence()), "start": start},
        ]

    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:
        """Chunks are counted per track."""
        media = {"track": track, "chunk": str(index + 1), "timestamp": str(PACKET_MS * index), "payload": payload}
        return {"event": "media", "sequenceNumber": str(self.next_sequence()), "media": media}

    def closing(self) -> list[dict[str, Any]]:
        """A bare ``stop``."""
        return [{"event": "stop", "sequenceNumber": str(self.next_sequence())}]


class TelnyxCall(TrackCall):
    """Telnyx: RTP payloads, numbered by `chunk`."""

    door = "telnyx"
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "PCMU", "alaw": "PCMA"}
    _stream_id = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:  # noqa: ARG002
        """``connected`` and ``start``, which does not list the tracks."""
        start: dict[str, Any] = {
            "user_id": "3E6F995F-85F7-4705-9741-53B116D28237",
            "call_control_id": self.call_id,
            "call_session_id": "ff55a038-6f5d-11ef-9692-02420aeffb1f",
            "from": "+13122010094",
            "to": "+13122123456",
            "tags": [],
            "client_state": None,
            "custom_parameters": self.parameters,
            "media_format": {"encoding": self.encoding, "sample_rate": self.rate_hz, "channels": 1},
        }
        return [
            {"event": "connected", "version": "1.0.0"},
            {
                "event": "start",
                "sequence_number": str(self.next_sequence()),
                "start": start,
                "stream_id": self._stream_id,
            },
        ]

    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:
        """`chunk` defines the order."""
        media = {"track": track, "chunk": str(index + 1), "timestamp": str(PACKET_MS * index), "payload": payload}
        sequence = str(self.next_sequence())
        return {"event": "media", "sequence_number": sequence, "media": media, "stream_id": self._stream_id}

    def closing(self) -> list[dict[str, Any]]:
        """``stop``."""
        stop = {"user_id": "3E6F995F-85F7-4705-9741-53B116D28237", "call_control_id": self.call_id}
        sequence = str(self.next_sequence())
        return [{"event": "stop", "sequence_number": sequence, "stop": stop, "stream_id": self._stream_id}]


class PlivoCall(TrackCall):
    """Plivo: no ``connected``, no ``stop``; timestamps in Unix time."""

    door = "plivo"
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "audio/x-mulaw", "s16le": "audio/x-l16"}
    _stream_id = "b77e037d-4119-44b5-902d-25826b654539"

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:
        """``start``; `sequenceNumber` is a JSON number."""
        self._began_ms = int(time.time() * 1000)
        self._extra_headers = ";".join(f"{key}={value}" for key, value in self.parameters.items())
        start = {
            "callId": self.call_id,
            "streamId": self._stream_id,
            "accountId": "206154",
            "tracks": tracks,
            "mediaFormat": {"encoding": self.encoding, "sampleRate": self.rate_hz},
        }
        sequence = self.next_sequence()
        return [{"sequenceNumber": sequence, "event": "start", "start": start, "extra_headers": self._extra_headers}]

    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:
        """`chunk` is a JSON number, `timestamp` a string."""
        stamp = str(self._began_ms + PACKET_MS * index)
        media = {"track": track, "timestamp": stamp, "chunk": index + 1, "payload": payload}
        head = {"sequenceNumber": self.next_sequence(), "streamId": self._stream_id, "event": "media"}
        return head | {"media": media, "extra_headers": self._extra_headers}

    def closing(self) -> list[dict[str, Any]]:
        """Nothing: the stream ends with the websocket."""
        return []


def plivo_signature(auth_token: str, url: str, nonce: str) -> dict[str, str]:
    """Return the headers that sign an upgrade to `url`: HMAC-SHA256 of URL, full stop and nonce, in base64."""
    digest = hmac.new(auth_token.encode(), f"{url}.{nonce}".encode(), hashlib.sha256).digest()
    return {"X-Plivo-Signature-V3": base64.b64encode(digest).decode(), "X-Plivo-Signature-V3-Nonce": nonce}


class ExotelCall(TrackCall):
    """Exotel: the caller only; `tracks` must be ``("caller",)``. Exotel's applets send ``s16le``."""

    door = "exotel"
    encodings: ClassVar[dict[Encoding, str]] = {"s16le": "audio/x-raw", "mulaw": "audio/x-mulaw"}
    _stream_sid = "MZ9b4f2d7f0a3c4f8e9d1b2c3a4d5e6f70"

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:  # noqa: ARG002  always one
        """``connected`` and ``start``."""
        start = {
            "stream_sid": self._stream_sid,
            "call_sid": self.call_id,
            "account_sid": "ACxxxxxxxxxxxxxxxxxxxxxxxx",
            "from": "+919876543210",
            "to": "+918047491899",
            "custom_parameters": self.parameters,
            "media_format": {"encoding": self.encoding, "sample_rate": str(self.rate_hz), "bit_rate": "16"},
        }
        sequence = str(self.next_sequence())
        head = {"event": "start", "sequence_number": sequence, "stream_sid": self._stream_sid}
        return [{"event": "connected"}, head | {"start": start}]

    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:  # noqa: ARG002
        """The message does not name the track."""
        media = {"chunk": str(index + 1), "timestamp": str(PACKET_MS * index), "payload": payload}
        sequence = str(self.next_sequence())
        return {"event": "media", "sequence_number": sequence, "stream_sid": self._stream_sid, "media": media}

    def closing(self) -> list[dict[str, Any]]:
        """``stop``."""
        stop = {"call_sid": self.call_id, "account_sid": "ACxxxxxxxxxxxxxxxxxxxxxxxx", "reason": "callended"}
        sequence = str(self.next_sequence())
        return [{"event": "stop", "sequence_number": sequence, "stream_sid": self._stream_sid, "stop": stop}]


class BandwidthCall(TrackCall):
    """Bandwidth: `eventType`, and media at top level."""

    door = "bandwidth"
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "audio/PCMU"}

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:
        """``start`` with the format of each track."""
        media_format = {"encoding": self.encoding, "sampleRate": self.rate_hz}
        self._metadata = {
            "accountId": "5555555",
            "callId": self.call_id,
            "streamId": "s-d45a41eb-bcb4581b-c18d-4bc5-9874-6b9d4f79bd6e",
            "streamName": "callscreen",
            "tracks": [{"name": track, "mediaFormat": media_format} for track in tracks],
        }
        return [{"eventType": "start", "metadata": self._metadata, "streamParams": self.parameters}]

    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:
        """Track, payload and a number."""
        return {"eventType": "media", "track": track, "payload": payload, "sequenceNumber": str(index)}

    def closing(self) -> list[dict[str, Any]]:
        """``stop``."""
        return [{"eventType": "stop", "metadata": self._metadata}]


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header of Basic authentication (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def authenticated(token: str, vendor: type[TrackCall]) -> dict[str, str]:
    """Return the header in which `vendor` sends a token."""
    if vendor is TelnyxCall:
        return {"x-telnyx-streaming-auth-token": token}
    if vendor in (ExotelCall, BandwidthCall):
        return basic("callscreen", token)
    return bearer(token)
