"""A leg that arrives over UDP or AudioSocket, until its peer, the gateway, silence or an error ends it.  [IO]"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway import logs
from gateway.errors import BadMessage, ProtocolError
from gateway.ingest.events import AudioReceived, OpenStream
from gateway.ingest.rtp.settings import Network, is_allowed
from gateway.ingest.rtp.voice import Address, RtpDemux, Voice
from gateway.ingest.tolerance import Tolerance

_log = logs.get(__name__)


class Listening:
    """An open leg. `run` returns when it ends, for whatever reason."""

    def __init__(self, stream: OpenStream, idle_deadline_s: float | None, tolerance: Tolerance) -> None:
        """Start with an open stream.

        Args:
            stream: receives the payloads.
            idle_deadline_s: silence that ends the leg, in seconds; None: no limit.
            tolerance: limits invalid payloads.
        """
        self._stream = stream
        self._tolerance = tolerance
        self._idle_deadline_s = idle_deadline_s
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        """Arrival of the last packet, on the loop's clock."""
        self._ended: asyncio.Future[str] = self._loop.create_future()

    def receive(self, audio: AudioReceived) -> None:
        """Process a payload. Never waits."""
        if self._ended.done():
            return
        self.heard_s = self._loop.time()
        try:
            receive_tolerantly(self._stream, audio, self._tolerance)
        except ProtocolError as error:
            self.end(error.ended_by)

    def end(self, reason: str) -> None:
        """Make `run` return `reason`."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        """Wait for the end; return the reason (``timeout`` after silence)."""
        by_gateway = asyncio.ensure_future(self._stream.closed())
        reason = "failed"
        try:
            while not (self._ended.done() or by_gateway.done()):
                left_s = self._left_s()
                if left_s is not None and left_s <= 0:
                    self.end("timeout")
                await asyncio.wait({self._ended, by_gateway}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            reason = (self._ended if self._ended.done() else by_gateway).result()
        finally:
            by_gateway.cancel()
            self._stream.close(reason)
        return reason

    def _left_s(self) -> float | None:
        return self._idle_deadline_s and self.heard_s + self._idle_deadline_s - self._loop.time()


def receive_tolerantly(stream: OpenStream, audio: AudioReceived, tolerance: Tolerance) -> None:
    """Pass a payload on; ignore it if it cannot be decoded. Raises ProtocolError if the stream must end."""
    try:
        stream.receive(audio)
    except BadMessage as error:
        if tolerance.bad(error):
            _log.warning("payload ignored", leg=audio.leg, error=str(error))
    else:
        tolerance.good()


class RtpReceiver(asyncio.DatagramProtocol):
    """The protocol of a UDP socket whose datagrams go to an `RtpDemux`."""

    def __init__(
        self, demux: RtpDemux, heard: Callable[[Voice, AudioReceived | None], None], allow_ips: tuple[Network, ...]
    ) -> None:
        """Start to receive.

        Args:
            demux: parses the datagrams.
            heard: called for each payload, and with None after an RTCP BYE. It must not raise.
            allow_ips: networks that may send; empty: any.
        """
        self._demux = demux
        self._heard = heard
        self.allow_only(allow_ips)
        self._loop = asyncio.get_running_loop()

    def allow_only(self, networks: tuple[Network, ...]) -> None:
        """Replace the networks that may send."""
        self._allow_ips = networks
        self._allowed: str | None = None
        """Cache: the last allowed host, from which nearly all packets come."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Process a datagram."""
        if addr[0] != self._allowed:
            if not is_allowed(addr[0], self._allow_ips):
                return
            self._allowed = addr[0]
        try:
            found = self._demux.receive(data, addr[:2], self._loop.time())
        except ProtocolError:
            return  # the source changed too often: it is ignored, and silence ends the leg
        if found is not None:
            self._heard(*found)
