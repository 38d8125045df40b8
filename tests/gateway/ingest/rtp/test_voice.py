"""Who is heard at a UDP port, and what of it."""

from __future__ import annotations

import pytest

from gateway.errors import ProtocolError
from gateway.ingest.events import AudioFormat, AudioReceived, LegId
from gateway.ingest.rtp.voice import STATIC, RtpDemux, Voice, codec, srtp_session
from tests.gateway.rtp import packet

HERE, THERE = ("192.0.2.1", 4000), ("192.0.2.2", 4000)
A = LegId("a")


def demux(**options: int) -> RtpDemux:
    return RtpDemux([Voice(A, STATIC, **options)])


def heard(port: RtpDemux, data: bytes, address: tuple[str, int] = HERE, now_s: float = 0.0) -> AudioReceived | None:
    found = port.receive(data, address, now_s)
    return found[1] if found else None


def test_audio_comes_with_its_place_in_time() -> None:
    port = demux()
    assert heard(port, packet(b"x", 65_535, 80)) == AudioReceived(A, b"x", 65_535, 10.0)
    assert heard(port, packet(b"y", 0, 240)) == AudioReceived(A, b"y", 65_536, 30.0)


def test_dtmf_and_comfort_noise_count_but_have_no_audio() -> None:
    port = demux()
    assert heard(port, packet(b"\x05", 1, 0, payload_type=101)) is None, "nothing begins with it"
    heard(port, packet(b"x", 2, 0))
    assert heard(port, packet(b"\x05\x0a\x00\xa0", 3, 160, payload_type=101)) == AudioReceived(A, b"", 3)
    assert heard(port, packet(b"\x40", 4, 320, payload_type=13)) == AudioReceived(A, b"", 4)
    assert heard(port, packet(b"z", 5, 480, payload_type=8)) == AudioReceived(A, b"", 5), "another codec"


def test_the_first_address_is_held_fast_until_it_is_silent() -> None:
    port = demux()
    heard(port, packet(b"x", 1, 0), HERE, 0.0)
    assert heard(port, packet(b"!", 2, 160), THERE, 0.5) is None
    assert port.refused["other_address"] == 1
    assert heard(port, packet(b"y", 2, 160), THERE, 1.5) is not None


def test_an_expected_source_is_the_only_one() -> None:
    port = demux(ssrc=7)
    assert heard(port, packet(b"x", 1, 0, ssrc=8)) is None
    assert heard(port, packet(b"x", 1, 0, ssrc=7)) is not None


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x00" * 40, packet(b"", 1, 0)[:11]])
def test_datagrams_that_are_not_rtp_are_counted(data: bytes) -> None:
    port = demux()
    assert port.receive(data, HERE, 0.0) is None
    assert port.refused["not_rtp"] == 1


def test_a_goodbye_counts_only_from_the_speaker() -> None:
    port = demux()
    heard(port, packet(b"x", 1, 0))
    report_and_bye = bytes([0x80, 201, 0, 1, 0, 0, 0, 7]) + bytes([0x81, 203, 0, 1, 0, 0, 0, 7])
    assert port.receive(report_and_bye, THERE, 0.1) is None
    assert port.receive(report_and_bye, HERE, 0.1) == (port.voices[0], None)
    assert port.receive(report_and_bye[:8], HERE, 0.1) is None


def test_a_new_speaker_is_accepted_after_forget() -> None:
    port = demux()
    heard(port, packet(b"x", 1, 0))
    port.voices[0].forget()
    assert heard(port, packet(b"y", 9, 160, ssrc=3, payload_type=8), THERE, 0.1) is not None
    assert port.voices[0].codec == STATIC[8]


def test_audio_in_an_unknown_codec_says_so_but_signals_do_not() -> None:
    port = demux()
    early = heard(port, packet(bytes(20), 1, 0, payload_type=18))
    assert early is not None
    assert (early.unreadable, early.seq) == ("RTP payload type 18", None)
    heard(port, packet(b"x", 2, 160))
    later = heard(port, packet(bytes(20), 3, 320, payload_type=18))
    assert later is not None
    assert (later.payload, later.unreadable) == (b"", "RTP payload type 18")
    for payload_type, size in ((101, 4), (13, 11), (18, 0)):  # DTMF, comfort noise, nothing
        signal = heard(port, packet(bytes(size), 4, 480, payload_type=payload_type))
        assert signal is None or signal.unreadable is None


def test_codecs_by_name() -> None:
    assert codec("OPUS/48000/2") == codec("opus/48000")
    l16 = codec("l16/16000")
    assert l16 is not None
    assert l16.format == AudioFormat("s16be", 16_000)
    assert [codec(name) for name in ("speex/8000", "L16/44100/2", "L16/x", "PCMU/16000", "")] == [None] * 5


def test_keys_that_cannot_be() -> None:
    with pytest.raises(ProtocolError, match="AES_CM_128"):
        srtp_session("F8_128_HMAC_SHA1_80", "")
    with pytest.raises(ProtocolError, match="30 bytes"):
        srtp_session("AES_CM_128_HMAC_SHA1_80", "not base64!")
