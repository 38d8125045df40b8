"""Audio that the detection tests share: real speech that the repository ships, and the sounds of a telephone line."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection import SAMPLE_RATE_HZ, Samples
from detection.signal.audio import read_audio

VOICES = Path(__file__).parents[2] / "sim" / "voices"
SPEECH_FILE = VOICES / "flite_slt" / "1.ogg"


@cache
def speech() -> Samples:
    """Return ten seconds of nearly unbroken speech."""
    samples = read_audio(SPEECH_FILE)
    samples.flags.writeable = False
    return samples


def silence(seconds: float) -> Samples:
    """Return digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)


def tones(seconds: float, *frequencies_hz: float, amplitude: float = 0.1) -> Samples:
    """Return steady sines, added up."""
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.asarray(amplitude * sum(np.sin(2 * np.pi * hz * t) for hz in frequencies_hz), np.float32)


def cadence(on: Samples, off_s: float, seconds: float) -> Samples:
    """Repeat `on` with pauses of `off_s` until `seconds` are full."""
    return np.resize(np.concatenate((on, silence(off_s))), round(seconds * SAMPLE_RATE_HZ))


def noise(seconds: float, level_dbfs: float) -> Samples:
    """Return white noise, as comfort noise generators make it (RFC 3389 without spectral shape)."""
    shape = round(seconds * SAMPLE_RATE_HZ)
    return (np.random.default_rng(1).normal(size=shape) * 10 ** (level_dbfs / 20)).astype(np.float32)


def tune(seconds: float, *, voices: int = 1, sustain_s: float = 0.4, vibrato: float = 0.0, seed: int = 0) -> Samples:
    """Return music as synthesisers make it: random notes of a scale with overtones, `voices` at a time, at -20 dBFS."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float64)
    for _ in range(voices):
        at = 0
        while at < len(samples):
            t = np.arange(round(rng.choice([0.25, 0.4, 0.8]) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            phase = 2 * np.pi * 196 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12, 16]) / 12) * t
            phase += vibrato * np.sin(2 * np.pi * 5.5 * t)
            note = sum(np.sin(n * phase) / n for n in range(1, 6)) * np.exp(-t / sustain_s) * np.minimum(1, 200 * t)
            samples[at : at + len(note)] += note[: len(samples) - at]
            at += len(t)
    return _at_level(samples)


def drums(seconds: float) -> Samples:
    """Return a drum loop without any pitch above 130 Hz, at -20 dBFS."""
    t = np.arange(SAMPLE_RATE_HZ // 4) / SAMPLE_RATE_HZ
    hiss = np.random.default_rng(2).normal(size=len(t))
    kick = np.sin(2 * np.pi * (50 + 80 * np.exp(-30 * t)) * t) * np.exp(-12 * t)
    loop = np.concatenate(
        (kick, 0.2 * hiss * np.exp(-70 * t), 0.5 * hiss * np.exp(-20 * t), 0.2 * hiss * np.exp(-70 * t))
    )
    return _at_level(np.resize(loop, round(seconds * SAMPLE_RATE_HZ)))


def _at_level(samples: NDArray[np.float64]) -> Samples:
    return np.asarray(samples * 0.1 / np.sqrt(np.mean(samples**2)), np.float32)


def modulated(samples: Samples, hz: float) -> Samples:
    """Return `samples` with their loudness modulated fully, as some countries ring (ITU-T E.180 supplement 2)."""
    t = np.arange(len(samples)) / SAMPLE_RATE_HZ
    return np.asarray(samples * (1 + np.sin(2 * np.pi * hz * t)) / 2, np.float32)


def line_sounds() -> dict[str, Samples]:
    """Return what a leg may hold that nobody says, by name: ten seconds each."""
    keys = [tones(0.1, low, high) for low in (697, 770, 852, 941) for high in (1209, 1336, 1477)]
    return {
        "silence (µ-law 0xFF)": silence(10),
        "silence (A-law 0xD5)": np.full(10 * SAMPLE_RATE_HZ, 8 / 32_768, np.float32),
        "comfort noise": noise(10, -50),
        "loud noise": noise(10, -30),
        "dial tone US": tones(10, 350, 440),
        "dial tone EU": tones(10, 425),
        "dial tone FR": tones(10, 440),
        "ringback US": cadence(tones(2, 440, 480), 4, 10),
        "ringback UK": cadence(cadence(tones(0.4, 400, 450), 0.2, 1), 2, 10),
        "ringback EU": cadence(tones(1, 425), 4, 10),
        "ringback AU": cadence(cadence(tones(0.4, 400, 425, 450), 0.2, 1), 2, 10),
        "ringback JP": cadence(modulated(tones(1, 400), 16), 2, 10),
        "busy US": cadence(tones(0.5, 480, 620), 0.5, 10),
        "busy UK": cadence(tones(0.375, 400), 0.375, 10),
        "busy EU": cadence(tones(0.5, 425), 0.5, 10),
        "congestion US": cadence(tones(0.25, 480, 620), 0.25, 10),
        "special information": cadence(np.concatenate([tones(0.33, hz) for hz in (950, 1400, 1800)]), 1, 10),
        "DTMF 100 ms": np.resize(np.concatenate([cadence(key, 0.1, 0.2) for key in keys]), 10 * SAMPLE_RATE_HZ),
        "DTMF, no pauses": np.resize(np.concatenate(keys), 10 * SAMPLE_RATE_HZ),
        "fax answer": tones(10, 2100),
        "mains hum": tones(10, 50, 100, 150),
        "a packet again and again": np.resize(speech()[16_000:16_320], 10 * SAMPLE_RATE_HZ),  # stuck concealment
        "melody": tune(10),
        "melody, vibrato": tune(10, vibrato=0.3, sustain_s=2),
        "chords": tune(10, voices=3, sustain_s=1),
        "band": tune(10, voices=3) + drums(10),
    }
