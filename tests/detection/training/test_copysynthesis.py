"""Copies of human speech keep what was said and lose what only a vocoder loses."""

from __future__ import annotations

import numpy as np
import pytest

from detection.signal.features import FeatureSpec, FeatureStream
from detection.training.copysynthesis import VOCODERS, pitch
from detection.types import Samples
from tests.detection.signal.test_features import speechlike

AUDIO = speechlike(24_000)


def mel_distance_db(one: Samples, other: Samples) -> float:
    frames = [FeatureStream(FeatureSpec(bands=20)).push(samples) for samples in (one, other)]
    loud = frames[0] > frames[0].max() - 40
    return float(np.mean(np.abs(frames[0] - frames[1])[loud]))


@pytest.mark.parametrize("name", VOCODERS)
def test_a_copy_sounds_alike_but_is_another_waveform(name: str) -> None:
    copy = VOCODERS[name](AUDIO, np.random.default_rng(0))
    assert copy.dtype == np.float32
    assert copy.shape == AUDIO.shape
    assert mel_distance_db(AUDIO, copy) < 6
    assert np.std(copy - AUDIO) > 0.1 * np.std(AUDIO)
    assert 0.5 < np.std(copy) / np.std(AUDIO) < 2
    assert np.array_equal(copy, VOCODERS[name](AUDIO, np.random.default_rng(0)))


@pytest.mark.parametrize("name", VOCODERS)
def test_only_the_smoothed_copy_keeps_phases(name: str) -> None:
    likeness = np.corrcoef(AUDIO, VOCODERS[name](AUDIO, np.random.default_rng(0)))[0, 1]
    assert likeness > 0.8 if name == "smoothed" else abs(likeness) < 0.6


@pytest.mark.parametrize("name", VOCODERS)
def test_silence_stays_silent(name: str) -> None:
    copy = VOCODERS[name](np.zeros(16_000, np.float32), np.random.default_rng(0))
    assert np.isfinite(copy).all()
    assert np.max(np.abs(copy)) < 1e-3


def test_pitch_is_that_of_the_voice() -> None:
    pitch_hz, times_s = pitch(AUDIO.astype(np.float64))
    voiced = pitch_hz[pitch_hz > 0]
    assert np.median(voiced) == pytest.approx(120, rel=0.02)
    assert times_s[-1] == pytest.approx(1.5, abs=0.02)
