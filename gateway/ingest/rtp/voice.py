"""Assigns the datagrams of a UDP port to the expected speakers (RFC 3550, RFC 3551, RFC 3711).  [S]

Anybody can send to a port, so a speaker is identified by payload type, by the address of its first packet (symmetric
RTP, RFC 4961) and, if configured, by SSRC or key.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pylibsrtp
from aiortc.rtp import RtpPacket, is_rtcp

from gateway.errors import ProtocolError
from gateway.ingest.events import AudioFormat, AudioReceived, LegId
from gateway.ingest.rtp.packet import PacketClock

Address = tuple[str, int]

RELATCH_S = 1.0
"""After this silence a speaker may continue from another address, as after a re-INVITE or with a new NAT binding."""
MAX_SIGNAL_BYTES = 12
"""Bytes of a payload that is no audio, whatever its type: a DTMF event has 4 (RFC 4733, 2.3), comfort noise up to 11
(RFC 3389, 3)."""
CODEC_CHANGE_PACKETS = 5
"""Consecutive packets of another known codec after which the sender is considered to have changed it."""
RTCP_BYE = 203
_L16_HZ = re.compile(r"[0-9]{4,5}")
SRTP_KEY_BYTES = 30
"""Master key and salt of AES_CM_128 (RFC 4568 section 6.2)."""
SRTP_SUITES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}


@dataclass(frozen=True, slots=True)
class RtpCodec:
    """The codec of a payload type."""

    name: str
    """Name in ``a=rtpmap``: ``PCMU/8000``."""
    format: AudioFormat
    clock_hz: int
    """Rate of the RTP timestamps, which may differ from the audio's rate."""


PCMU = RtpCodec("PCMU/8000", AudioFormat("mulaw", 8_000), 8_000)
PCMA = RtpCodec("PCMA/8000", AudioFormat("alaw", 8_000), 8_000)
G722 = RtpCodec("G722/8000", AudioFormat("g722", 16_000), 8_000)  # 8000 by historical error: RFC 3551, 4.5.2
OPUS = RtpCodec("opus/48000/2", AudioFormat("opus", 48_000), 48_000)
STATIC = {0: PCMU, 8: PCMA, 9: G722}
"""Static payload types that are supported (RFC 3551 table 4)."""


def codec(rtpmap: str) -> RtpCodec | None:
    """Return the codec of an ``a=rtpmap`` value, in any case; None if it is not supported."""
    name, _, rest = rtpmap.lower().partition("/")
    rate, _, channels = rest.partition("/")
    for known in (PCMU, PCMA, G722, OPUS):
        if known.name.lower().split("/")[:2] == [name, rate]:
            return known
    if name == "l16" and channels in ("", "1") and _L16_HZ.fullmatch(rate) and 8_000 <= int(rate) <= 48_000:
        return RtpCodec(f"L16/{rate}", AudioFormat("s16be", int(rate)), int(rate))
    return None


