"""Offers that are taken, offers that are not, and what is answered."""

from __future__ import annotations

import pytest
from aiortc import RTCDtlsFingerprint, RTCIceCandidate, RTCIceParameters
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ProtocolError, RequestError, Unprocessable
from gateway.ingest.events import AudioFormat
from gateway.ingest.webrtc.sdp import MAX_CANDIDATES, read_offer, write_answer

# As Chromium writes it, shortened: hidden addresses, a candidate over TCP, more codecs than anyone needs.
AUDIO = """m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1 1 udp 2113937151 5bd3a2b1-0000-4a14-a1b1-3c2f3d0a7a10.local 51000 typ host generation 0
a=candidate:2 1 udp 2113937151 192.0.2.7 51001 typ host generation 0
a=candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active generation 0
a=ice-ufrag:qLJE
a=ice-pwd:Lu0Hm3KbSTo9Tlhhbp8kuRg9
a=ice-options:trickle
a=fingerprint:sha-256 8A:3B:{rest}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendonly
a=msid:- 6f5a
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:1001 cname:x
""".replace("{rest}", ":".join(["00"] * 30))
SESSION = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS
"""
OFFER = SESSION + AUDIO
VIDEO = AUDIO.replace("m=audio", "m=video").replace("a=mid:0", "a=mid:1")
DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:1\na=sctp-port:5000\n"


def test_an_offer_of_a_browser_is_read() -> None:
    offer = read_offer(OFFER)
    assert offer.format == AudioFormat("opus", 48_000)
    assert (offer.codec.payloadType, offer.codec.clockRate) == (111, 48_000)
    assert (offer.ice.usernameFragment, offer.ice.password) == ("qLJE", "Lu0Hm3KbSTo9Tlhhbp8kuRg9")
    assert offer.dtls_role == "client"
    assert [candidate.ip for candidate in offer.candidates] == ["192.0.2.7"]


@pytest.mark.parametrize(
    ("payload_types", "expected", "clock_hz"),
    [
        ("9 111", AudioFormat("g722", 16_000), 8_000),
        ("0 8", AudioFormat("mulaw", 8_000), 8_000),
        ("126 8 0", AudioFormat("alaw", 8_000), 8_000),
        ("63 13 111", AudioFormat("opus", 48_000), 48_000),
    ],
)
def test_the_offerers_first_codec_that_we_take_is_chosen(
    payload_types: str, expected: AudioFormat, clock_hz: int
) -> None:
    offer = read_offer(OFFER.replace("111 63 9 0 8 13 110 126", payload_types))
    assert (offer.format, offer.codec.clockRate) == (expected, clock_hz)


@pytest.mark.parametrize(("setup", "role"), [("active", "server"), ("passive", "client"), ("actpass", "client")])
def test_our_dtls_role_is_the_other_one(setup: str, role: str) -> None:
    assert read_offer(OFFER.replace("a=setup:actpass", f"a=setup:{setup}")).dtls_role == role


def test_a_candidate_with_an_impossible_port_is_left_out() -> None:
    assert not read_offer(OFFER.replace("192.0.2.7 51001", "192.0.2.7 65536")).candidates


def test_no_more_candidates_are_taken_than_a_host_has() -> None:
    many = "".join(f"a=candidate:1 1 udp 1 192.0.2.7 {port} typ host\n" for port in range(1, 200))
    assert len(read_offer(OFFER.replace("a=ice-ufrag", many + "a=ice-ufrag")).candidates) == MAX_CANDIDATES


@pytest.mark.parametrize(
    ("offer", "error", "says"),
    [
        ("", ProtocolError, "with v=, o=, s="),
        ("hello", ProtocolError, "with v=, o=, s="),
        (AUDIO, ProtocolError, "with v=, o=, s="),
        (SESSION, Unprocessable, "found none"),
        (SESSION + VIDEO, Unprocessable, "found video"),
        (OFFER + AUDIO.replace("a=mid:0", "a=mid:1"), Unprocessable, "expected one audio m-line, found 2"),
        (OFFER.replace("a=sendonly", "a=recvonly"), Unprocessable, "found a=recvonly"),
        (OFFER.replace("a=sendonly", "a=inactive"), Unprocessable, "found a=inactive"),
        (OFFER.replace("m=audio 9", "m=audio 0"), Unprocessable, "sendonly"),
        (OFFER.replace("111 63 9 0 8 13 110 126", "110 126"), Unprocessable, "telephone-event/8000"),
        (OFFER.replace("a=rtcp-mux\n", ""), Unprocessable, "rtcp-mux"),
        (OFFER.replace("a=ice-ufrag:qLJE\n", ""), ProtocolError, "ice-ufrag"),
        (OFFER.replace("a=setup:actpass\n", ""), ProtocolError, "setup"),
        (OFFER.replace("a=setup:actpass", "a=setup:holdconn"), ProtocolError, "holdconn"),
        (OFFER.replace("sha-256", "md5"), ProtocolError, "fingerprint"),
        (OFFER.replace("m=audio 9", "m=audio nine"), ProtocolError, "session description"),
    ],
)
def test_other_offers_are_refused_by_name(offer: str, error: type[RequestError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        read_offer(offer)
    assert str(caught.value).startswith("offer: ")


@pytest.mark.parametrize(
    "line",
    [
        "a=fmtp:111",
        "a=fmtp:",
        "a=ssrc:1001 cname",
        "a=ssrc:x",
        "a=candidate:1 1 udp",
        "a=candidate:1 1 udp 1 192.0.2.7 typ host",
        "a=rtpmap:97",
        "a=rtpmap:97 telephone-event",
        "a=extmap:1",
        "a=rtcp:",
        "a=rtcp-fb:111",
        "a=msid",
        "a=group:",
        "a=ssrc-group:FID",
        "a=",
        "a",
        "b=AS:x",
        "c=IN",
        "c=IN IP4 gateway.local",
        "x=1",
    ],
)
def test_unneeded_malformed_lines_are_skipped(line: str) -> None:
    expected = read_offer(OFFER)
    for offer in (
        OFFER + line + "\n",
        OFFER.replace("a=sendonly", f"{line}\r\na=sendonly "),
        SESSION + line + "\n" + AUDIO,
    ):
        offered = read_offer(offer)
        assert (offered.codec, offered.ice, offered.candidates) == (expected.codec, expected.ice, expected.candidates)


def test_a_codec_that_cannot_be_read_is_not_chosen() -> None:
    assert read_offer(OFFER.replace("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus")).format.encoding == "g722"


@pytest.mark.parametrize("others", [VIDEO, DATA, VIDEO + DATA.replace("mid:1", "mid:2")])
@pytest.mark.parametrize("is_last", [False, True])
def test_video_and_data_beside_the_voice_are_rejected_by_port_0(others: str, is_last: bool) -> None:
    group = "a=group:BUNDLE 0 1 2"
    media = others + AUDIO if is_last else AUDIO + others
    offer = read_offer(SESSION.replace("a=group:BUNDLE 0", group) + media)
    candidates = [RTCIceCandidate(1, "f", "192.0.2.1", 40_000, 1, "udp", "host")]
    text = write_answer(offer, 7, candidates, RTCIceParameters("u", "p"), [RTCDtlsFingerprint("sha-256", "AA:BB")])
    answer = SessionDescription.parse(text)
    offered = SessionDescription.parse(SESSION + media)
    assert [(line.kind, line.rtp.muxId) for line in answer.media] == [(m.kind, m.rtp.muxId) for m in offered.media]
    assert [line.port != 0 for line in answer.media] == [line.kind == "audio" for line in answer.media]
    assert [one.items for one in answer.group] == [["0"]]


def test_a_voice_that_is_only_in_the_bundle_has_the_transport_of_its_first_line() -> None:
    bare = (
        "m=audio 0 UDP/TLS/RTP/SAVPF 111\na=mid:0\na=bundle-only\na=sendonly\na=rtcp-mux\na=rtpmap:111 opus/48000/2\n"
    )
    offer = read_offer(SESSION.replace("BUNDLE 0", "BUNDLE 1 0") + VIDEO + bare)
    assert (offer.ice.usernameFragment, offer.voice, offer.dtls_role) == ("qLJE", 1, "client")


def test_sendrecv_and_no_direction_are_taken() -> None:
    assert read_offer(OFFER.replace("a=sendonly", "a=sendrecv"))
    assert read_offer(OFFER.replace("a=sendonly\n", ""))


@given(st.data())
def test_a_mangled_offer_is_read_or_refused_but_never_breaks_anything(data: st.DataObject) -> None:
    lines = OFFER.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        cut = data.draw(st.integers(0, len(line)))
        lines[index] = line[:cut] + data.draw(st.text(max_size=5)) + line[data.draw(st.integers(cut, len(line))) :]
    try:
        offer = read_offer("\r\n".join(lines))
    except RequestError:
        return
    assert offer.format.rate_hz in (8_000, 16_000, 48_000)


def test_the_answer_listens_to_the_one_codec_and_nothing_else() -> None:
    candidates = [RTCIceCandidate(1, "f", "192.0.2.1", 40_000, 1, "udp", "host")]
    ours, fingerprint = RTCIceParameters("ufrag", "p" * 22), RTCDtlsFingerprint("sha-256", "AA:BB")
    text = write_answer(read_offer(OFFER), 7, candidates, ours, [fingerprint])
    answer = SessionDescription.parse(text)
    (media,) = answer.media
    assert media.direction == "recvonly"
    assert [str(codec) for codec in media.rtp.codecs] == ["opus/48000/2"]
    assert media.fmt == [111]
    assert media.rtp.muxId == "0"
    assert [group.items for group in answer.group] == [["0"]]
    assert media.rtcp_mux
    assert media.ice_candidates_complete
    assert media.dtls is not None
    assert media.dtls.role == "client"
    assert not media.rtp.headerExtensions


def test_an_offer_that_is_not_bundled_is_not_answered_with_a_bundle() -> None:
    candidates = [RTCIceCandidate(1, "f", "192.0.2.1", 40_000, 1, "udp", "host")]
    offer = read_offer(OFFER.replace("a=group:BUNDLE 0\n", ""))
    assert "BUNDLE" not in write_answer(offer, 7, candidates, RTCIceParameters("u", "p"), [])
