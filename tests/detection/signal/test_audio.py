from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from detection import SAMPLE_RATE_HZ, AudioError, Samples
from detection.signal.audio import read_audio
from tests.detection.signals import speech, tones


def write(path: Path, channels: list[Samples], rate_hz: int, codec: str, layout: str = "mono") -> Path:
    """Encode float samples, one array a channel, all at `rate_hz`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        pcm = (np.stack(channels, axis=1) * 32_767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout=layout)
        frame.sample_rate = rate_hz
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def at_rate(rate_hz: int) -> Samples:
    """Return a second of 1 kHz at another rate than ours."""
    return (0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"),
    [
        ("a.wav", "pcm_s16le", 16_000),
        ("a.wav", "pcm_mulaw", 8_000),
        ("a.wav", "pcm_s16le", 44_100),
        ("a.flac", "flac", 48_000),
        ("a.mp3", "libmp3lame", 22_050),
        ("a.ogg", "libopus", 48_000),
        ("a.m4a", "aac", 32_000),
    ],
)
def test_any_format_and_rate(tmp_path: Path, name: str, codec: str, rate_hz: int) -> None:
    samples = read_audio(write(tmp_path / name, [at_rate(rate_hz)], rate_hz, codec))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(SAMPLE_RATE_HZ, abs=0.08 * SAMPLE_RATE_HZ)  # lossy codecs pad
    middle = samples[4_000:12_000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 1000 * len(middle) // SAMPLE_RATE_HZ
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_same_rate_is_not_touched(tmp_path: Path) -> None:
    samples = read_audio(write(tmp_path / "a.wav", [speech()], SAMPLE_RATE_HZ, "pcm_s16le"))
    assert len(samples) == len(speech())
    assert np.abs(samples - speech()).max() < 1e-4


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    left, right = tones(1, 500), tones(1, 1500)
    samples = read_audio(write(tmp_path / "a.wav", [left, right], SAMPLE_RATE_HZ, "pcm_s16le", "stereo"))
    assert np.abs(samples - (left + right) / 2).max() < 1e-3


def test_sound_track_of_a_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mjpeg", rate=10, width=16, height=16, pix_fmt="yuvj420p")
        sound = container.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        container.mux(picture.encode(av.VideoFrame(16, 16, "yuvj420p")))
        frame = av.AudioFrame.from_ndarray(np.ones((1, 1600), np.int16), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for stream, item in ((sound, frame), (sound, None), (picture, None)):
            container.mux(stream.encode(item))  # type: ignore[arg-type]
    assert len(read_audio(path)) == 1600


def read_header_of(wav: Path, format_tag: int) -> bytes:
    """Return a WAV header that claims another format."""
    header = bytearray(wav.read_bytes())
    header[20:22] = format_tag.to_bytes(2, "little")
    return bytes(header)


def test_bad_files_are_named_with_the_reason(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.wav"
    garbage.write_bytes(b"this is no audio" * 100)
    empty = tmp_path / "empty.wav"
    empty.touch()
    silent = write(tmp_path / "no-samples.wav", [np.zeros(1, np.float32)], 8_000, "pcm_s16le")
    silent.write_bytes(silent.read_bytes()[:-2])  # the header alone
    foreign = tmp_path / "foreign.wav"
    foreign.write_bytes(read_header_of(silent, format_tag=0x1234) + bytes(320))
    for path, reason in (
        (garbage, "Invalid data"),
        (foreign, "Decoder not found"),
        (empty, "Invalid data|End of file"),
        (silent, "expected audio, got none"),
        (tmp_path / "missing.wav", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(AudioError, match=reason) as caught:
            read_audio(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_picture_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10, width=16, height=16, pix_fmt="yuvj420p")
        for frame in (av.VideoFrame(16, 16, "yuvj420p"), None):
            container.mux(stream.encode(frame))
    with pytest.raises(AudioError, match="no audio track"):
        read_audio(path)


def write_floats(path: Path, value: float, layout: str = "mono") -> Path:
    """Write a hundredth of a second of one value, as float32."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=SAMPLE_RATE_HZ, layout=layout)
        samples = np.full((1, 160 * (2 if layout == "stereo" else 1)), value, np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


@pytest.mark.parametrize(("value", "layout"), [(np.nan, "mono"), (np.inf, "mono"), (3e38, "stereo")])
def test_samples_that_are_no_numbers(tmp_path: Path, value: float, layout: str) -> None:
    with pytest.raises(AudioError, match=r"a\.wav: expected finite samples"):
        read_audio(write_floats(tmp_path / "a.wav", value, layout))


@pytest.mark.parametrize("value", [32_767, -2e3, 3e38])
def test_samples_on_another_scale(tmp_path: Path, value: float) -> None:
    with pytest.raises(AudioError, match=r"a\.wav: expected samples of about -1 to 1, got"):
        read_audio(write_floats(tmp_path / "a.wav", value))


def test_floats_may_exceed_full_scale(tmp_path: Path) -> None:
    assert read_audio(write_floats(tmp_path / "a.wav", -4)).min() == -4
