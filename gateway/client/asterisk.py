"""A client that sends audio as a channel of Asterisk's chan_websocket.  [IO]"""

from __future__ import annotations

import json
from typing import Literal, Self
from urllib.parse import urlencode

from gateway.client.codecs import Encoding, Packetizer, Samples
from gateway.client.media import MediaSocket, bearer, websocket_url

ASTERISK_PATH = "/v1/media/asterisk"
FORMATS: dict[str, tuple[Encoding, int]] = {
    "ulaw": ("mulaw", 8_000),
    "alaw": ("alaw", 8_000),
    "slin": ("s16le", 8_000),
    "slin16": ("s16le", 16_000),
    "slin48": ("s16le", 48_000),
}
"""Encoding and rate in hertz, by Asterisk's name of the codec."""


class AsteriskChannel(MediaSocket):
    """One channel with one speaker.

    Args:
        url: base address of the gateway, or the whole address of its endpoint.
        call_id: as in the dial option ``v(call_id=…,leg=…)``.
        leg: the speaker's name.
        codec: one of `FORMATS`, as in ``c(slin16)``.
        control: plain text or JSON, as in ``f(json)``.
        token: a bearer token of the gateway.
    """

    def __init__(
        self,
        url: str,
        call_id: str,
        leg: str,
        codec: str = "slin16",
        control: Literal["plain-text", "json"] = "plain-text",
        token: str | None = None,
    ) -> None:
        query = urlencode({"call_id": call_id, "leg": leg})
        super().__init__(f"{websocket_url(url, ASTERISK_PATH)}?{query}", bearer(token), "media")
        encoding, self._rate_hz = FORMATS[codec]
        self._codec, self._control = codec, control
        self._packetizer = Packetizer(encoding, self._rate_hz)

    async def __aenter__(self) -> Self:
        """Connect, and send ``MEDIA_START``."""
        await super().__aenter__()
        frame_bytes = self._rate_hz // 50 * (2 if self._codec.startswith("slin") else 1)
        facts = {
            "connection_id": "e226f283-4be2-4ca3-a1ee-a79fba0d7ba2",
            "channel": "WebSocket/callscreen/0x7f2d1c",
            "format": self._codec,
            "optimal_frame_size": frame_bytes,
            "ptime": 20,
        }
        if self._control == "json":
            await self.transmit(json.dumps({"event": "MEDIA_START", **facts, "channel_variables": {}}))
        else:
            await self.transmit("MEDIA_START " + " ".join(f"{name}:{value}" for name, value in facts.items()))
        return self

    async def send(self, samples: Samples) -> None:
        """Send the next samples: float32, mono, 16 kHz."""
        for packet in self._packetizer.push(samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send the rest. Closing the socket ends the stream."""
        for packet in self._packetizer.flush():
            await self.transmit(packet)
