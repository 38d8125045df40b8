"""RTP without signalling: Janus ``rtp_forward``, mediasoup, rtpengine, Asterisk ``externalMedia``.  [IO]

A leg starts with its first packet. It ends with an RTCP BYE, after silence, or when the sender changes its codec; the
next packet starts it again.
"""

from __future__ import annotations

import asyncio
import secrets

from gateway import logs, refusals
from gateway.config import Settings
from gateway.errors import CallscreenError, ConfigError, ProtocolError, TooFast
from gateway.ingest.events import AudioReceived, CallId, Calls, LegDescription, LegId, StreamStarted
from gateway.ingest.listening import Listening, RtpReceiver
from gateway.ingest.rtp.settings import RtpPort, split_address
from gateway.ingest.rtp.voice import CODEC_CHANGE_PACKETS, Address, RtpDemux, Voice, srtp_session
from gateway.ingest.tolerance import Tolerance

REFUSED_PAUSE_S = 5.0
"""After a leg was refused (no room) or ended (too fast), its packets are dropped for this time, since they come at 50
per second."""
FAULTS = (ProtocolError.ended_by, TooFast.ended_by)
_log = logs.get(__name__)


class RtpPorts:
    """All configured ports."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._ports = [_Port(name, port, calls, settings) for name, port in settings.rtp.items()]

    @property
    def addresses(self) -> dict[str, Address]:
        """Bound address of each port, by name."""
        return {port.name: port.address for port in self._ports}

    async def open(self) -> None:
        """Start to listen. Raises ConfigError if an address cannot be used."""
        try:
            for port in self._ports:
                await port.open()
        except ConfigError:
            await self.close()
            raise

    async def close(self) -> None:
        """End all legs and close the ports."""
        await asyncio.gather(*(port.close() for port in self._ports))


class _Port:
    """One UDP port."""

    def __init__(self, name: str, port: RtpPort, calls: Calls, settings: Settings) -> None:
        self.name = name
        self.address: Address = ("", 0)
        self._port = port
        self._calls = calls
        self._settings = settings
        self._legs: dict[LegId, Listening] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._call_id = CallId("")
        self._refused_until_s: dict[LegId, float] = {}
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        key = self._port.srtp_key
        srtp = srtp_session(self._port.srtp_suite, key.get_secret_value()) if key else None
        voices = [Voice(LegId(leg), self._port.codecs, voice.ssrc) for leg, voice in self._port.legs.items()]
        receiver = RtpReceiver(RtpDemux(voices, srtp), self._heard, self._port.allow_ips)
        try:
            self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: receiver, local_addr=split_address("listen", self._port.listen)
            )
        except OSError as error:
            raise ConfigError(
                f"rtp.{self.name}.listen: cannot listen on {self._port.listen}: {error.strerror}"
            ) from None
        self.address = self._transport.get_extra_info("sockname")[:2]

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        for leg in self._legs.values():
            leg.end("shutdown")
        await asyncio.gather(*self._tasks)

    def _heard(self, voice: Voice, audio: AudioReceived | None) -> None:
        listening = self._legs.get(voice.leg)
        if listening is None and audio is not None and audio.payload:
            listening = self._open_leg(voice)
        if listening is None:
            return
        if audio is None:
            listening.end("stopped")
        elif voice.others >= CODEC_CHANGE_PACKETS:
            listening.end("codec_changed")
        else:
            listening.receive(audio)

    def _open_leg(self, voice: Voice) -> Listening | None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._refused_until_s.get(voice.leg, 0.0):
            return None
        if not self._legs:
            self._call_id = CallId(self._port.call_id or f"{self.name}-{secrets.token_hex(8)}")
        assert voice.codec is not None, "a voice with audio has a codec"
        role = self._port.legs[voice.leg].role or "unknown"
        started = StreamStarted(
            self._call_id, "rtp", (LegDescription(voice.leg, voice.codec.format, role),), tenant=self._port.tenant
        )
        try:
            listening = Listening(self._calls.open(started), self._settings.idle_deadline_s, Tolerance("rtp"))
        except CallscreenError as error:
            refusals.note(_log, "rtp leg refused", "rtp", error, call_id=self._call_id, leg=voice.leg)
            self._refused_until_s[voice.leg] = now_s + REFUSED_PAUSE_S
            voice.forget()
            return None
        self._legs[voice.leg] = listening
        task = asyncio.create_task(self._run(voice, listening), name=f"rtp {self.name}/{voice.leg}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return listening

    async def _run(self, voice: Voice, listening: Listening) -> None:
        try:
            if await listening.run() in FAULTS:
                self._refused_until_s[voice.leg] = asyncio.get_running_loop().time() + REFUSED_PAUSE_S
        except Exception:  # task root
            _log.exception("rtp leg failed", call_id=self._call_id, leg=voice.leg)
        finally:
            voice.forget()
            del self._legs[voice.leg]
