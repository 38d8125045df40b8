from __future__ import annotations

import numpy as np
import pytest

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from sim import line


@pytest.fixture
def voice() -> Samples:
    """Two seconds of a tone and its overtones, in the middle of four."""
    times = np.arange(2 * CLIP_RATE_HZ) / CLIP_RATE_HZ
    said = sum(np.sin(2 * np.pi * hz * times) for hz in (200, 800, 2400)) * 0.1
    return np.concatenate([np.zeros(CLIP_RATE_HZ), said, np.zeros(CLIP_RATE_HZ)]).astype(np.float32)


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_snr_is_relative_to_speech_without_pauses(voice: Samples) -> None:
    noise = np.random.default_rng(1).standard_normal(CLIP_RATE_HZ).astype(np.float32)
    heard = line.with_noise(voice, noise, 10.0)
    speech = voice[CLIP_RATE_HZ : 3 * CLIP_RATE_HZ]
    assert 20 * np.log10(rms(speech) / rms(heard - voice)) == pytest.approx(10.0, abs=0.1)
    assert line.speech_rms(np.zeros(CLIP_RATE_HZ, np.float32)) == pytest.approx(0.05, abs=0.001)


def test_room_response_has_the_requested_rt60() -> None:
    click = np.zeros(CLIP_RATE_HZ, np.float32)
    click[0] = 1.0
    response = line.in_room(click, 0.4, np.random.default_rng(1))
    assert len(response) == len(click)
    assert response[0] == pytest.approx(1.0, abs=0.01)
    at_100, at_300 = (rms(response[round(t * CLIP_RATE_HZ) :][:800]) for t in (0.1, 0.3))
    assert 20 * np.log10(at_100 / at_300) == pytest.approx(60 * 0.2 / 0.4, abs=3)


def test_an_echo_is_later_and_quieter(voice: Samples) -> None:
    heard = line.with_echo(np.zeros_like(voice), voice, 100.0, -20.0)
    delay = CLIP_RATE_HZ // 10
    assert np.allclose(heard[delay:], voice[:-delay] * 0.1, atol=1e-6)


@pytest.mark.parametrize("name", line.CODECS)
def test_every_codec_keeps_length_and_level(name: str, voice: Samples) -> None:
    heard = line.through_codecs(voice, [name])
    assert len(heard) == len(voice)
    assert 20 * np.log10(rms(heard) / rms(voice)) == pytest.approx(0.0, abs=4.0)
    assert np.array_equal(heard, line.through_codecs(voice, [name]))


def test_codecs_in_series_apply_in_order(voice: Samples) -> None:
    once = line.through_codecs(voice, ["gsm"])
    assert np.array_equal(line.through_codecs(voice, ["gsm", "alaw"]), line.through_codecs(once, ["alaw"]))
