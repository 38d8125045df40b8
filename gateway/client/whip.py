"""Sends one speaker to a gateway as a browser does: Opus over WebRTC, signalled by WHIP (RFC 9725).  [IO]

    async with WhipPublisher("http://127.0.0.1:8080", "call-1", "caller") as publisher:
        await publisher.play(samples)               # float32, mono, 16 kHz, in real time

`packets` and `transmit` are the two halves of `send`, for callers that keep their own time, or lose, delay or repeat
packets. In the context the connection is established: packets are sent at once.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import quote, urlsplit

import av
import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket

from gateway.client.codecs import CLIP_RATE_HZ, Samples

PACKET_MS = 20
PACKET_SAMPLES = CLIP_RATE_HZ * PACKET_MS // 1000
RTP_STEP = 48 * PACKET_MS
"""Opus uses an RTP clock of 48 kHz for any bandwidth (RFC 7587 section 4.1)."""
BIT_RATE = 32_000
"""Used by browsers for one voice."""
LOOPBACK = "127.0.0.1"


class WhipError(Exception):
    """The gateway refused (`status` has the reason), or no WebRTC connection was established (`status` is None)."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class OpusEncoder:
    """Encodes samples at 16 kHz into Opus packets of 20 ms, for input of any length."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate = CLIP_RATE_HZ
        self._codec.layout = "mono"
        self._codec.format = "s16"
        self._codec.bit_rate = BIT_RATE
        self._codec.options = {"application": "voip"}
        self._waiting: Samples = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> list[bytes]:
        """Add samples; return the full packets."""
        self._waiting = np.concatenate([self._waiting, np.asarray(samples, np.float32)])
        full = len(self._waiting) // PACKET_SAMPLES * PACKET_SAMPLES
        frames, self._waiting = self._waiting[:full].reshape(-1, 1, PACKET_SAMPLES), self._waiting[full:]
        return [packet for frame in frames for packet in self._encode(frame)]

    def flush(self) -> list[bytes]:
        """Return the rest; the last packet is padded with silence. The encoder cannot be used afterwards."""
        missing = -len(self._waiting) % PACKET_SAMPLES
        return self.push(np.zeros(missing, np.float32)) + [bytes(packet) for packet in self._codec.encode(None)]

    def _encode(self, samples: Samples) -> list[bytes]:
        pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = CLIP_RATE_HZ
        return [bytes(packet) for packet in self._codec.encode(frame)]


class WhipPublisher:
    """One speaker of one call, on a WebRTC connection that is open while the context is.

    Args:
        url: base address of the gateway. If it is on this machine, WebRTC uses 127.0.0.1, too.
        call_id: the call's id.
        leg: the speaker's name.
        token: a bearer token of the gateway.
        connect_timeout_s: for the request, ICE and DTLS together.
    """

    def __init__(
        self, url: str, call_id: str, leg: str, token: str | None = None, connect_timeout_s: float = 20.0
    ) -> None:
        self._endpoint = f"{url.rstrip('/')}/v1/whip/{quote(call_id, safe='')}/{quote(leg, safe='')}"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connect_timeout_s = connect_timeout_s
        self._is_local = urlsplit(url).hostname in ("localhost", LOOPBACK, "::1")
        self._session: str | None = None
        self._encoder = OpusEncoder()
        self._sequence_number = secrets.randbits(16)
        self._timestamp = secrets.randbits(32)

    async def __aenter__(self) -> Self:
        """Connect. Raises WhipError if the gateway refuses or WebRTC fails, else httpx's errors."""
        # In a thread, since it reads certificates. A proxy from the environment cannot reach this machine's ports.
        self._http = await asyncio.to_thread(httpx.AsyncClient, headers=self._headers, trust_env=not self._is_local)
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._sender = self._peer.addTransceiver(_NoTrack(), direction="sendonly").sender
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connect()
        except TimeoutError:
            await self.__aexit__(None, None, None)
            raise WhipError(f"no WebRTC connection within {self._connect_timeout_s:g} s") from None
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the session and close the connection."""
        if self._session is not None:
            with suppress(httpx.TransportError):  # the gateway may be gone
                await self._http.delete(self._session)
        await self._http.aclose()
        await self._peer.close()

    def packets(self, samples: Samples) -> list[RtpPacket]:
        """Return the packets that `samples` complete, in order. They are numbered: not idempotent."""
        return [self._packet(payload) for payload in self._encoder.push(samples)]

    async def transmit(self, packet: RtpPacket) -> None:
        """Send one packet now. Raises ConnectionError if the gateway has closed the connection."""
        await self._sender.transport._send_rtp(packet.serialize())

    async def send(self, samples: Samples) -> None:
        """Send the next samples without pacing: float32, mono, 16 kHz."""
        for packet in self.packets(samples):
            await self.transmit(packet)

    async def stop(self) -> None:
        """Send the rest. Closing the context ends the stream."""
        for payload in self._encoder.flush():
            await self.transmit(self._packet(payload))

    async def play(self, samples: Samples) -> None:
        """Send `samples` in real time: the packet that starts at t is sent at t."""
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for index, packet in enumerate(self.packets(samples)):
            await asyncio.sleep(start_s + index * PACKET_MS / 1000 - loop.time())
            await self.transmit(packet)

    async def _connect(self) -> None:
        decided = asyncio.Event()

        def on_state() -> None:
            if self._peer.connectionState not in ("new", "connecting"):
                decided.set()

        self._peer.on("connectionstatechange", on_state)
        if self._is_local:
            await self._offer_loopback()
        await self._peer.setLocalDescription()
        headers = {"Content-Type": "application/sdp"}
        response = await self._http.post(self._endpoint, content=self._peer.localDescription.sdp, headers=headers)
        if response.status_code != httpx.codes.CREATED:
            raise WhipError(f"{response.status_code}: {response.text}", response.status_code)
        self._session = str(response.url.join(response.headers["Location"]))
        await self._peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        await decided.wait()
        if self._peer.connectionState != "connected":
            raise WhipError(f"the WebRTC connection {self._peer.connectionState}")

    async def _offer_loopback(self) -> None:
        """Add a candidate for 127.0.0.1: ICE leaves it out, and a machine may have no other address."""
        gatherer = self._sender.transport.transport.iceGatherer
        await gatherer.gather()
        connection = gatherer._connection
        connection._local_candidates += await connection.get_component_candidates(1, [LOOPBACK])

    def _packet(self, payload: bytes) -> RtpPacket:
        packet = RtpPacket(
            payload_type=self._peer.getTransceivers()[0]._codecs[0].payloadType or 0,
            sequence_number=self._sequence_number,
            timestamp=self._timestamp,
            ssrc=self._sender._ssrc,
            payload=payload,
        )
        self._sequence_number = (self._sequence_number + 1) & 0xFFFF
        self._timestamp = (self._timestamp + RTP_STEP) & 0xFFFFFFFF
        return packet


class _NoTrack(MediaStreamTrack):
    """A track without frames: `WhipPublisher` numbers and sends the packets instead of aiortc's sender."""

    kind = "audio"

    async def recv(self) -> NoReturn:
        await asyncio.get_running_loop().create_future()
        raise AssertionError
