"""One leg that came over UDP or AudioSocket: open until its peer, the gateway, silence or a fault ends it.  [IO]"""

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
    """The leg, from the moment it was let in. `run` it; whatever else happens ends there."""

    def __init__(self, stream: OpenStream, idle_deadline_s: float | None, tolerance: Tolerance) -> None:
        """Listen; `idle_deadline_s` of silence end it, None for never; so do more bad payloads than `tolerance` has."""
        self._stream = stream
        self._tolerance = tolerance
        self._idle_deadline_s = idle_deadline_s
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        """When the last packet came, on the loop's clock."""
        self._ended: asyncio.Future[str] = self._loop.create_future()

    def receive(self, audio: AudioReceived) -> None:
        """Take one payload. Never waits."""
        if self._ended.done():
            return
        self.heard_s = self._loop.time()
        try:
            receive_tolerantly(self._stream, audio, self._tolerance)
        except ProtocolError as error:
            self.end(error.ended_by)

    def end(self, reason: str) -> None:
        """Let `run` finish."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def run(self) -> str:
        """Listen until it is over; returns the reason (``timeout`` after too long a silence)."""
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
    """Hand a payload on, and do without it when it cannot be decoded. Raises ProtocolError when the stream is over."""
    try:
        stream.receive(audio)
    except BadMessage as error:
        if tolerance.bad(error):
            _log.warning("payload ignored", leg=audio.leg, error=str(error))
    else:
        tolerance.good()


class RtpReceiver(asyncio.DatagramProtocol):
    """The socket side of an `RtpDemux`."""

    def __init__(
        self, demux: RtpDemux, heard: Callable[[Voice, AudioReceived | None], None], allow_ips: tuple[Network, ...]
    ) -> None:
        """Listen.

        Args:
            heard: called for each payload, and with None when the speaker said goodbye. It must not raise.
            allow_ips: who may send; empty for anyone.
        """
        self._demux = demux
        self._heard = heard
        self.allow_only(allow_ips)
        self._loop = asyncio.get_running_loop()

    def allow_only(self, networks: tuple[Network, ...]) -> None:
        """Let others send from now on."""
        self._allow_ips = networks
        self._allowed: str | None = None
        """The host that was looked up last: nearly all packets come from one."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Sort one datagram."""
        if addr[0] != self._allowed:
            if not is_allowed(addr[0], self._allow_ips):
                return
            self._allowed = addr[0]
        try:
            found = self._demux.receive(data, addr[:2], self._loop.time())
        except ProtocolError:
            return  # a source that keeps changing is not listened to any more, and silence ends the leg
        if found is not None:
            self._heard(*found)
