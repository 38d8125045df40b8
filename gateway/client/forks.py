"""Clients that send a call's audio as media forks do: one text frame of metadata, then binary frames.  [IO]

async with FreeSwitchFork("http://127.0.0.1:8080", {"call_id": "c-1"}, "stereo") as fork:
    await fork.send(samples)                    # float32, 16 kHz, shape (n, 2): left, right
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlencode

from gateway.client.codecs import Packetizer, Samples
from gateway.client.media import MediaSocket, websocket_url

Mix = Literal["mono", "stereo", "mixed"]


class Fork(MediaSocket):
    """Sends the metadata, then 16-bit little-endian samples in frames of 20 ms.

    Args:
        url: base address of the gateway, or the whole address of the endpoint.
        announcement: the application's metadata of the call.
        mix: ``stereo`` takes samples of shape ``(n, 2)``.
        rate_hz: samples per second on the wire.
        headers: headers of the upgrade.
    """

    door: ClassVar[str]
    """Name of the endpoint."""
    subprotocol: ClassVar[str | None] = None

    def __init__(
        self,
        url: str,
        announcement: Mapping[str, Any],
        mix: Mix = "mono",
        rate_hz: int = 8000,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(websocket_url(url, f"/v1/media/{self.door}"), dict(headers or {}), self.subprotocol)
        self.mix, self.rate_hz = mix, rate_hz
        self._announcement = dict(announcement)
        self._packetizer = Packetizer("s16le", rate_hz, 2 if mix == "stereo" else 1)

    async def __aenter__(self) -> Self:
        """Connect, and send the metadata."""
        await super().__aenter__()
        if announced := self.announced(self._announcement):
            await self.transmit(json.dumps(announced))
        return self

    def announced(self, announcement: dict[str, Any]) -> dict[str, Any] | None:
        """Return the first text frame; None: there is none."""
        return announcement

    def packets(self, samples: Samples) -> list[bytes]:
        """Return the frames that `samples` complete, in order."""
        return self._packetizer.push(samples)

    async def send(self, samples: Samples) -> None:
        """Send the next samples: float32 at 16 kHz."""
        for packet in self.packets(samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send the rest. Closing the socket ends the stream."""
        for packet in self._packetizer.flush():
            await self.transmit(packet)


class FreeSwitchFork(Fork):
    """mod_audio_fork. The dialplan's metadata is sent unchanged; by convention it includes rate and mix."""

    door = "freeswitch"
    subprotocol = "audio.drachtio.org"

    def announced(self, announcement: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata."""
        return {"rate": f"{self.rate_hz // 1000}k", "mix": self.mix} | announcement


class JambonzListen(Fork):
    """jambonz ``listen``: the call's attributes, which contain the application's metadata."""

    door = "jambonz"
    subprotocol = "audio.jambonz.org"

    def announced(self, announcement: dict[str, Any]) -> dict[str, Any]:
        """Return the attributes; the announcement must have ``callSid``."""
        attributes = {"sampleRate": self.rate_hz, "mixType": self.mix, "direction": "inbound", "from": "+15083728299"}
        own = {key: value for key, value in announcement.items() if key != "callSid"}
        return attributes | {"callSid": announcement["callSid"], "metadata": own}


class VonageSocket(Fork):
    """Vonage's websocket endpoint: the `headers` of the NCCO at top level; the audio is mixed."""

    door = "vonage"

    def announced(self, announcement: dict[str, Any]) -> dict[str, Any]:
        """Return ``websocket:connected``."""
        head = {"event": "websocket:connected", "content-type": f"audio/l16;rate={self.rate_hz}"}
        return head | announcement


class LiveKitTrack(Fork):
    """LiveKit's track egress: the track of one participant; the announcement goes into the URL's query."""

    door = "livekit"

    def __init__(self, url: str, announcement: Mapping[str, Any], token: str, rate_hz: int = 48_000) -> None:
        query = urlencode({"token": token, "rate": rate_hz} | dict(announcement))
        super().__init__(
            f"{websocket_url(url, '/v1/media/livekit')}?{query}", {}, "mono", rate_hz, {"Content-Type": "audio/x-raw"}
        )

    def announced(self, announcement: dict[str, Any]) -> None:
        """Return nothing: the URL has the announcement."""

    async def mute(self, *, muted: bool) -> None:
        """Send that the participant muted or unmuted the track."""
        await self.transmit(json.dumps({"muted": muted}))
