"""Copies of human speech keep what was said and lose what only a vocoder loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.features import FeatureSpec, FeatureStream
from detection.training.copysynthesis import copy_humans, griffin_lim, smoothed
from detection.training.data import Clip
from detection.types import Samples
from tests.detection.test_features import speechlike

AUDIO = speechlike(24_000)


def mel_distance_db(one: Samples, other: Samples) -> float:
    frames = [FeatureStream(FeatureSpec(bands=20)).push(samples) for samples in (one, other)]
    loud = frames[0] > frames[0].max() - 40
    return float(np.mean(np.abs(frames[0] - frames[1])[loud]))


@pytest.mark.parametrize("copy", [smoothed(AUDIO), griffin_lim(AUDIO, np.random.default_rng(0))], ids=["smooth", "gl"])
def test_a_copy_sounds_alike_but_is_another_waveform(copy: Samples) -> None:
    assert copy.dtype == np.float32
    assert copy.shape == AUDIO.shape
    assert mel_distance_db(AUDIO, copy) < 5
    assert np.std(copy - AUDIO) > 0.1 * np.std(AUDIO)


def test_phases_are_kept_or_lost() -> None:
    assert np.corrcoef(AUDIO, smoothed(AUDIO))[0, 1] > 0.8
    assert abs(np.corrcoef(AUDIO, griffin_lim(AUDIO, np.random.default_rng(0)))[0, 1]) < 0.5


def test_humans_are_copied_once_and_page_and_split_stay(tmp_path: Path) -> None:
    clips = []
    for name, label in (("a", "real"), ("b", "fake")):
        soundfile.write(tmp_path / f"{name}.wav", AUDIO, 16_000)
        clips.append(Clip(tmp_path / f"{name}.wav", label, "s", "f", "ann", "en", "train", "page"))
    (copy,) = copy_humans(clips, tmp_path / "cache", workers=1)
    assert (copy.label, copy.source, copy.split, copy.family) == ("fake", "page", "train", "vocoder-copy-synthesis")
    assert copy.file.stat().st_size > 1_000
    before = copy.file.stat().st_mtime_ns
    assert copy_humans(clips, tmp_path / "cache", workers=1) == [copy]
    assert copy.file.stat().st_mtime_ns == before
