from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.client.codecs import CLIP_RATE_HZ, Encoding, Packetizer, encode

# What the codes decode to (ITU-T G.711, tables 1 and 2).
PUBLISHED = {
    "mulaw": {0x00: -32124, 0x80: 32124, 0xFF: 0, 0xFE: 8, 0x55: -716},
    "alaw": {0x55: -8, 0xD5: 8, 0x2A: -32256, 0xAA: 32256, 0x00: -5504},
}


def pcm(*values: int) -> NDArray[np.float32]:
    return np.asarray(np.array(values) / 32768, np.float32)


def decode_by_libav(coded: bytes, codec: str) -> NDArray[np.int16]:
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 8000, "mono"
    frames = [frame for packet in (av.Packet(coded), None) for frame in decoder.decode(packet)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.int16)


@pytest.mark.parametrize(("encoding", "code", "level"), [(e, c, v) for e, t in PUBLISHED.items() for c, v in t.items()])
def test_the_published_levels_are_coded_as_published(encoding: Encoding, code: int, level: int) -> None:
    assert encode(pcm(level), encoding) == bytes([code])


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_every_sample_comes_back_as_the_nearest_level(encoding: Encoding) -> None:
    samples = np.arange(-32768, 32768)
    decoded = decode_by_libav(encode(pcm(*samples), encoding), f"pcm_{encoding}").astype(np.int32)
    levels = np.unique(decode_by_libav(bytes(range(256)), f"pcm_{encoding}").astype(np.int32))
    above = np.searchsorted(levels, samples).clip(1, len(levels) - 1)
    nearest = np.minimum(np.abs(samples - levels[above - 1]), np.abs(samples - levels[above]))
    assert np.array_equal(np.abs(samples - decoded), nearest)


def test_silence_is_the_published_silence() -> None:
    assert encode(pcm(0), "mulaw") == b"\xff"
    assert encode(pcm(0), "alaw") == b"\xd5"
    assert encode(pcm(0), "s16le") == b"\0\0"


def test_s16le_is_little_endian_and_clips() -> None:
    assert encode(np.array([1 / 32768, 2.0, -2.0], np.float32), "s16le") == b"\x01\x00\xff\x7f\x00\x80"


def test_channels_come_out_interleaved() -> None:
    assert encode(np.stack([pcm(1, 2), pcm(3, 4)], axis=1), "s16le") == b"\x01\0\x03\0\x02\0\x04\0"


@given(sizes=st.lists(st.integers(0, 1000), max_size=20), rate_hz=st.sampled_from([8000, 16000, 24000]))
def test_packets_do_not_depend_on_the_pieces(sizes: list[int], rate_hz: int) -> None:
    samples = np.sin(np.arange(sum(sizes)) * 0.2).astype(np.float32)
    pieces, whole = Packetizer("s16le", rate_hz), Packetizer("s16le", rate_hz)
    packets = [packet for piece in np.split(samples, np.cumsum(sizes)) for packet in pieces.push(piece)]
    assert packets + pieces.flush() == whole.push(samples) + whole.flush()


def test_a_packet_is_20_ms_and_the_last_is_filled_up() -> None:
    packetizer = Packetizer("mulaw", 8000)
    packets = packetizer.push(np.zeros(CLIP_RATE_HZ // 2 + 1, np.float32)) + packetizer.flush()
    assert [len(packet) for packet in packets] == [160] * 26
    assert packets[-1].endswith(b"\xff" * 150)


def test_the_tone_that_goes_in_comes_out() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(CLIP_RATE_HZ) / CLIP_RATE_HZ).astype(np.float32)
    packetizer = Packetizer("s16le", 8000)
    heard = np.frombuffer(b"".join(packetizer.push(tone) + packetizer.flush()), "<i2") / 32768
    spectrum = np.abs(np.fft.rfft(heard[:8000]))
    assert int(np.argmax(spectrum)) == 440
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.02)
