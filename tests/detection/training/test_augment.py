"""Spoiled audio is still that audio: finite, about as long, repeatable; and each step does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from detection.training.augment import (
    Surroundings,
    add_noise,
    change_speed,
    distort,
    equalise,
    in_room,
    level,
    rms,
    spoil,
    through_codec,
)
from tests.detection.test_features import speechlike

AUDIO = speechlike(32_000)
NOISE = np.random.default_rng(5).normal(0, 0.1, 4_000).astype(np.float32)
ROOM = np.concatenate([np.ones(1), np.zeros(799), np.full(1, 0.5)]).astype(np.float32)
AROUND = Surroundings([NOISE], [ROOM])


def test_every_spoiled_version_is_audio_and_repeatable() -> None:
    for seed in range(40):
        spoiled = spoil(AUDIO, AROUND, np.random.default_rng(seed))
        assert np.isfinite(spoiled).all()
        assert np.max(np.abs(spoiled)) <= 1.5
        assert 0.9 < len(spoiled) / len(AUDIO) < 1.1
        assert rms(spoiled) > 1e-3
    assert np.array_equal(spoiled, spoil(AUDIO, AROUND, np.random.default_rng(seed)))


def test_level_is_random_and_silence_gets_a_floor() -> None:
    half_silent = np.concatenate([AUDIO, np.zeros(16_000, np.float32)])
    levels = [level(half_silent, np.random.default_rng(seed)) for seed in range(10)]
    assert max(map(rms, levels)) > 2 * min(map(rms, levels))
    assert all(np.all(np.std(one[-16_000:].reshape(-1, 160), axis=1) > 0) for one in levels)


def test_speed_changes_length_and_pitch_together() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000).astype(np.float32)
    faster = change_speed(tone, 1.05)
    assert len(faster) == pytest.approx(16_000 / 1.05, abs=2)
    peak_hz = np.argmax(np.abs(np.fft.rfft(faster))) * 16_000 / len(faster)
    assert peak_hz == pytest.approx(1_050, abs=3)


def test_a_room_adds_an_echo() -> None:
    click = np.zeros(4_000, np.float32)
    click[100] = 1
    heard = in_room(click, AROUND, np.random.default_rng(0))
    assert heard[100] == pytest.approx(1, abs=1e-3)
    assert 0.05 < heard[900] < 0.55


def test_noise_comes_at_5_to_30_db_below_the_speech() -> None:
    for seed in range(10):
        added = add_noise(AUDIO, AROUND, np.random.default_rng(seed)) - AUDIO
        assert 4.9 < 20 * np.log10(rms(AUDIO) / rms(added)) < 30.1


@pytest.mark.parametrize("step", [equalise, distort, through_codec])
def test_each_step_changes_the_audio_a_little(step: object) -> None:
    assert callable(step)
    for seed in range(8):
        changed = step(AUDIO, np.random.default_rng(seed))
        assert changed.dtype == np.float32
        assert changed.shape == AUDIO.shape
        assert not np.array_equal(changed, AUDIO)
        assert 0.1 < rms(changed) / rms(AUDIO) < 4
