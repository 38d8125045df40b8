"""Send a call's audio into a gateway the way the telephony platforms do that send JSON.  [IO]

    async with TelnyxCall("http://127.0.0.1:8080", "v3:abc") as call:
        await call.send("inbound", samples)         # float32, mono, 16 kHz

Each class writes one vendor's messages, from that vendor's documentation and apart from the gateway's own readers.
Nothing here waits for time to pass: whoever sends decides how fast.
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
    """A call's tracks on one socket.

    Args:
        url: base address of the gateway, or the whole address of the door.
        call_id: the call's id, in the vendor's place for it.
        tracks: the tracks to be sent.
        parameters: what the operator tells the gateway of this call, in the vendor's place for it.
        headers: of the upgrade.
        encoding: how samples are coded.
        rate_hz: samples a second on the wire.
    """

    door: ClassVar[str]
    """What the gateway calls this vendor."""
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "audio/x-mulaw"}
    """The vendor's word for each encoding that it sends."""

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
        """Connect, and say what is coming."""
        await super().__aenter__()
        for message in self.opening(list(self._packetizers)):
            await self.transmit(json.dumps(message))
        return self

    def packets(self, track: str, samples: Samples) -> list[str]:
        """Return the media messages that `samples` complete, in order. Each is numbered once: not idempotent."""
        return [self._numbered(track, payload) for payload in self._packetizers[track].push(samples)]

    async def send(self, track: str, samples: Samples) -> None:
        """Send what is to be heard next on `track`: float32, mono, 16 kHz."""
        for packet in self.packets(track, samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send what is left of each track, and what this vendor says at the end."""
        for track, packetizer in self._packetizers.items():
            for payload in packetizer.flush():
                await self.transmit(self._numbered(track, payload))
        for message in self.closing():
            await self.transmit(json.dumps(message))

    @abstractmethod
    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:
        """Return what comes before the audio."""

    @abstractmethod
    def media(self, track: str, index: int, payload: str) -> dict[str, Any]:
        """Return the message of one packet: the `index`-th of its track, from 0."""

    @abstractmethod
    def closing(self) -> list[dict[str, Any]]:
        """Return what comes after the audio."""

    def next_sequence(self) -> int:
        """Count a message."""
        self._sequence += 1
        return self._sequence

    def _numbered(self, track: str, payload: bytes) -> str:
        index = self._packets_of_track[track]
        self._packets_of_track[track] += 1
        return json.dumps(self.media(track, index, base64.b64encode(payload).decode()))


class SignalWireCall(TrackCall):
    """SignalWire: Twilio's messages, a little different."""

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
    """Telnyx: payloads of RTP packets, numbered by `chunk`."""

    door = "telnyx"
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "PCMU", "alaw": "PCMA"}
    _stream_id = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:  # noqa: ARG002
        """``connected`` and ``start``; the tracks are not told."""
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
        """`chunk` puts them in order."""
        media = {"track": track, "chunk": str(index + 1), "timestamp": str(PACKET_MS * index), "payload": payload}
        sequence = str(self.next_sequence())
        return {"event": "media", "sequence_number": sequence, "media": media, "stream_id": self._stream_id}

    def closing(self) -> list[dict[str, Any]]:
        """``stop``."""
        stop = {"user_id": "3E6F995F-85F7-4705-9741-53B116D28237", "call_control_id": self.call_id}
        sequence = str(self.next_sequence())
        return [{"event": "stop", "sequence_number": sequence, "stop": stop, "stream_id": self._stream_id}]


class PlivoCall(TrackCall):
    """Plivo: no ``connected``, no ``stop``, Unix time."""

    door = "plivo"
    encodings: ClassVar[dict[Encoding, str]] = {"mulaw": "audio/x-mulaw", "s16le": "audio/x-l16"}
    _stream_id = "b77e037d-4119-44b5-902d-25826b654539"

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:
        """``start``, with a number as number."""
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
        """Chunks are numbers, time is text."""
        stamp = str(self._began_ms + PACKET_MS * index)
        media = {"track": track, "timestamp": stamp, "chunk": index + 1, "payload": payload}
        head = {"sequenceNumber": self.next_sequence(), "streamId": self._stream_id, "event": "media"}
        return head | {"media": media, "extra_headers": self._extra_headers}

    def closing(self) -> list[dict[str, Any]]:
        """Nothing: the end of the socket is the end."""
        return []


def plivo_signature(auth_token: str, url: str, nonce: str) -> dict[str, str]:
    """Return the headers that sign an upgrade to `url`: HMAC-SHA256 of URL, dot and nonce, in base64."""
    digest = hmac.new(auth_token.encode(), f"{url}.{nonce}".encode(), hashlib.sha256).digest()
    return {"X-Plivo-Signature-V3": base64.b64encode(digest).decode(), "X-Plivo-Signature-V3-Nonce": nonce}


class ExotelCall(TrackCall):
    """Exotel: the caller alone; `tracks` must be ``("caller",)``. `encoding` ``s16le`` is what its applets send."""

    door = "exotel"
    encodings: ClassVar[dict[Encoding, str]] = {"s16le": "audio/x-raw", "mulaw": "audio/x-mulaw"}
    _stream_sid = "MZ9b4f2d7f0a3c4f8e9d1b2c3a4d5e6f70"

    def opening(self, tracks: list[str]) -> list[dict[str, Any]]:  # noqa: ARG002  there is but one
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
        """No word of the track."""
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
        """``start`` with what each track is."""
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
        """Track and payload, and a number."""
        return {"eventType": "media", "track": track, "payload": payload, "sequenceNumber": str(index)}

    def closing(self) -> list[dict[str, Any]]:
        """``stop``."""
        return [{"eventType": "stop", "metadata": self._metadata}]


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header of Basic authentication (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def authenticated(token: str, vendor: type[TrackCall]) -> dict[str, str]:
    """Return the header by which `vendor` presents a token."""
    if vendor is TelnyxCall:
        return {"x-telnyx-streaming-auth-token": token}
    if vendor in (ExotelCall, BandwidthCall):
        return basic("callscreen", token)
    return bearer(token)
