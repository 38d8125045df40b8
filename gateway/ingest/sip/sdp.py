"""SDP in telephony: parses offers, writes answers (RFC 8866, RFC 3264, RFC 4568, RFC 4574).  [S]"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.errors import ProtocolError
from gateway.ingest.rtp.voice import PCMU, SRTP_SUITES, STATIC, RtpCodec, codec

_CRYPTO = re.compile(r"(\d+)\s+(\S+)\s+inline:([A-Za-z0-9+/=]+)(\|\S*)?")
_PAYLOAD_TYPE = re.compile(r"[0-9]{1,3}")
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
LISTENING, SILENT = "recvonly", "inactive"


@dataclass(frozen=True, slots=True)
class Crypto:
    """A supported ``a=crypto``."""

    tag: str
    suite: str
    key: str


@dataclass(slots=True)
class MediaLine:
    """One m-line of an offer."""

    kind: str
    port: int
    profile: str
    payload_types: list[int]
    direction: str = "sendrecv"
    host: str = ""
    """Address at which the peer receives media, and from which it usually sends."""
    label: str | None = None
    rtpmaps: dict[int, str] = field(default_factory=dict)
    cryptos: list[Crypto] = field(default_factory=list)
    formats: str = ""
    """Verbatim, for rejecting the line."""

    @property
    def is_wanted(self) -> bool:
        """Whether it is audio that is neither rejected nor removed."""
        return self.kind == "audio" and self.port != 0

    @property
    def sends(self) -> bool:
        """Whether the peer will send; otherwise it is on hold."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def is_encrypted(self) -> bool:
        """Whether it is SRTP with keys in the offer."""
        return "SAVP" in self.profile

    def codecs(self) -> dict[int, RtpCodec]:
        """Return the supported codecs by payload type, in the peer's order of preference."""
        known = {
            number: codec(self.rtpmaps[number]) if number in self.rtpmaps else STATIC.get(number)
            for number in self.payload_types
        }
        return {number: found for number, found in known.items() if found is not None}

    def dtmf(self) -> int | None:
        """Return the payload type of ``telephone-event`` (RFC 4733); without it, digits would be sent as audio."""
        return next((n for n, name in self.rtpmaps.items() if name.lower() == "telephone-event/8000"), None)


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """The answer to one m-line."""

    offered: MediaLine
    port: int
    """0 rejects the line."""
    payload_type: int = 0
    codec: RtpCodec = PCMU
    crypto: Crypto | None = None
    """Our key, with the tag and suite of the accepted offer."""


def read(body: bytes) -> list[MediaLine]:
    """Parse the m-lines of an offer or answer. Raises ProtocolError naming the line."""
    lines: list[MediaLine] = []
    direction, host = "sendrecv", ""
    text = body.decode("utf-8", "replace")
    if not text.startswith("v=0"):
        raise ProtocolError("sdp: expected a session description (RFC 8866), which begins with v=0")
    for line in re.split(r"[\r\n]+", text):
        kind, _, value = line.partition("=")
        if kind == "m":
            lines.append(_media(value))
            lines[-1].direction, lines[-1].host = direction, host
        elif kind == "c":  # IN IP4 192.0.2.1, of the session or of one line
            address = value.split()[-1:] or [""]
            if lines:
                lines[-1].host = address[0]
            else:
                host = address[0]
        elif kind == "a" and lines:
            _attribute(lines[-1], value)
        elif kind == "a" and value.strip() in _DIRECTIONS:
            direction = value.strip()
    if not lines:
        raise ProtocolError("sdp: expected at least one m-line, found none")
    return lines


def _media(value: str) -> MediaLine:
    try:
        kind, port, profile, formats = value.split(None, 3)
        is_audio = kind == "audio"
        numbers = [int(number) for number in formats.split() if is_audio and _PAYLOAD_TYPE.fullmatch(number)]
        return MediaLine(kind, int(port.partition("/")[0]), profile, numbers, formats=formats)
    except ValueError:
        raise ProtocolError(f"sdp: expected m=MEDIA PORT PROFILE FORMATS, got {value!r:.60}") from None


def _attribute(media: MediaLine, value: str) -> None:
    value = value.strip()
    name, _, rest = value.partition(":")
    if value in _DIRECTIONS:
        media.direction = value
    elif name == "label":
        media.label = rest.strip()
    elif name == "rtpmap":
        number, _, rtpmap = rest.strip().partition(" ")
        if _PAYLOAD_TYPE.fullmatch(number):
            media.rtpmaps[int(number)] = rtpmap.strip()
    elif name == "crypto" and (found := _CRYPTO.match(rest)):
        tag, suite, key, more = found.groups()
        if suite in SRTP_SUITES and ":" not in (
            more or ""
        ):  # a master key index (MKI) would change the format of packets
            media.cryptos.append(Crypto(tag, suite, key))


def write(host: str, session_id: int, version: int, lines: Sequence[AnswerLine]) -> bytes:
    """Return our description: receive only."""
    family = "IP6" if ":" in host else "IP4"
    text = [
        "v=0",
        f"o=- {session_id} {version} IN {family} {host}",
        "s=callscreen",
        f"c=IN {family} {host}",
        "t=0 0",
    ]
    for line in lines:
        text += _write_line(line)
    return "\r\n".join([*text, ""]).encode()


def _write_line(line: AnswerLine) -> list[str]:
    offered = line.offered
    if not line.port:
        return [f"m={offered.kind} 0 {offered.profile} {offered.formats}"]
    dtmf = offered.dtmf()
    numbers = [line.payload_type] if dtmf is None else [line.payload_type, dtmf]
    text = [
        f"m=audio {line.port} {offered.profile} {' '.join(map(str, numbers))}",
        f"a=rtpmap:{line.payload_type} {line.codec.name}",
    ]
    if dtmf is not None:
        text += [f"a=rtpmap:{dtmf} telephone-event/8000", f"a=fmtp:{dtmf} 0-15"]
    if line.crypto is not None:
        text.append(f"a=crypto:{line.crypto.tag} {line.crypto.suite} inline:{line.crypto.key}")
    if offered.label is not None:
        text.append(f"a=label:{offered.label}")
    return [*text, f"a={LISTENING if offered.sends else SILENT}"]


def default_offer() -> MediaLine:
    """Return our offer for an INVITE without one (RFC 3261 section 13.2.1), with codecs that every peer supports."""
    return MediaLine("audio", 9, "RTP/AVP", [0], rtpmaps={101: "telephone-event/8000"})
