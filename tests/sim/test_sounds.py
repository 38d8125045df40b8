from __future__ import annotations

import numpy as np
import pytest

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from sim import sounds


def strongest_hz(samples: Samples, count: int) -> list[int]:
    spectrum = np.abs(np.fft.rfft(samples))
    peaks = []
    for _ in range(count):
        peak = int(np.argmax(spectrum))
        peaks.append(round(peak * CLIP_RATE_HZ / len(samples)))
        spectrum[max(0, peak - 20) : peak + 20] = 0
    return sorted(peaks)


def level_db(samples: Samples) -> float:
    return 20 * float(np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


@pytest.mark.parametrize(("digit", "pair_hz"), [("1", [697, 1209]), ("5", [770, 1336]), ("#", [941, 1477])])
def test_a_key_is_two_tones(digit: str, pair_hz: list[int]) -> None:
    key = sounds.dtmf(digit, -20.0)
    assert len(key) == 0.2 * CLIP_RATE_HZ
    tone = key[: CLIP_RATE_HZ // 10]
    assert strongest_hz(tone, 2) == pytest.approx(pair_hz, abs=10)
    assert not key[CLIP_RATE_HZ // 10 :].any()
    assert level_db(tone) == pytest.approx(-20.0, abs=0.1)


def test_ringing_rings_two_seconds_of_six() -> None:
    tone = sounds.ringback(12.0, -25.0)
    seconds = [bool(tone[at * CLIP_RATE_HZ : (at + 1) * CLIP_RATE_HZ].any()) for at in range(12)]
    assert seconds == [True, True, False, False, False, False] * 2
    assert strongest_hz(tone[:CLIP_RATE_HZ], 2) == [440, 480]
    assert strongest_hz(sounds.busy(1.0, -20.0)[: CLIP_RATE_HZ // 2], 2) == [480, 620]


def test_music_is_as_long_and_as_loud_as_asked_and_the_same_for_the_same_seed() -> None:
    first, again, other = (sounds.hold_music(10.0, -20.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert len(first) == 10 * CLIP_RATE_HZ
    assert level_db(first) == pytest.approx(-20.0, abs=0.5)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    spectrum = np.abs(np.fft.rfft(sounds.noise("pink", 20.0, np.random.default_rng(1)))) ** 2
    hz = CLIP_RATE_HZ / 2 / (len(spectrum) - 1)
    low, high = (np.mean(spectrum[round(f / hz) : round(2 * f / hz)]) for f in (250, 500))
    assert 10 * np.log10(low / high) == pytest.approx(3.0, abs=0.5)


def test_babble_is_the_sum_of_all_voices() -> None:
    times = np.arange(CLIP_RATE_HZ) / CLIP_RATE_HZ
    voices = [np.sin(2 * np.pi * hz * times).astype(np.float32) for hz in (200, 300)]
    assert strongest_hz(sounds.babble(voices, 3.0, np.random.default_rng(1)), 2) == [200, 300]
