"""Legs judged with a verifier: asked as in a call, answered at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detection import AlertState, Outcome, Policy, Score, Window
from detection.detector import open_detector
from detection.measure.conditions import Condition
from detection.measure.legs import Course, follow
from detection.measure.scoring import MIN_SPEECH_S, Listener, leg_samples
from detection.measure.verified import Filter, follow_all, follow_with_verifier
from detection.offline import score_windows
from detection.training.bank import Ragged
from tests.detection.sounds import speech

POLICY = Policy()
HUMAN, UNSURE, SYNTHETIC = -4.0, 0.5, 4.0
"""Log-odds of a window."""


class Frontend:
    def inputs(self, window: Window) -> NDArray[np.float32]:
        return window.samples[:, None]


class Opinion:
    """A heavy model that says the same of every window, and counts how often it is asked."""

    name, window_s, hop_s, raise_p = "opinion", 4.0, 2.0, 0.9

    def __init__(self, log_odds: float) -> None:
        self._log_odds = log_odds
        self.batches: list[int] = []

    def frontend(self) -> Frontend:
        return Frontend()

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        assert inputs.shape[1:] == (64_000, 1)
        self.batches.append(len(inputs))
        return np.full(len(inputs), self._log_odds, np.float32)


def heard(log_odds: float, seconds: int = 20) -> tuple[list[Window], list[Score]]:
    samples = np.full(48_000, 0.1, np.float32)
    windows = [Window(float(at), samples, 16_000 if at else 48_000, 2.4, 0.8 if at else 2.4) for at in range(seconds)]
    return windows, [Score.of(window, log_odds) for window in windows]


def go(verifier: Opinion, log_odds: float) -> Course:
    return follow_with_verifier(verifier, POLICY, *heard(log_odds))


def alerts(course: Course) -> list[AlertState]:
    return [move for moment in course.moments for move in moment.moves]


def test_the_verifier_raises_what_the_filter_does_not_hear() -> None:
    course = go(Opinion(SYNTHETIC), UNSURE)
    assert alerts(course) == [AlertState.PROVISIONAL, AlertState.CONFIRMED]
    assert course.verdict.outcome is Outcome.SYNTHETIC
    assert alerts(follow(heard(UNSURE)[1], POLICY)) == []


def test_the_verifier_clears_what_the_filter_raised() -> None:
    course = go(Opinion(HUMAN), SYNTHETIC)
    assert alerts(course)[:2] == [AlertState.PROVISIONAL, AlertState.CLEARED]
    assert course.verdict.reason == "models_disagree"
    assert go(Opinion(HUMAN), UNSURE).verdict.reason == "verifier_human"


def test_the_verifier_is_asked_seldom_and_not_of_scraps() -> None:
    verifier = Opinion(HUMAN)
    go(verifier, HUMAN)
    assert len(verifier.batches) == 1, "a leg that nobody doubts"
    windows, scores = heard(SYNTHETIC)
    scraps = [Score(score.start_s, score.end_s, 0.7, 0.3, SYNTHETIC) for score in scores]
    course = follow_with_verifier(verifier, POLICY, windows, scraps)
    assert len(verifier.batches) == 1
    assert course.verdict.reason == "too_little_speech"
    assert course.hours == pytest.approx(20 * 0.3 / 3_600)


def one_clip(samples: NDArray[np.float32]) -> Condition:
    audio = np.rint(samples * 32_767).astype(np.int16)
    return Condition("clean", Ragged(audio, np.array([0, len(audio)])))


def test_the_filter_s_windows_are_those_it_scored() -> None:
    condition, detector = one_clip(speech()), open_detector()
    samples = leg_samples(condition, (0,))
    windows = Filter.of(detector).windows(samples)
    scores = score_windows(samples, detector, MIN_SPEECH_S)
    assert [Score.of(window, 0.0) for window in windows] == [replace(score, log_odds=0.0) for score in scores]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_all_legs_are_followed_with_the_model_that_listens(jobs: int) -> None:
    condition, detector = one_clip(speech()), open_detector()
    samples = leg_samples(condition, (0,))
    scores = score_windows(samples, detector, MIN_SPEECH_S)
    done: list[int] = []
    with Listener(detector, "tinystatnet", jobs, lambda: done.append(1)) as listener:
        legs: Sequence[tuple[int, ...]] = [(0,), (0,)]
        courses = follow_all(listener, condition, legs, [scores, scores], Filter.of(detector))
    assert len(done) == 2
    alone = follow_with_verifier(
        detector, Policy(raise_p=detector.raise_p), Filter.of(detector).windows(samples), scores
    )
    assert courses == [alone, alone]
