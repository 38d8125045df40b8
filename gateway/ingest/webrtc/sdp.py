"""Parses a WHIP offer, and writes the answer.  [S]

One session is one speaker, so an offer has one audio m-line that sends; video and data channels are rejected with port
0 (RFC 3264 section 6). The answer names one codec, the first of the offer that is supported, so the format of the
payloads is known before the first one arrives.

aiortc parses and prints the SDP (RFC 8866); this module decides what is accepted (RFC 9725 section 4.2, RFC 8829).
aiortc's parser is strict, so it is given only the necessary lines, and unusual ones that are not needed do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiortc import RTCDtlsFingerprint, RTCDtlsParameters, RTCIceCandidate, RTCIceParameters, RTCRtpCodecParameters
from aiortc.rtcrtpparameters import RTCRtpParameters
from aiortc.sdp import GroupDescription, MediaDescription, SessionDescription

from gateway.errors import ProtocolError, Unprocessable
from gateway.ingest.events import AudioFormat

# RFC 3551 section 6, RFC 7587 section 7. G.722's RTP clock says 8000 although it is 16 kHz audio (RFC 3551, 4.5.2).
CODECS = {
    ("opus", 48_000): AudioFormat("opus", 48_000),
    ("g722", 8_000): AudioFormat("g722", 16_000),
    ("pcmu", 8_000): AudioFormat("mulaw", 8_000),
    ("pcma", 8_000): AudioFormat("alaw", 8_000),
}
MAX_CANDIDATES = 32
"""More than any host has. Connectivity checks are sent to each, so the peer must not choose their number."""

_DTLS_ROLE = {"auto": "client", "client": "server", "server": "client"}
"""Our role by the peer's (RFC 5763 section 5): ``active`` for ``actpass``, so that we can start at once."""
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_FLAGS = {"ice-lite", "rtcp-mux", *_DIRECTIONS}
_VALUES = {
    "candidate": re.compile(r"\S+ \d+ \S+ \d+ \S+ \d+ typ \S+"),
    "fingerprint": re.compile(r"\S+ \S+$"),
    "group": re.compile(r"\S+ .*"),
    "ice-pwd": re.compile(r"\S+$"),
    "ice-ufrag": re.compile(r"\S+$"),
    "mid": re.compile(r"\S+$"),
    "rtpmap": re.compile(r"\d+ [^/ ]+/\d+(/\d+)?$"),
    "setup": re.compile(r"\S+$"),
}
"""Needed attributes, and the needed part of their values (RFC 8839, RFC 8842, RFC 8866, RFC 9143)."""
_FINGERPRINTS = ("sha-256", "sha-384", "sha-512")


@dataclass(frozen=True, slots=True)
class Offer:
    """An accepted offer."""

    lines: tuple[MediaDescription, ...]
    """All m-lines; the answer has as many."""
    voice: int
    """Index of the m-line that is received."""
    mid: str
    profile: str
    codec: RTCRtpCodecParameters
    """The codec in the answer, with the offer's payload type."""
    format: AudioFormat
    ice: RTCIceParameters
    dtls: RTCDtlsParameters
    candidates: tuple[RTCIceCandidate, ...]
    bundled: bool

    @property
    def dtls_role(self) -> str:
        """Our DTLS role: ``client`` or ``server``."""
        return _DTLS_ROLE[self.dtls.role]


def read_offer(text: str) -> Offer:
    """Parse an offer.

    Raises:
        ProtocolError: it is not SDP, or lacks what WebRTC requires.
        Unprocessable: it is valid, but not one speaker in a supported codec.
    """
    session = _parse(text)
    media = _the_voice(session)
    codec, audio = _first_known_codec(media)
    transport = _transport(session, media)
    return Offer(
        lines=tuple(session.media),
        voice=session.media.index(media),
        mid=media.rtp.muxId,
        profile=media.profile,
        codec=codec,
        format=audio,
        ice=_ice(transport),
        dtls=_dtls(transport),
        candidates=tuple(candidate for candidate in transport.ice_candidates if _is_usable(candidate))[:MAX_CANDIDATES],
        bundled=any(group.semantic == "BUNDLE" for group in session.group),
    )


def write_answer(
    offer: Offer,
    session_id: int,
    candidates: Sequence[RTCIceCandidate],
    ice: RTCIceParameters,
    fingerprints: Sequence[RTCDtlsFingerprint],
) -> str:
    """Return the answer: receive only, one m-line, one codec, at these addresses.

    Args:
        session_id: for the ``o=`` line, unique (RFC 8866 section 5.2).
    """
    media = MediaDescription("audio", candidates[0].port, offer.profile, [offer.codec.payloadType])
    media.host = candidates[0].ip
    media.direction = "recvonly"
    media.rtp = RTCRtpParameters(codecs=[offer.codec], muxId=offer.mid)
    media.rtcp_mux, media.rtcp_port = True, 9
    media.ice, media.ice_candidates, media.ice_candidates_complete = ice, list(candidates), True
    media.dtls = RTCDtlsParameters(list(fingerprints), role=offer.dtls_role)
    answer = SessionDescription()
    answer.origin = f"- {session_id} 1 IN IP4 0.0.0.0"
    if offer.bundled:
        answer.group.append(GroupDescription("BUNDLE", [offer.mid]))
    head, ours = str(answer), str(media)
    return head + "".join(ours if index == offer.voice else _rejected(line) for index, line in enumerate(offer.lines))


