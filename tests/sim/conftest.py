"""A small library of voices that are tones: quick to make, and each is known by its pitch."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

RATE_HZ = 16_000


def write_tone(path: Path, pitch_hz: float, duration_s: float = 2.0, lead_s: float = 0.2) -> Path:
    """Write a tone after `lead_s` of silence, as a 16-bit WAV file."""
    tone = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(round((duration_s - lead_s) * RATE_HZ)) / RATE_HZ)
    samples = np.concatenate([np.zeros(round(lead_s * RATE_HZ)), tone])
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with two people and two synthetic voices."""
    for name, pitch_hz in (("human/anna", 200), ("human/bert", 120), ("synthetic/robo", 300), ("synthetic/vox", 400)):
        for number in (1, 2):
            write_tone(tmp_path / "clips" / name / f"{number}.wav", pitch_hz + number)
    return tmp_path / "clips"
