"""AudioSocket client: sends audio to a gateway as Asterisk does.  [IO]

Source: https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import struct
from types import TracebackType
from typing import Self
from uuid import UUID

from gateway.client.codecs import Packetizer, Samples

HANGUP, IDENTIFY, DTMF = 0x00, 0x01, 0x03
AUDIO_TYPES = {
    8_000: 0x10, 12_000: 0x11, 16_000: 0x12, 24_000: 0x13, 32_000: 0x14,
    44_100: 0x15, 48_000: 0x16, 96_000: 0x17, 192_000: 0x18,
}  # fmt: skip
"""Frame type of signed linear audio, by its rate in hertz."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return one frame: type, length (big-endian), payload."""
    return struct.pack(">BH", kind, len(payload)) + payload


def leg_uuid(secret: str, call: bytes, leg: int) -> UUID:
    """Return the UUID that identifies a leg to a gateway with this `audiosocket.secret`.

    Args:
        secret: shared with the gateway.
        call: 6 bytes; in hexadecimal they are the call's id.
        leg: index of the leg's name in the gateway's `audiosocket.legs`, 0 to 4095.
    """
    head = call + struct.pack(">H", 0x8000 | leg)
    mac = hmac.new(secret.encode(), head, hashlib.sha256).digest()[:8]
    return UUID(bytes=head + (struct.unpack(">Q", mac)[0] & (1 << 62) - 1 | 1 << 63).to_bytes(8))


class AudioSocketStream:
    """One speaker on one connection.

    Args:
        host: the gateway's host.
        port: its AudioSocket port.
        uuid: identifies the leg.
        rate: samples per second on the wire.
    """

    def __init__(self, host: str, port: int, uuid: UUID, rate: int = 8_000) -> None:
        self._address = (host, port)
        self._uuid = uuid
        self._type = AUDIO_TYPES[rate]
        self._packetizer = Packetizer("s16le", rate)

    async def __aenter__(self) -> Self:
        """Connect and send the UUID. Raises OSError if nobody listens."""
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        await self.transmit(frame(IDENTIFY, self._uuid.bytes))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def transmit(self, packet: bytes) -> None:
        """Send one frame. Raises ConnectionError if the gateway has closed the connection."""
        self._writer.write(packet)
        await self._writer.drain()

    async def send(self, samples: Samples) -> None:
        """Send the next samples: float32, mono, 16 kHz."""
        for payload in self._packetizer.push(samples):
            await self.transmit(frame(self._type, payload))

    async def stop(self) -> None:
        """Send the rest, and hang up."""
        for payload in self._packetizer.flush():
            await self.transmit(frame(self._type, payload))
        await self.transmit(frame(HANGUP))

    async def closed(self) -> bytes:
        """Wait until the gateway closes the connection; return what it sent."""
        return await self._reader.read()
