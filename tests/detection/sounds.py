"""Audio that the detection tests share: real speech that the repository ships, and the sounds of a telephone line."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from detection import SAMPLE_RATE_HZ, Samples
from detection.audio import read_audio

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
