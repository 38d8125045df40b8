"""Telephone channels: every one is really in the path, keeps length and level, and is the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from detection.signal.channels import CHANNELS, apply_channel, limit_band, lose_packets
from detection.types import Samples
from tests.detection.signal.test_features import speechlike

NARROW = ("pstn", "mulaw", "alaw", "gsm", "amrnb", "lossy")


def share_above(samples: Samples, hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / 16_000) > hz].sum() / power.sum())


@pytest.mark.parametrize("name", CHANNELS)
def test_keeps_length_and_level_and_is_repeatable(name: str) -> None:
    samples = speechlike(24_100)
    heard = apply_channel(samples, name)
    assert heard.dtype == np.float32
    assert heard.shape == samples.shape
    assert 0.3 < np.std(heard) / np.std(samples) < 1.2
    assert np.array_equal(heard, apply_channel(samples, name))
    assert np.array_equal(heard, samples) == (name == "clean")


@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_channel_leaves_nothing_above_4_khz(name: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    assert share_above(noise, 4_300) > 0.4
    assert share_above(apply_channel(noise, name), 4_300) < 0.02


def test_an_unknown_channel_is_named() -> None:
    with pytest.raises(ValueError, match=r"channel: expected one of clean, .*; got 'tin can'"):
        apply_channel(speechlike(1_000), "tin can")


def test_band_limits_cut_half_the_power_at_the_edges() -> None:
    seconds = np.arange(16_000) / 16_000
    for hz, expected in ((300, 0.5), (1_000, 1.0), (3_400, 0.5), (100, 0.0), (7_000, 0.0)):
        tone = np.sin(2 * np.pi * hz * seconds).astype(np.float32)
        kept = np.mean(limit_band(tone, 300, 3_400) ** 2) / np.mean(tone**2)
        assert kept == pytest.approx(expected, abs=0.02)


def test_losses_come_at_the_asked_rate_and_are_concealed_by_a_fading_repeat() -> None:
    packet = 320
    samples = np.random.default_rng(0).normal(0, 0.1, 2_000 * packet).astype(np.float32)
    heard = lose_packets(samples, 0.1, np.random.default_rng(1))
    lost = np.any((heard != samples).reshape(-1, packet), axis=1)
    assert np.mean(lost) == pytest.approx(0.1, abs=0.02)
    first = int(np.argmax(lost))
    repeat = samples[(first - 1) * packet : first * packet] * 2 / 3
    assert heard[first * packet : (first + 1) * packet] == pytest.approx(repeat)


def test_losses_that_nothing_conceals_are_silent_and_fall_at_the_same_places() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    concealed = lose_packets(samples, 0.1, np.random.default_rng(1))
    silent = lose_packets(samples, 0.1, np.random.default_rng(1), concealed=False)
    lost = (concealed != samples).reshape(-1, 320).any(axis=1)
    assert np.array_equal((silent == 0).reshape(-1, 320).all(axis=1), lost)
    assert np.array_equal(silent.reshape(-1, 320)[~lost], samples.reshape(-1, 320)[~lost])
