"""The receiving side of a WebRTC connection with one speaker; packets are not decoded here.  [IO]

It uses aiortc's ICE and DTLS transports without its `RTCPeerConnection`, which has a decoder thread per track, a jitter
buffer that turns one lost packet into 320 ms of silence, and an unbounded queue; a leg has its own ordering, decoder
and limits. RTCP receiver reports (RFC 3550 section 6.4.2) are sent as usual.

aiortc's interface between a transport and its receiver is private; this is the only module that uses it.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence

from aiortc import (
    RTCCertificate,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceServer,
    RTCIceTransport,
)
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtcpReceiverInfo, RtcpRrPacket, RtcpSrPacket, RtpPacket

from gateway.errors import CallscreenError
from gateway.ingest.webrtc.sdp import Offer, write_answer

LOOPBACK = "127.0.0.1"
REPORT_INTERVAL_S = 1.0
"""Mean interval; each is varied by up to a half, so that reports do not synchronise (RFC 3550 section 6.3.1)."""


class AudioPeer:
    """Answers an offer, connects, and passes each packet on as it arrives. Call `answer`, `run`, `close`, in this
    order."""

    def __init__(
        self,
        offer: Offer,
        on_packet: Callable[[RtpPacket], None],
        ice_servers: Sequence[str] = (),
        loopback: bool = False,
    ) -> None:
        """Start nothing yet.

        Args:
            offer: the accepted offer.
            on_packet: called on the event loop for each RTP packet of the negotiated codec, in order of arrival. Must
                not raise.
            ice_servers: STUN or TURN URLs.
            loopback: also offer 127.0.0.1, which ICE leaves out (RFC 8445 section 5.1.1.1).
        """
        self._offer = offer
        self._on_packet = on_packet
        self._loopback = loopback
        self._ice = RTCIceTransport(RTCIceGatherer([RTCIceServer(url) for url in ice_servers]))
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
        self._dtls.on("statechange", self._on_dtls_state)
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ssrc = secrets.randbits(32)
        self._source: int | None = None
        self._statistics = StreamStatistics(offer.codec.clockRate)
        self._sender_report: tuple[int, float] | None = None

    async def answer(self) -> str:
        """Open the ports; return the answer with all candidates. Raises CallscreenError if there is no address."""
        gatherer = self._ice.iceGatherer
        await gatherer.gather()
        if self._loopback:
            connection = gatherer._connection
            connection._local_candidates += await connection.get_component_candidates(1, [LOOPBACK])
        candidates = gatherer.getLocalCandidates()
        if not candidates:
            raise CallscreenError("this gateway has no network address for media")
        fingerprints = self._dtls.getLocalParameters().fingerprints
        session_id = secrets.randbits(62)
        return write_answer(self._offer, session_id, candidates, gatherer.getLocalParameters(), fingerprints)

    async def run(self) -> str:
        """Connect, and receive until the end. ICE has no deadline; the caller sets one.

        Returns:
            ``unreachable``; ``stopped`` after a BYE; ``disconnected`` if the peer disappeared (ICE consent, RFC 7675,
            is checked every 5 s and expires after six failures).
        """
        await self._ice.start(self._offer.ice)
        if self._ice.state != "completed":
            return "unreachable"
        self._dtls._set_role(self._offer.dtls_role)
        self._dtls._register_rtp_receiver(
            self, RTCRtpReceiveParameters(codecs=[self._offer.codec], muxId=self._offer.mid)
        )
        await self._dtls.start(self._offer.dtls)
        if self._dtls.state != "connected":
            return "unreachable"
        while not self._over.done():
            await asyncio.wait([self._over], timeout=REPORT_INTERVAL_S * random.uniform(0.5, 1.5))  # noqa: S311
            await self._report()
        return self._over.result()

    async def close(self) -> None:
        """Close the connection and the ports; then `run` returns.

        Cancelling `run` is not enough: up to Python 3.11 `asyncio.wait_for`, used by the DTLS handshake, may swallow
        the cancellation.
        """
        self._end("closed")
        await self._dtls.stop()
        await self._ice.stop()

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    def _on_dtls_state(self) -> None:
        if self._dtls.state == "closed":
            self._end("disconnected")

    async def _report(self) -> None:
        """Send a receiver report, by which the sender estimates the path, and sees that it is received."""
        if self._source is None or self._over.done():
            return
        last_report, delay = 0, 0
        if self._sender_report is not None:
            last_report, at_s = self._sender_report
            delay = round((asyncio.get_running_loop().time() - at_s) * 65536)
        received = self._statistics
        report = RtcpReceiverInfo(
            ssrc=self._source,
            fraction_lost=received.fraction_lost,
            packets_lost=received.packets_lost,
            highest_sequence=received.cycles + (received.max_seq or 0),
            jitter=received.jitter,
            lsr=last_report,
            dlsr=delay,
        )
        try:
            await self._dtls._send_rtp(bytes(RtcpRrPacket(self._ssrc, [report])))
        except ConnectionError:
            self._end("disconnected")

    # Called by aiortc's transport (`aiortc.rtcdtlstransport.RtpReceiver`).

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:  # noqa: ARG002
        if packet.ssrc != self._source:
            self._source, self._sender_report = packet.ssrc, None
            self._statistics = StreamStatistics(self._offer.codec.clockRate)
        self._statistics.add(packet)
        self._on_packet(packet)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == self._source:
            middle_of_ntp_time = (packet.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF
            self._sender_report = (middle_of_ntp_time, asyncio.get_running_loop().time())
        elif isinstance(packet, RtcpByePacket) and self._source in packet.sources:
            self._end("stopped")

    def _handle_disconnect(self) -> None:
        pass  # `_on_dtls_state` handles every kind of end
