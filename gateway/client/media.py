"""Send a call's audio into a gateway the way telephone systems do.  [IO]

    async with TwilioCall("http://127.0.0.1:8080", "CA1") as call:
        await call.send("inbound", samples)         # float32, mono, 16 kHz

Nothing here waits for time to pass: whoever sends decides how fast. `packets` and `transmit` are `send` in two halves,
for those who want to lose, delay or repeat a packet in between.
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
    """Return `url` for a websocket: ``http`` becomes ``ws``, and a bare base address gets `path`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") or path, parts.query, ""))


def twilio_signature(auth_token: str, url: str) -> str:
    """Return the X-Twilio-Signature of a websocket upgrade: HMAC-SHA1 of the URL alone, in base64."""
    return base64.b64encode(hmac.new(auth_token.encode(), url.encode(), hashlib.sha1).digest()).decode()


class Wire(Protocol):
    """An open websocket, as far as a sender needs one."""

    async def send(self, message: str | bytes) -> None:
        """Send one message: `str` in a text frame, `bytes` in a binary one."""
        ...

    async def recv(self) -> str | bytes:
        """Return the next message. Raises websockets' ConnectionClosed."""
        ...

    async def close(self) -> None:
        """Say goodbye and close."""
        ...


class Dial(Protocol):
    """Opens a websocket. `dial` does so over the network; a simulator may have another way."""

    async def __call__(self, url: str, headers: Mapping[str, str], subprotocol: str | None) -> Wire:
        """Connect. Raises OSError or websockets' InvalidHandshake when the gateway is not there or says no."""
        ...


async def dial(url: str, headers: Mapping[str, str], subprotocol: str | None) -> Wire:
    """Open a websocket over the network; see `Dial`."""
    # A proxy of the environment is for the world outside, and knows nothing of this machine's own ports.
    proxy: Literal[True] | None = None if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") else True
    offered = [Subprotocol(subprotocol)] if subprotocol else None
    return await connect(url, additional_headers=headers, subprotocols=offered, compression=None, proxy=proxy)


class MediaSocket:
    """A websocket that is open while the context is."""

    def __init__(self, url: str, headers: dict[str, str], subprotocol: str | None = None) -> None:
        self.dial: Dial = dial
        """How the connection is made; set another one before the context is entered."""
        self._address, self._headers, self._subprotocol = url, headers, subprotocol
        self._socket: Wire | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises OSError or websockets' InvalidHandshake when the gateway is not there or says no."""
        self._socket = await self.dial(self._address, self._headers, self._subprotocol)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def transmit(self, packet: str | bytes) -> None:
        """Send one packet. Raises websockets' ConnectionClosed, with the gateway's reason, when it hung up."""
        if self._socket is None:
            raise RuntimeError("not connected: use `async with`")
        await self._socket.send(packet)


class TwilioCall(MediaSocket):
    """Both tracks of one call on one socket, in the words of Twilio Media Streams.

    Args:
        url: base address of the gateway, or the whole address of its Twilio door.
        call_sid: the call's id.
        auth_token: signs the upgrade with it when given.
        parameters: ``customParameters`` of the start message.
        tracks: the tracks to be sent.
        token: a gateway's bearer token, which Twilio itself cannot send.
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
        """Connect, and say ``connected`` and ``start``."""
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
        """Return the media messages that `samples` complete, in order. Each must be numbered once: not idempotent."""
        return [self._media(track, payload) for payload in self._packetizers[track].push(samples)]

    async def send(self, track: str, samples: Samples) -> None:
        """Send what is to be heard next on `track`: float32, mono, 16 kHz."""
        for packet in self.packets(track, samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send what is left of each track, and ``stop``."""
        for track, packetizer in self._packetizers.items():
            for payload in packetizer.flush():
                await self.transmit(self._media(track, payload))
        await self.transmit(self._message("stop", {"accountSid": self._account_sid, "callSid": self._call_sid}))

    def _media(self, track: str, payload: bytes) -> str:
        self._packets += 1  # chunks are counted over both tracks, time is counted in each
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
    """Raw audio in binary frames of 20 ms: one leg, or one leg a channel.

    Args:
        url: base address of the gateway, or the whole address of its plain door.
        call_id: the call's id.
        leg: the speaker's name; for two channels both names with a comma between.
        encoding: how samples are coded.
        rate: samples per second on the wire, a multiple of 50.
        channels: 1 or 2; two are interleaved.
        token: the gateway's bearer token.
        role: who speaks, as the gateway is told; empty: nothing is told.
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
        told = {"role": role} if role else {}
        super().__init__(f"{websocket_url(url, PLAIN_PATH)}?{urlencode(query | told)}", bearer(token))
        self._packetizer = Packetizer(encoding, rate, channels)

    def packets(self, samples: Samples) -> list[bytes]:
        """Return the frames that `samples` complete, in order."""
        return self._packetizer.push(samples)

    async def send(self, samples: Samples) -> None:
        """Send what is to be heard next: float32 at 16 kHz, shape ``(n,)`` or ``(n, 2)``."""
        for packet in self.packets(samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send what is left; closing the socket ends the stream."""
        for packet in self._packetizer.flush():
            await self.transmit(packet)


def bearer(token: str | None) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