def _rejected(line: MediaDescription) -> str:
    """Return the m-line that rejects an offered one."""
    mid = f"a=mid:{line.rtp.muxId}\r\n" if line.rtp.muxId else ""
    formats = " ".join(map(str, line.fmt))
    return f"m={line.kind} 0 {line.profile} {formats}\r\nc=IN IP4 0.0.0.0\r\n{mid}a=inactive\r\n"


def _parse(text: str) -> SessionDescription:
    try:
        session = SessionDescription.parse(_needed(text))
    except (AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        # aiortc's parser raises any of these for a malformed line.
        raise ProtocolError(
            f"offer: expected a session description (RFC 8866): {str(error) or 'malformed line'}"
        ) from None
    if session.origin is None:
        raise ProtocolError("offer: expected a session description (RFC 8866) with v=, o=, s=, t= and m= lines")
    return session


def _needed(text: str) -> str:
    """Return the needed lines, with the needed part of their values."""
    needed: list[str] = []
    at = 0
    for line in re.split(r"[\r\n]+", text):
        name, _, value = line[2:].strip().partition(":")
        found = _VALUES[name].match(value.strip()) if name in _VALUES else None
        if line[:2] in ("v=", "o=", "s=", "t="):
            needed.append(line)
        elif line.startswith("m="):
            at = len(needed)
            needed.append(line.strip())
        elif line.strip() == "a=bundle-only" and at:  # then port 0 does not mean rejected (RFC 9143 section 6)
            needed[at] = re.sub(r"^(m=\S+) 0 ", r"\1 9 ", needed[at])
        elif line.startswith("a=") and (name in _FLAGS or found):
            needed.append(f"a={name}" + (f":{found[0]}" if found else ""))
    return "\r\n".join([*needed, ""])


def _the_voice(session: SessionDescription) -> MediaDescription:
    """Return the one audio m-line that sends. Raises Unprocessable."""
    audio = [media for media in session.media if media.kind == "audio"]
    if not audio:
        found = ", ".join(media.kind for media in session.media) or "none"
        raise Unprocessable(f"offer: expected one audio m-line, found {found}")
    sending = [media for media in audio if media.direction not in ("recvonly", "inactive") and media.port]
    if not sending:
        raise Unprocessable(f"offer: expected a=sendonly or a=sendrecv, found a={audio[0].direction or 'inactive'}")
    if len(sending) > 1:
        raise Unprocessable(
            f"offer: expected one audio m-line, found {len(sending)}; publish each speaker in a separate session"
        )
    return sending[0]


def _transport(session: SessionDescription, media: MediaDescription) -> MediaDescription:
    """Return the m-line with the ICE and DTLS parameters of `media`: in a bundle it may be another (RFC 9143,
    7.1.2)."""
    if media.ice and media.ice.usernameFragment:
        return media
    for group in session.group:
        if group.semantic == "BUNDLE" and media.rtp.muxId in group.items:
            return next((line for line in session.media if line.rtp.muxId == group.items[0]), media)
    return media


def _first_known_codec(media: MediaDescription) -> tuple[RTCRtpCodecParameters, AudioFormat]:
    """Return the first supported codec; the offer is in order of preference (RFC 3264 section 5.1)."""
    codecs = {codec.payloadType: codec for codec in media.rtp.codecs}
    for payload_type in media.fmt:
        codec = codecs.get(payload_type)
        if codec is not None and (audio := CODECS.get((codec.name.lower(), codec.clockRate))):
            answered = RTCRtpCodecParameters(codec.mimeType, codec.clockRate, codec.channels, payload_type)
            return answered, audio
    found = ", ".join(f"{codec.name}/{codec.clockRate}" for codec in media.rtp.codecs) or "none"
    raise Unprocessable(
        f"offer: expected opus/48000, G722/8000, PCMU/8000 or PCMA/8000 among the codecs, found {found}"
    )


def _ice(media: MediaDescription) -> RTCIceParameters:
    if media.ice is None or not (media.ice.usernameFragment and media.ice.password):
        raise ProtocolError("offer: expected a=ice-ufrag and a=ice-pwd (RFC 8839 section 5.4)")
    if not media.rtcp_mux:
        raise Unprocessable("offer: expected a=rtcp-mux; RTCP on a separate port is not supported (RFC 8858)")
    return media.ice


def _dtls(media: MediaDescription) -> RTCDtlsParameters:
    if media.dtls is None or media.dtls.role not in _DTLS_ROLE:
        raise ProtocolError("offer: expected a=setup (RFC 8842 section 5.1)")
    if not any(fingerprint.algorithm.lower() in _FINGERPRINTS for fingerprint in media.dtls.fingerprints):
        raise ProtocolError(f"offer: expected a=fingerprint with one of {', '.join(_FINGERPRINTS)}")
    return media.dtls


def _is_usable(candidate: RTCIceCandidate) -> bool:
    """Whether we can send connectivity checks to a candidate.

    Browsers hide their addresses behind names in ``.local``, which are not resolved: their own checks reach us and
    reveal the address.
    """
    is_media = candidate.protocol.lower() == "udp" and candidate.component == 1
    return is_media and 0 < candidate.port < 1 << 16 and not candidate.ip.endswith(".local")
