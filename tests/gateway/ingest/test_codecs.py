"""Decoders against published values and against libav's own encoders."""

from __future__ import annotations

from typing import Any, cast

import av
import numpy as np
import pytest

from gateway.errors import ProtocolError, UnsupportedMedia
from gateway.ingest.codecs import open_decoder, opus_samples
from gateway.ingest.events import AudioFormat, Encoding


def decoded(encoding: Encoding, payload: bytes, rate_hz: int = 8000) -> list[int]:
    return [round(float(x) * 32768) for x in open_decoder(AudioFormat(encoding, rate_hz)).decode([payload])]


def encode(codec: str, rate_hz: int, layout: str, samples: np.ndarray[Any, np.dtype[np.int16]]) -> list[bytes]:
    """Encode mono int16 with libav; each channel carries the same."""
    context = cast("av.AudioCodecContext", av.CodecContext.create(codec, "w"))
    context.sample_rate, context.layout, context.format = rate_hz, layout, "s16"
    context.open()
    size = context.frame_size or rate_hz // 50
    channels = len(context.layout.channels)
    out = []
    for at in range(0, len(samples) - size + 1, size):
        frame = av.AudioFrame.from_ndarray(np.repeat(samples[at : at + size], channels)[None], "s16", layout)
        frame.sample_rate, frame.pts = rate_hz, at
        out += [bytes(packet) for packet in context.encode(frame)]
    return out


def tone(rate_hz: int, seconds: float = 1.0) -> np.ndarray[Any, np.dtype[np.int16]]:
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    return np.round(np.sin(2 * np.pi * 440 * time_s) * 10_000).astype(np.int16)


def test_mulaw_expands_as_g711_says() -> None:
    assert decoded("mulaw", bytes([0x00, 0x80, 0xFF, 0x7F, 0xFE, 0x55])) == [-32124, 32124, 0, 0, 8, -716]


def test_alaw_expands_as_g711_says() -> None:
    assert decoded("alaw", bytes([0x55, 0xD5, 0x2A, 0xAA, 0x00])) == [-8, 8, -32256, 32256, -5504]


@pytest.mark.parametrize(("encoding", "codec"), [("mulaw", "pcm_mulaw"), ("alaw", "pcm_alaw")])
def test_g711_agrees_with_libav_on_every_code(encoding: Encoding, codec: str) -> None:
    theirs = cast("av.AudioCodecContext", av.CodecContext.create(codec, "r"))
    theirs.sample_rate, theirs.layout = 8000, "mono"
    (frame,) = theirs.decode(av.Packet(bytes(range(256))))
    assert decoded(encoding, bytes(range(256))) == frame.to_ndarray().ravel().tolist()


def test_linear_pcm_in_both_byte_orders() -> None:
    assert decoded("s16le", b"\x01\x80") == [-32767]
    assert decoded("s16be", b"\x80\x01") == [-32767]


@pytest.mark.parametrize(
    ("encoding", "codec", "rate_hz", "layout"),
    [("g722", "g722", 16_000, "mono"), ("opus", "libopus", 48_000, "mono"), ("opus", "libopus", 48_000, "stereo")],
)
def test_libav_codecs_give_the_tone_back(encoding: Encoding, codec: str, rate_hz: int, layout: str) -> None:
    payloads = encode(codec, rate_hz, layout, tone(rate_hz))
    decoder = open_decoder(AudioFormat(encoding, rate_hz))
    samples = decoder.decode(payloads)
    assert len(samples) == sum(decoder.samples_in(payload) for payload in payloads)
    spectrum = np.abs(np.fft.rfft(samples[: rate_hz // 2] * np.hanning(rate_hz // 2)))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(10_000 / 32768, rel=0.1)


def test_the_length_of_an_opus_packet_is_in_its_first_byte() -> None:
    # RFC 6716, 3.1: config 16 is CELT-only with 2.5 ms, config 3 is SILK with 60 ms; code 1 is two frames.
    assert opus_samples(bytes([16 << 3])) == 120
    assert opus_samples(bytes([3 << 3])) == 2880
    assert opus_samples(bytes([3 << 3 | 1])) == 5760
    assert opus_samples(bytes([16 << 3 | 3, 6])) == 720


@pytest.mark.parametrize("packet", [bytes([3]), bytes([3 << 3 | 3, 3]), bytes([3, 0])])
def test_an_impossible_opus_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"payload: .*Opus"):
        opus_samples(packet)


def test_an_empty_opus_payload_is_refused() -> None:
    with pytest.raises(ProtocolError, match="expected an Opus packet, got nothing"):
        open_decoder(AudioFormat("opus", 48_000)).samples_in(b"")


def test_a_damaged_opus_packet_is_a_protocol_error() -> None:
    decoder = open_decoder(AudioFormat("opus", 48_000))
    with pytest.raises(ProtocolError, match="payload: not libopus"):
        decoder.decode([bytes([1 << 3 | 2, 255])])  # the first frame is longer than the packet


@pytest.mark.parametrize("rate_hz", [0, 7999, 192_001])
def test_an_impossible_rate_is_refused(rate_hz: int) -> None:
    with pytest.raises(UnsupportedMedia, match=f"rate: .*got {rate_hz}"):
        open_decoder(AudioFormat("s16le", rate_hz))


def test_a_reset_decoder_has_no_past() -> None:
    payloads = encode("g722", 16_000, "mono", tone(16_000))
    decoder = open_decoder(AudioFormat("g722", 16_000))
    first = decoder.decode(payloads)
    decoder.reset()
    assert np.array_equal(decoder.decode(payloads), first)
