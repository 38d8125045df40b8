"""Whether audio is what was declared: found when it is not, and never when it is."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detection.signal.audio import read_audio
from gateway.call.plausible import BEATS, LINEAR, SWAPPED, Plausibility, hint
from gateway.call.resample import Resampler
from gateway.client.codecs import encode
from gateway.ingest.codecs import open_decoder
from gateway.ingest.events import AudioFormat, Encoding
from tests.gateway.loudness import speech

RATE_HZ = 16_000
SECONDS = np.arange(8 * RATE_HZ) / RATE_HZ
Samples = NDArray[np.float32]
Clock = Callable[[int], float]


def coded(samples: Samples, encoding: Encoding) -> bytes:
    if encoding == "s16be":
        return np.frombuffer(encode(samples, "s16le"), "<i2").astype(">i2").tobytes()
    return encode(samples, encoding)  # type: ignore[arg-type]


def doubt_of(data: bytes, declared: AudioFormat, frame: int, clock: Clock, *, is_timed: bool = False) -> str | None:
    """Send `data` in frames of so many bytes at the times of `clock`."""
    plausibility, decoder = Plausibility(declared), open_decoder(declared)
    for index, at in enumerate(range(0, len(data) - frame + 1, frame)):
        payload = data[at : at + frame]
        duration_s = decoder.samples_in(payload) / decoder.rate_hz
        plausibility.add(payload, duration_s, clock(index), is_timed=is_timed)
    return plausibility.doubt


def at_once(_index: int) -> float:
    return 5.0


def live(index: int) -> float:
    return 0.02 * index


def twice_as_fast(index: int) -> float:
    return 0.01 * index


def stalled(index: int) -> float:
    return 0.02 * index + (3.0 if index > 150 else 0.0) - (min(3.0, 0.02 * (index - 150)) if index > 150 else 0.0)


def sparse(index: int) -> float:
    """Only while somebody speaks: pauses of their own length come between."""
    return 0.02 * index + 0.7 * (index // 37)


def rising(hz: float) -> Samples:
    return (0.3 * np.sin(2 * np.pi * hz * SECONDS + 0.785)).astype(np.float32)


def chords() -> Samples:
    notes = np.array([220, 277, 330, 440])[:, None] * np.array([1, 2, 3, 5])
    lines = np.sin(2 * np.pi * notes.reshape(-1, 1) * SECONDS)
    return np.asarray(0.03 * lines.sum(axis=0), np.float32)


def white(level: float) -> Samples:
    return (level * np.random.default_rng(1).standard_normal(len(SECONDS))).astype(np.float32)


SOUNDS = {
    "a person": lambda: speech(8, synthetic=False),
    "a machine": lambda: speech(8, synthetic=True),
    "clipped": lambda: np.clip(20 * speech(8, synthetic=True), -0.9, 0.9),
    "with noise": lambda: speech(8, synthetic=True) + white(0.03),
    "noise": lambda: white(0.2),
    "silence": lambda: np.zeros(len(SECONDS), np.float32),
    "hum": lambda: rising(50),
    "dial tone": lambda: rising(350) + rising(440),
    "a quarter of the rate": lambda: rising(2_000),
    "half the rate, nearly": lambda: rising(3_900),
    "dtmf": lambda: rising(941) + rising(1_633),
    "music": chords,
}


@pytest.mark.parametrize("clock", [at_once, live, twice_as_fast, stalled, sparse])
@pytest.mark.parametrize("sound", SOUNDS)
def test_audio_as_declared_is_never_in_doubt(sound: str, clock: Clock) -> None:
    samples = SOUNDS[sound]()
    for encoding, rate_hz in (("s16le", 16_000), ("s16be", 8_000), ("mulaw", 8_000), ("alaw", 8_000)):
        audio = samples if rate_hz == RATE_HZ else samples[::2]
        data = coded(audio, encoding)  # type: ignore[arg-type]
        frame = rate_hz // 50 * (2 if encoding.startswith("s16") else 1)
        assert doubt_of(data, AudioFormat(encoding, rate_hz), frame, clock) is None, encoding  # type: ignore[arg-type]


@pytest.mark.parametrize("clock", [at_once, live])
@pytest.mark.parametrize(
    ("sent", "declared", "seems"),
    [
        ("mulaw", "s16le", "mulaw"),
        ("alaw", "s16le", "alaw"),
        ("s16le", "mulaw", LINEAR),
        ("s16le", "alaw", LINEAR),
        ("s16be", "s16le", SWAPPED),
        ("s16le", "s16be", SWAPPED),
    ],
)
def test_another_sample_type_is_found(sent: Encoding, declared: Encoding, seems: str, clock: Clock) -> None:
    data = coded(speech(8, synthetic=True)[::2], sent)
    doubt = doubt_of(data, AudioFormat(declared, 8_000), 320 if sent.startswith("s16") else 160, clock)
    assert doubt is not None
    assert doubt == seems or doubt.startswith("1/2")


def test_samples_that_are_a_byte_off_are_found() -> None:
    data = b"\0" + coded(speech(8, synthetic=True), "s16le")
    assert doubt_of(data, AudioFormat("s16le", RATE_HZ), 640, live) == SWAPPED


@pytest.mark.parametrize("right", ["the same", "softer", "silent", "another voice"])
@pytest.mark.parametrize("clock", [at_once, live])
def test_two_channels_read_as_one_are_found(right: str, clock: Clock) -> None:
    left = Resampler(16_000).push(speech(6, synthetic=True))
    other = speech(6, synthetic=False)[: len(left)]
    channels = {"the same": left, "softer": 0.7 * left, "silent": 0 * left, "another voice": other}
    data = coded(np.stack([left, channels[right]], axis=1).ravel(), "s16le")
    assert doubt_of(data, AudioFormat("s16le", RATE_HZ), 1280, clock) == "two interleaved channels"


@pytest.mark.parametrize(("part", "seems"), [(2, "1/2"), (3, "1/3"), (6, "1/6")])
def test_too_few_bytes_in_an_even_beat_are_found(part: int, seems: str) -> None:
    frame = 640 // part // 2 * 2
    quiet = bytes(frame * (BEATS + 1))
    doubt = doubt_of(quiet, AudioFormat("s16le", RATE_HZ), frame, live)
    assert doubt == f"{seems} of the declared bytes a second"
    assert doubt_of(quiet, AudioFormat("s16le", RATE_HZ), frame, live, is_timed=True) is None, "a loss looks alike"
    assert doubt_of(quiet, AudioFormat("s16le", RATE_HZ), frame, lambda index: 0.04 * (index // 2)) is None, "no beat"


def test_a_doubt_goes_when_the_audio_is_as_declared_after_all() -> None:
    voice = speech(4, synthetic=True)
    plausibility = Plausibility(AudioFormat("s16le", RATE_HZ))
    data = coded(voice, "mulaw") + coded(voice, "s16le")
    moves = [
        plausibility.doubt
        for at in range(0, len(data) - 639, 640)
        if plausibility.add(data[at : at + 640], 0.02, at / 32_000, is_timed=True)
    ]
    assert moves == ["mulaw", None]


def test_no_recording_of_the_corpus_is_doubted_as_declared_and_most_are_otherwise(corpus: Path) -> None:
    """Real voices and noises, which move less evenly than what this file makes: every 40th clip of a split."""
    with (corpus / "manifest.csv").open(newline="") as file:
        clips = [corpus / row["path"] for row in csv.DictReader(file) if row["split"] == "val"][::40]
    noises = sorted((corpus / "noise").iterdir())[::8]
    doubted = 0
    for path in (*clips, *noises):
        audio = np.resize(read_audio(path), 6 * RATE_HZ)
        for encoding, rate_hz in (("s16le", 16_000), ("mulaw", 8_000)):
            samples = audio[:: RATE_HZ // rate_hz]
            data = coded(samples, encoding)  # type: ignore[arg-type]
            frame = rate_hz // 50 * (2 if encoding == "s16le" else 1)
            declared = AudioFormat(encoding, rate_hz)  # type: ignore[arg-type]
            assert doubt_of(data, declared, frame, at_once) is None, (path, encoding)
        doubted += path in clips and doubt_of(data, AudioFormat("s16le", 8_000), 320, at_once) is not None
    assert doubted >= 0.8 * len(clips), "µ-law under the type of linear samples"


def test_hints_name_the_setting() -> None:
    assert "c(slin)" in hint("audiosocket")
    assert "channels=2" in hint("livekit")
    assert hint("twilio") == "the media format that the peer announces"
