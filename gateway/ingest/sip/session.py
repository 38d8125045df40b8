"""The media of one SIP call: a pair of UDP ports and a leg for each m-line that is received.  [IO]"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import itertools
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

from gateway import logs
from gateway.config import Settings
from gateway.errors import Forbidden, Overloaded, Unprocessable
from gateway.ingest.events import AudioReceived, Calls, LegDescription, LegId, Role, StreamStarted
from gateway.ingest.listening import Listening, RtpReceiver
from gateway.ingest.rtp.settings import Network
from gateway.ingest.rtp.voice import SRTP_KEY_BYTES, RtpCodec, RtpDemux, Voice, srtp_session
from gateway.ingest.sip import identity, sdp
from gateway.ingest.sip.dialog import Dialog
from gateway.ingest.sip.multipart import Body
from gateway.ingest.sip.recording import Metadata
from gateway.ingest.sip.sdp import AnswerLine, Crypto, MediaLine
from gateway.ingest.sip.settings import SipSettings
from gateway.ingest.tolerance import Tolerance

_log = logs.get(__name__)


@dataclass(slots=True)
class Media:
    """An m-line that is received."""

    codec: RtpCodec
    payload_types: dict[int, RtpCodec]
    demux: RtpDemux
    port: int
    transports: tuple[asyncio.DatagramTransport, asyncio.DatagramTransport]
    receiver: RtpReceiver
    listening: Listening
    remote_crypto: Crypto | None
    local_crypto: Crypto | None
    sends: bool

    def close(self, reason: str) -> None:
        """End the leg and release the ports."""
        self.listening.end(reason)
        for transport in self.transports:
            transport.close()


class Ports:
    """The range of UDP ports for media, used in pairs: RTP on the even port, RTCP above (RFC 3550 section 11)."""

    def __init__(self, first: int, last: int) -> None:
        self._first = first + first % 2
        self._pairs = max(1, (last + 1 - self._first) // 2)
        self._next = 0

    def take(self, host: str) -> tuple[int, socket.socket, socket.socket]:
        """Return a free pair of ports, bound. Raises Overloaded if there is none."""
        for _ in range(self._pairs):
            port = self._first + 2 * self._next
            self._next = (self._next + 1) % self._pairs
            try:
                rtp = _bound(host, port)
            except OSError:
                continue
            try:
                return port, rtp, _bound(host, port + 1)
            except OSError:
                rtp.close()
        raise Overloaded("rtp_ports: all ports for media are in use")


class SipSession:
    """Receives the media of one dialog."""

    def __init__(
        self,
        dialog: Dialog,
        calls: Calls,
        settings: Settings,
        sip: SipSettings,
        ports: Ports,
        on_over: Callable[[str], None],
    ) -> None:
        """`on_over` is called when the gateway or an error ends the call, but not when the peer does."""
        self.is_recording = identity.is_recording(dialog.invitation)
        self.turn = asyncio.Lock()
        """Held while an offer is answered, so that offers are answered one after another."""
        self._dialog = dialog
        self._calls = calls
        self._settings = settings
        self._sip = sip
        self._ports = ports
        self._on_over = on_over
        self._call_id = identity.call_id(dialog.invitation, sip)
        self._metadata = Metadata()
        self._media: dict[int, Media] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: list[MediaLine] = []
        self._id, self._version = secrets.randbits(62), itertools.count(1)
        self._idle_since_s = asyncio.get_running_loop().time()

    async def answer(self, body: Body) -> bytes:
        """Process an offer, the first or a later one; return the answer.

        Raises:
            CallscreenError: it cannot be served; the earlier agreement remains.
        """
        if body.metadata is not None:
            self._metadata.merge(body.metadata)
        lines = sdp.read(body.sdp) if body.sdp is not None else self._lines or [sdp.default_offer()]
        self._check(lines)
        answers = [await self._line(index, line) for index, line in enumerate(lines)]
        self._lines = lines
        host = self._sip.public_host or self._dialog.flow.local[0]
        return sdp.write(host, self._id, next(self._version), answers)

    def end(self, reason: str) -> None:
        """End all legs. Idempotent."""
        for index in list(self._media):
            self._media.pop(index).close(reason)

    async def ended(self) -> None:
        """Wait until the legs have ended."""
        await asyncio.gather(*self._tasks)

    def is_idle(self, now_s: float) -> bool:
        """Whether no media came for too long, although at least one speaker should send. A single speaker may be
        silent."""
        if not any(media.sends for media in self._media.values()):
            self._idle_since_s = now_s
        heard_s = max((media.listening.heard_s for media in self._media.values()), default=now_s)
        return now_s - max(heard_s, self._idle_since_s) > self._settings.idle_deadline_s

    def _check(self, lines: list[MediaLine]) -> None:
        """Check an offer before anything is changed. Raises Unprocessable, Forbidden."""
        if not any(self._is_accepted(index, line) for index, line in enumerate(lines)):
            raise Unprocessable("sdp: expected audio in opus/48000, G722/8000, PCMU/8000, PCMA/8000 or L16, found none")
        for index, line in enumerate(lines):
            media = self._media.get(index)
            if media is not None and line.is_wanted and media.codec not in line.codecs().values():
                raise Unprocessable(f"sdp: expected {media.codec.name} again, which was negotiated")
            if len(self._metadata.speakers(line.label)) > 1 and not self._sip.allow_mixed:
                raise Forbidden("sdp: expected one participant per stream, got several; `sip.allow_mixed` accepts them")

    def _is_accepted(self, index: int, line: MediaLine) -> bool:
        is_spare = not self.is_recording and any(other < index for other in self._media)
        return line.is_wanted and bool(line.codecs()) and (bool(line.cryptos) or not line.is_encrypted) and not is_spare

    async def _line(self, index: int, line: MediaLine) -> AnswerLine:
        media = self._media.get(index)
        if not self._is_accepted(index, line):
            if media is not None:
                self._media.pop(index).close("stopped")
            return AnswerLine(line, 0)
        if media is None:
            media = self._media[index] = await self._open(index, line)
        number = next(number for number, codec in line.codecs().items() if codec == media.codec)
        media.payload_types[number] = media.codec
        media.sends = line.sends
        media.receiver.allow_only(self._senders(line))
        if line.is_encrypted and line.cryptos[0] != media.remote_crypto:
            _encrypt(media, line.cryptos[0])
        return AnswerLine(line, media.port, number, media.codec, media.local_crypto)

    async def _open(self, index: int, line: MediaLine) -> Media:
        number, codec = next(iter(line.codecs().items()))
        leg, role = self._who(index, line)
        started = StreamStarted(
            self._call_id,
            "siprec" if self.is_recording else "sip",
            (LegDescription(leg, codec.format, role),),
            separation="mixed" if len(self._metadata.speakers(line.label)) > 1 else "separate",
            tenant=identity.tenant(self._dialog.invitation, self._sip),
        )
        port, rtp, rtcp = self._ports.take(self._dialog.flow.local[0])
        try:
            listening = Listening(self._calls.open(started), None, Tolerance(started.source))
        except BaseException:
            rtp.close()
            rtcp.close()
            raise
        payload_types = {number: codec}
        demux = RtpDemux([Voice(leg, payload_types)])

        def heard(_voice: Voice, audio: AudioReceived | None) -> None:
            if audio is not None:
                listening.receive(audio)

        loop = asyncio.get_running_loop()
        task = loop.create_task(self._listen(leg, listening), name=f"sip {self._call_id}/{leg}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        receiver = RtpReceiver(demux, heard, self._senders(line))
        (first, _), (second, _) = [
            await loop.create_datagram_endpoint(lambda: receiver, sock=sock) for sock in (rtp, rtcp)
        ]
        return Media(codec, payload_types, demux, port, (first, second), receiver, listening, None, None, line.sends)

    def _senders(self, line: MediaLine) -> tuple[Network, ...]:
        """Return the networks that may send media: those of the settings, or the signalling peer and the offer's
        address."""
        networks = self._sip.allow_ips
        for host in () if networks else (self._dialog.flow.peer[0], line.host):
            with contextlib.suppress(ValueError):  # a host name, or empty
                address = ipaddress.ip_address(host.partition("%")[0])
                networks += (ipaddress.ip_network(getattr(address, "ipv4_mapped", None) or address),)
        return networks

    def _who(self, index: int, line: MediaLine) -> tuple[LegId, Role]:
        if not self.is_recording:
            return identity.plain_leg(self._dialog.invitation, self._sip, self._settings.roles)
        speakers = self._metadata.speakers(line.label)
        speaker = speakers[0] if len(speakers) == 1 else None
        return identity.recorded_leg(line.label, index, speaker, self._sip, self._settings.roles)

    async def _listen(self, leg: LegId, listening: Listening) -> None:
        reason = "failed"
        try:
            reason = await listening.run()
        except Exception:  # task root
            _log.exception("sip leg failed", call_id=self._call_id, leg=leg)
        finally:
            if any(media.listening is listening for media in self._media.values()):
                self._on_over(reason)


def _encrypt(media: Media, crypto: Crypto) -> None:
    """Use the peer's key from now on. We send nothing, but the answer must have a key (RFC 4568 section 6)."""
    media.remote_crypto = crypto
    media.demux.srtp = srtp_session(crypto.suite, crypto.key)
    key = base64.b64encode(secrets.token_bytes(SRTP_KEY_BYTES)).decode()
    media.local_crypto = Crypto(crypto.tag, crypto.suite, key)


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
