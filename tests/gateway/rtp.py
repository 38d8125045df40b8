"""Speech as RTP packets, and a socket that sends them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator

from detection import Samples
from gateway.client.codecs import encode


def packet(payload: bytes, seq: int, timestamp: int, *, ssrc: int = 7, payload_type: int = 0) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def pcmu(samples: Samples, *, ssrc: int = 7) -> Iterator[bytes]:
    """16 kHz audio as PCMU packets of 20 ms."""
    data = encode(samples[::2], "mulaw")
    for index in range(len(data) // 160):
        yield packet(data[160 * index : 160 * index + 160], 65_000 + index, 160 * index, ssrc=ssrc)


async def send(to: tuple[str, int], packets: Iterator[bytes], local: tuple[str, int] | None = None) -> None:
    """Send as fast as the gateway, in this same event loop, reads: a full socket buffer would lose packets."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=to, local_addr=local
    )
    for data in packets:
        transport.sendto(data)
        for _ in range(4):
            await asyncio.sleep(0)
    transport.close()
    await asyncio.sleep(0)  # then it is closed
