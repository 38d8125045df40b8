"""A WHIP offer read, and its answer written.  [S]

One session is one voice, so an offer holds one audio m-line and nothing else. The answer names exactly one codec: the
first of the offerer's that we take. Then what a leg's payloads are is settled before the first of them arrives.

aiortc parses and prints the SDP (RFC 8866); what we accept of it is decided here (RFC 9725 section 4.2, RFC 8829).
"""

from __future__ import annotations

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
"""More than any host has; we send connectivity checks to each, so a stranger must not choose how many."""

_DTLS_ROLE = {"auto": "client", "client": "server", "server": "client"}
"""Ours by theirs (RFC 5763 section 5): to ``actpass`` we answer ``active``, so that we may begin at once."""
_FINGERPRINTS = ("sha-256", "sha-384", "sha-512")


@dataclass(frozen=True, slots=True)
class Offer:
    """What an acceptable offer says."""

    mid: str
    profile: str
    codec: RTCRtpCodecParameters
    """The one codec that will be answered, with the offerer's payload type."""
    format: AudioFormat
    ice: RTCIceParameters
    dtls: RTCDtlsParameters
    candidates: tuple[RTCIceCandidate, ...]
    bundled: bool

    @property
    def dtls_role(self) -> str:
        """Ours: ``client`` or ``server``."""
        return _DTLS_ROLE[self.dtls.role]


def read_offer(text: str) -> Offer:
    """Read an offer.

    Raises:
        ProtocolError: it is not SDP, or lacks what WebRTC demands.
        Unprocessable: it is fine, but not one voice that we can listen to.
    """
    session = _parse(text)
    media = _only_audio(session)
    codec, audio = _first_known_codec(media)
    return Offer(
        mid=media.rtp.muxId,
        profile=media.profile,
        codec=codec,
        format=audio,
        ice=_ice(media),
        dtls=_dtls(media),
        candidates=tuple(candidate for candidate in media.ice_candidates if _is_usable(candidate))[:MAX_CANDIDATES],
        bundled=any(group.semantic == "BUNDLE" for group in session.group),
    )


def write_answer(
    offer: Offer,
    session_id: int,
    candidates: Sequence[RTCIceCandidate],
    ice: RTCIceParameters,
    fingerprints: Sequence[RTCDtlsFingerprint],
) -> str:
    """Return the answer: we only listen, with this one codec, at these addresses.

    Args:
        session_id: of the ``o=`` line: a number that no other session of ours has (RFC 8866 section 5.2).
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
    answer.media.append(media)
    return str(answer)


def _parse(text: str) -> SessionDescription:
    try:
        session = SessionDescription.parse(text)
    except (AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        # With any of these aiortc's parser stumbles over a malformed line.
        raise ProtocolError(f"offer: not a session description (RFC 8866): {str(error) or 'malformed line'}") from None
    if session.origin is None:
        raise ProtocolError("offer: not a session description (RFC 8866): expected v=, o=, s=, t= and m= lines")
    return session


def _only_audio(session: SessionDescription) -> MediaDescription:
    kinds = [media.kind for media in session.media]
    if "audio" not in kinds:
        raise Unprocessable("offer: expected one audio m-line, found none")
    if kinds != ["audio"]:
        raise Unprocessable(
            f"offer: expected one audio m-line and nothing else, found {', '.join(kinds)}; "
            "publish each speaker as a session of its own, without video or data"
        )
    (media,) = session.media
    if media.direction in ("recvonly", "inactive") or media.port == 0:
        raise Unprocessable(f"offer: expected a=sendonly or a=sendrecv, found a={media.direction or 'inactive'}")
    return media


def _first_known_codec(media: MediaDescription) -> tuple[RTCRtpCodecParameters, AudioFormat]:
    """The offerer's order is its preference (RFC 3264 section 5.1)."""
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
        raise ProtocolError("offer: a=ice-ufrag or a=ice-pwd is missing (RFC 8839 section 5.4)")
    if not media.rtcp_mux:
        raise Unprocessable("offer: a=rtcp-mux is missing; RTCP on a port of its own is not taken (RFC 8858)")
    return media.ice


def _dtls(media: MediaDescription) -> RTCDtlsParameters:
    if media.dtls is None or media.dtls.role not in _DTLS_ROLE:
        raise ProtocolError("offer: a=setup is missing (RFC 8842 section 5.1)")
    if not any(fingerprint.algorithm.lower() in _FINGERPRINTS for fingerprint in media.dtls.fingerprints):
        raise ProtocolError(f"offer: expected a=fingerprint with one of {', '.join(_FINGERPRINTS)}")
    return media.dtls


def _is_usable(candidate: RTCIceCandidate) -> bool:
    """Whether we can check it ourselves.

    A browser hides its addresses behind names in ``.local``. They are not looked up: its own checks reach us anyway,
    and tell its address.
    """
    is_media = candidate.protocol.lower() == "udp" and candidate.component == 1
    return is_media and 0 < candidate.port < 1 << 16 and not candidate.ip.endswith(".local")
