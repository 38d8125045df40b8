"""Offers read, answers written."""

from __future__ import annotations

import pytest

from gateway.errors import ProtocolError
from gateway.ingest.rtp.voice import PCMA
from gateway.ingest.sip import sdp
from gateway.ingest.sip.sdp import AnswerLine, Crypto

KEY = "A" * 40
OFFER = f"""v=0
o=- 1 1 IN IP4 10.0.0.1
s=-
c=IN IP4 10.0.0.1
t=0 0
a=sendonly
m=video 5000 RTP/AVP 96
m=audio 5002 RTP/SAVP 96 8 101 0
a=rtpmap:96 speex/16000
a=rtpmap:101 telephone-event/8000
a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}
a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4
a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|2^31
a=label:7
a=inactive
""".encode()


def test_what_an_offer_says() -> None:
    video, audio = sdp.read(OFFER)
    assert (video.is_wanted, audio.is_wanted) == (False, True)
    assert (video.sends, audio.sends) == (True, False), "the session's direction holds where the line has none"
    assert list(audio.codecs()) == [8, 0], "in the offerer's order, without what we cannot decode"
    assert audio.dtmf() == 101
    assert (audio.label, audio.is_encrypted) == ("7", True)
    assert audio.cryptos == [Crypto("3", "AES_CM_128_HMAC_SHA1_32", KEY)], "no unknown suite, no key index"


def test_what_an_answer_says() -> None:
    video, audio = sdp.read(OFFER.replace(b"\n", b"\r\n").replace(b"a=inactive\r\n", b""))
    ours = Crypto("3", "AES_CM_128_HMAC_SHA1_32", "B" * 40)
    answer = sdp.write("192.0.2.1", 5, 2, [AnswerLine(video, 0), AnswerLine(audio, 6000, 8, PCMA, ours)])
    assert answer.decode().split("\r\n") == [
        "v=0",
        "o=- 5 2 IN IP4 192.0.2.1",
        "s=callscreen",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=video 0 RTP/AVP 96",
        "m=audio 6000 RTP/SAVP 8 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        f"a=crypto:3 AES_CM_128_HMAC_SHA1_32 inline:{'B' * 40}",
        "a=label:7",
        "a=recvonly",
        "",
    ]


@pytest.mark.parametrize("body", [b"", b"hello", b"v=0\r\ns=-\r\n", b"v=0\r\nm=audio x RTP/AVP 0", b"v=0\nm=audio 9"])
def test_what_is_none(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="sdp: expected"):
        sdp.read(body)


def test_malformed_lines_are_skipped() -> None:
    (audio,) = sdp.read(b"v=0\nm=audio 9 RTP/AVP 0\na=rtpmap:x PCMU/8000\na=crypto:none\na=ptime:20\n")
    assert (audio.rtpmaps, audio.cryptos, list(audio.codecs())) == ({}, [], [0])


def test_an_invite_without_an_offer_gets_ours() -> None:
    assert b"m=audio 6000 RTP/AVP 0 101" in sdp.write("::1", 1, 1, [AnswerLine(sdp.default_offer(), 6000)])
