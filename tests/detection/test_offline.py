from __future__ import annotations

import math

import numpy as np
import pytest

from detection import Activity, AudioError, ModelError, Outcome, Policy, Samples, Windower
from detection.offline import score_samples
from detection.signal.channels import limit_band
from tests.detection.fakes import FakeDetector
from tests.detection.signals import noise, silence, speech, tones


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_windows_are_those_of_the_live_path() -> None:
    detector = FakeDetector(2.0)
    told: list[float] = []
    result = score_samples(speech(), detector, on_score=lambda score: told.append(score.start_s))
    live = Windower(3.0, 1.0, Activity())
    expected = [w for at in range(0, len(speech()), 320) for w in live.push(at / 16_000, speech()[at : at + 320], 0.0)]
    expected += live.flush()
    assert [w.start_s for w in detector.seen] == [w.start_s for w in expected]
    for seen, window in zip(detector.seen, expected, strict=True):
        assert np.array_equal(seen.samples, window.samples)
    assert result.windows == len(expected)
    assert told == [w.start_s for w in expected]


def test_constant_log_odds_give_their_probability() -> None:
    result = score_samples(speech(), FakeDetector(2.0))
    assert result.log_odds == 2.0
    assert result.p_synthetic == pytest.approx(sigmoid(2.0))
    assert result.state is Outcome.SYNTHETIC
    assert 8 < result.speech_s < 10
    assert score_samples(speech(), FakeDetector(-2.0)).state is Outcome.HUMAN


def test_windows_are_weighted_by_their_speech() -> None:
    audio = np.concatenate((speech()[:32_000], silence(1), silence(1), speech()[16_000:48_000]))
    detector = FakeDetector(3.0, -3.0, window_s=3.0, hop_s=3.0)
    result = score_samples(audio, detector)
    first, second = (window.speech_s for window in detector.seen)
    assert result.log_odds == pytest.approx(3 * (first - second) / (first + second))
    assert first != second


@pytest.mark.parametrize(
    "audio", [silence(5), tones(5, 440, 480), noise(5, -30), speech()[16_000:20_000], silence(1e-4)]
)
def test_without_speech_there_is_a_score_but_no_decision(audio: Samples) -> None:
    result = score_samples(audio, FakeDetector(5.0))
    assert result.p_synthetic == pytest.approx(sigmoid(5.0))
    assert result.windows >= 1
    assert (result.state, result.reason) == (Outcome.INDETERMINATE, "too_little_speech")


def test_out_of_domain_speech_is_not_called_human() -> None:
    result = score_samples(limit_band(speech(), 20, 1_000), FakeDetector(-5.0))
    assert (result.state, result.reason) == (Outcome.INDETERMINATE, "out_of_domain")
    assert score_samples(limit_band(speech(), 20, 1_000), FakeDetector(5.0)).state is Outcome.SYNTHETIC


def test_windows_with_too_little_speech_are_left_out_while_others_have_enough() -> None:
    detector = FakeDetector(1.0)
    result = score_samples(np.concatenate((speech()[:48_000], silence(6), speech()[:48_000])), detector)
    assert all(window.speech_s >= Policy().min_window_speech_s for window in detector.seen)
    assert result.windows == len(detector.seen) < 10


def test_no_samples_are_refused() -> None:
    with pytest.raises(AudioError, match="at least one sample"):
        score_samples(silence(0), FakeDetector(0.0))


@pytest.mark.parametrize("audio", [speech(), silence(5)], ids=["speech", "none"])
@pytest.mark.parametrize("said", [math.nan, math.inf])
def test_detector_without_finite_log_odds_is_refused(audio: Samples, said: float) -> None:
    with pytest.raises(ModelError, match="fake@00000000: expected finite log-odds"):
        score_samples(audio, FakeDetector(1.0, said))


def test_extreme_log_odds_stay_probabilities() -> None:
    for log_odds in (-1e6, 1e6):
        assert 0 <= score_samples(speech(), FakeDetector(log_odds)).p_synthetic <= 1
