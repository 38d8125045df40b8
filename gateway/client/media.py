"""Clients that send a call's audio over a websocket: Twilio and plain audio.  [IO]

    async with TwilioCall("http://127.0.0.1:8080", "CA1") as call:
        await call.send("inbound", samples)         # float32, mono, 16 kHz

Nothing here keeps real time; the caller sets the pace. `packets` and `transmit` are the two halves of `send`, for
callers that lose, delay or repeat packets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from gateway.client.codecs import Encoding, Packetizer, Samples

TWILIO_PATH = "/v1/media/twilio"
PLAIN_PATH = "/v1/media/plain"
PACKET_MS = 20


def websocket_url(url: str, path: str) -> str:
    """Return `url` for a websocket: ``http`` becomes ``ws``, and a base address without a path gets `path`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") or path, parts.query, ""))


def twilio_signature(auth_token: str, url: str) -> str:
    """Return the X-Twilio-Signature of a websocket upgrade: HMAC-SHA1 of the URL alone, in base64."""
    return base64.b64encode(hmac.new(auth_token.encode(), url.encode(), hashlib.sha1).digest()).decode()


class Wire(Protocol):
    """The part of a websocket connection that clients use."""

    async def send(self, message: str | bytes) -> None:
        """Send one message: `str` in a text frame, `bytes` in a binary one."""
        ...

    async def recv(self) -> str | bytes:
        """Return the next message. Raises websockets' ConnectionClosed."""
        ...

    async def close(self) -> None:
        """Send a close frame, and close."""
        ...


class Dial(Protocol):
    """Opens a websocket. `dial` does so over the network; a simulator may replace it."""

    async def __call__(self, url: str, headers: Mapping[str, str], subprotocol: str | None) -> Wire:
        """Connect. Raises OSError or websockets' InvalidHandshake if the gateway cannot be reached or refuses."""
        ...


async def dial(url: str, headers: Mapping[str, str], subprotocol: str | None) -> Wire:
    """Open a websocket over the network; see `Dial`."""
    # A proxy from the environment cannot reach this machine's ports.
    proxy: Literal[True] | None = None if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") else True
    offered = [Subprotocol(subprotocol)] if subprotocol else None
    return await connect(url, additional_headers=headers, subprotocols=offered, compression=None, proxy=proxy)


class MediaSocket:
    """A websocket that is open while the context is."""

    def __init__(self, url: str, headers: dict[str, str], subprotocol: str | None = None) -> None:
        self.dial: Dial = dial
        """Opens the connection; may be replaced before the context is entered."""
        self._address, self._headers, self._subprotocol = url, headers, subprotocol
        self._socket: Wire | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises OSError or websockets' InvalidHandshake if the gateway cannot be reached or refuses."""
        self._socket = await self.dial(self._address, self._headers, self._subprotocol)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def transmit(self, packet: str | bytes) -> None:
        """Send one packet. Raises websockets' ConnectionClosed, with the gateway's reason, if it closed the stream."""
        if self._socket is None:
            raise RuntimeError("not connected: use `async with`")
        await self._socket.send(packet)


class TwilioCall(MediaSocket):
    """Both tracks of a call on one websocket, as Twilio Media Streams sends them.

    Args:
        url: base address of the gateway, or the whole address of its Twilio endpoint.
        call_sid: the call's id.
        auth_token: signs the upgrade; None: unsigned.
        parameters: ``customParameters`` of the start message.
        tracks: the tracks to be sent.
        token: a bearer token of the gateway, which Twilio itself cannot send.
    """

    def __init__(
        self,
        url: str,
        call_sid: str,
        auth_token: str | None = None,
        parameters: Mapping[str, str] | None = None,
        tracks: Sequence[str] = ("inbound", "outbound"),
        token: str | None = None,
    ) -> None:
        address = websocket_url(url, TWILIO_PATH)
        headers = {"X-Twilio-Signature": twilio_signature(auth_token, address)} if auth_token else {}
        super().__init__(address, headers | bearer(token))
        self._call_sid = call_sid
        self._account_sid, self._stream_sid = f"AC{secrets.token_hex(16)}", f"MZ{secrets.token_hex(16)}"
        self._parameters = dict(parameters or {})
        self._packetizers = {track: Packetizer("mulaw", 8000) for track in tracks}
        self._packets_of_track = dict.fromkeys(tracks, 0)
        self._packets = 0
        self._sequence = 0

    async def __aenter__(self) -> Self:
        """Connect, and send ``connected`` and ``start``."""
        await super().__aenter__()
        await self.transmit(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        start = {
            "accountSid": self._account_sid,
            "streamSid": self._stream_sid,
            "callSid": self._call_sid,
            "tracks": list(self._packetizers),
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._parameters,
        }
        await self.transmit(self._message("start", start))
        return self

    def packets(self, track: str, samples: Samples) -> list[str]:
        """Return the media messages that `samples` complete, in order. They are numbered: not idempotent."""
        return [self._media(track, payload) for payload in self._packetizers[track].push(samples)]

    async def send(self, track: str, samples: Samples) -> None:
        """Send the next samples of `track`: float32, mono, 16 kHz."""
        for packet in self.packets(track, samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send the rest of each track, and ``stop``."""
        for track, packetizer in self._packetizers.items():
            for payload in packetizer.flush():
                await self.transmit(self._media(track, payload))
        await self.transmit(self._message("stop", {"accountSid": self._account_sid, "callSid": self._call_sid}))

    def _media(self, track: str, payload: bytes) -> str:
        self._packets += 1  # chunks are counted over both tracks, time per track
        media = {
            "track": track,
            "chunk": str(self._packets),
            "timestamp": str(self._packets_of_track[track] * PACKET_MS),
            "payload": base64.b64encode(payload).decode(),
        }
        self._packets_of_track[track] += 1
        return self._message("media", media)

    def _message(self, event: str, body: dict[str, Any]) -> str:
        self._sequence += 1
        return json.dumps(
            {"event": event, "sequenceNumber": str(self._sequence), event: body, "streamSid": self._stream_sid}
        )


class PlainStream(MediaSocket):
    """Raw audio in binary frames of 20 ms: one leg, or one leg per channel.

    Args:
        url: base address of the gateway, or the whole address of its plain endpoint.
        call_id: the call's id.
        leg: the speaker's name; for two channels both names, separated by a comma.
        encoding: encoding of the audio.
        rate: samples per second on the wire, a multiple of 50.
        channels: 1 or 2; two are interleaved.
        token: a bearer token of the gateway.
        role: role of the speaker; empty: not sent.
    """

    def __init__(
        self,
        url: str,
        call_id: str,
        leg: str,
        encoding: Encoding = "mulaw",
        rate: int = 8000,
        channels: int = 1,
        token: str | None = None,
        role: str = "",
    ) -> None:
        query = {"call_id": call_id, "leg": leg, "encoding": encoding, "rate": rate, "channels": channels}
        optional = {"role": role} if role else {}
        super().__init__(f"{websocket_url(url, PLAIN_PATH)}?{urlencode(query | optional)}", bearer(token))
        self._packetizer = Packetizer(encoding, rate, channels)

    def packets(self, samples: Samples) -> list[bytes]:
        """Return the frames that `samples` complete, in order."""
        return self._packetizer.push(samples)

    async def send(self, samples: Samples) -> None:
        """Send the next samples: float32 at 16 kHz, shape ``(n,)`` or ``(n, 2)``."""
        for packet in self.packets(samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send the rest. Closing the socket ends the stream."""
        for packet in self._packetizer.flush():
            await self.transmit(packet)


def bearer(token: str | None) -> dict[str, str]:
    """Return the header with a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