def srtp_session(suite: str, key: str) -> pylibsrtp.Session:
    """Return the SRTP session that decrypts a peer's packets.

    Args:
        suite: one of `SRTP_SUITES`.
        key: 30 bytes of master key and salt in base64, as in ``a=crypto … inline:KEY`` (RFC 4568).

    Raises:
        ProtocolError: names the expected value.
    """
    if suite not in SRTP_SUITES:
        raise ProtocolError(f"crypto: expected {' or '.join(SRTP_SUITES)}, got {suite!r:.40}")
    try:
        secret = base64.b64decode(key + "=" * (-len(key) % 4), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != SRTP_KEY_BYTES:
        raise ProtocolError(f"crypto: expected a key of {SRTP_KEY_BYTES} bytes in base64")
    inbound = pylibsrtp.Policy.SSRC_ANY_INBOUND
    return pylibsrtp.Session(pylibsrtp.Policy(secret, inbound, srtp_profile=SRTP_SUITES[suite]))


class Voice:
    """One expected speaker."""

    def __init__(self, leg: LegId, codecs: Mapping[int, RtpCodec], ssrc: int | None = None) -> None:
        """Expect a speaker.

        Args:
            leg: the speaker's leg.
            codecs: by payload type; the codec of the first audio packet is kept.
            ssrc: the speaker's source; None: any.
        """
        self.leg = leg
        self.ssrc = ssrc
        self.codec: RtpCodec | None = None
        """The codec in use; None until the first audio."""
        self.others = 0
        """Consecutive packets of another known codec."""
        self._codecs = codecs
        self._clock: PacketClock | None = None
        self._address: Address | None = None
        self._heard_s = 0.0

    def is_from(self, address: Address, now_s: float) -> bool:
        """Whether a packet from this address may be this speaker's."""
        return self._address in (None, address) or now_s - self._heard_s > RELATCH_S

    def place(self, packet: RtpPacket, address: Address, now_s: float) -> AudioReceived | None:
        """Return the payload with its position; None if it is not audio of this speaker.

        DTMF (RFC 4733), comfort noise (RFC 3389) and audio in an unknown codec are returned without a payload: they
        count in the sequence, so that they are not taken for lost audio.

        Raises:
            ProtocolError: the sender changed its source (SSRC) too often.
        """
        codec = self._codecs.get(packet.payload_type)
        unreadable = None
        if codec is None and len(packet.payload) > MAX_SIGNAL_BYTES:
            unreadable = f"RTP payload type {packet.payload_type}"
        if self._clock is None:
            if codec is None or not packet.payload:
                return AudioReceived(self.leg, b"", unreadable=unreadable) if unreadable else None
            self.codec, self._clock = codec, PacketClock(codec.clock_hz)
        place = self._clock.place(packet.ssrc, packet.sequence_number, packet.timestamp)
        if place is None:
            return None
        self._address, self._heard_s = address, now_s
        seq, start_ms = place
        self.others = self.others + 1 if codec not in (None, self.codec) and packet.payload else 0
        if codec != self.codec:
            return AudioReceived(self.leg, b"", seq, unreadable=unreadable)
        return AudioReceived(self.leg, packet.payload, seq, start_ms)

    def forget(self) -> None:
        """Expect a new speaker: another address, codec and clock."""
        self.codec = self._clock = self._address = None
        self.others = 0


Refusal = Literal["not_rtp", "not_authentic", "unknown_ssrc", "other_address"]


class RtpDemux:
    """Parses and assigns the datagrams of one port."""

    def __init__(self, voices: Sequence[Voice], srtp: pylibsrtp.Session | None = None) -> None:
        """Expect `voices`; with `srtp`, accept encrypted packets only."""
        self.voices = voices
        self.refused: Counter[Refusal] = Counter()
        self.srtp = srtp
        """Replaced if the peer changes its key."""

    def receive(self, datagram: bytes, address: Address, now_s: float) -> tuple[Voice, AudioReceived | None] | None:
        """Parse one datagram.

        Returns:
            The speaker and its audio; None in place of audio after an RTCP BYE. None for any other datagram.

        Raises:
            ProtocolError: see `Voice.place`.
        """
        try:
            if is_rtcp(datagram):
                return self._rtcp(datagram, address, now_s)
            packet = RtpPacket.parse(self.srtp.unprotect(datagram) if self.srtp else datagram)
        except pylibsrtp.Error:
            self.refused["not_authentic"] += 1
            return None
        except ValueError:
            self.refused["not_rtp"] += 1
            return None
        voice = self._voice(packet.ssrc)
        if voice is None or not voice.is_from(address, now_s):
            self.refused["unknown_ssrc" if voice is None else "other_address"] += 1
            return None
        audio = voice.place(packet, address, now_s)
        return (voice, audio) if audio is not None else None

    def _rtcp(self, datagram: bytes, address: Address, now_s: float) -> tuple[Voice, None] | None:
        """Look for a BYE (RFC 3550 section 6.6); other reports are ignored."""
        packets = self.srtp.unprotect_rtcp(datagram) if self.srtp else datagram
        while len(packets) >= 8:
            length = 4 * (1 + int.from_bytes(packets[2:4], "big"))
            if packets[1] == RTCP_BYE:
                voice = self._voice(int.from_bytes(packets[4:8], "big"))
                return (voice, None) if voice is not None and voice.is_from(address, now_s) else None
            packets = packets[length:]
        return None

    def _voice(self, ssrc: int) -> Voice | None:
        return next((voice for voice in self.voices if voice.ssrc in (None, ssrc)), None)
