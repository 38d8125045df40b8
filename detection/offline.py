"""Whole recordings through the very path that live calls take: windows, speech activity, front end, model, decision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from detection.activity import Activity
from detection.decision import Decider, Outcome, Policy, Verdict
from detection.detector import Detector
from detection.errors import AudioError
from detection.types import SAMPLE_RATE_HZ, Samples, Score, Window
from detection.windows import Windower

_PUSH_SAMPLES = 10 * SAMPLE_RATE_HZ  # bounds the windows held at once, however long the recording


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What the detector says of a recording with one voice."""

    p_synthetic: float
    """0 to 1, `log_odds` as a probability: ranks recordings. `state` is the decision."""
    log_odds: float
    """Mean over the scored windows, weighted by their speech; unlike a leg's evidence it doesn't grow with length."""
    speech_s: float
    windows: int
    """Windows scored."""
    state: Outcome
    reason: str
    """As in `detection.decision.Verdict`."""


def score_samples(samples: Samples, detector: Detector, policy: Policy | None = None) -> ClipScore:
    """Score a recording of one voice, shape ``(n,)``.

    Where no window holds enough speech to be scored live, all windows are scored all the same, so that `p_synthetic`
    is always there; `state` is then `indeterminate`. Raises `AudioError` when there are no samples.
    """
    if not len(samples):
        raise AudioError("expected at least one sample, got none")
    policy = policy or Policy(raise_p=detector.raise_p)
    scores, verdict = _run(samples, detector, policy)
    if not scores:
        scores, _ = _run(samples, detector, replace(policy, min_window_speech_s=0.0))
    log_odds = _mean_log_odds(scores)
    return ClipScore(
        p_synthetic=0.5 + 0.5 * math.tanh(log_odds / 2),  # the logistic function, but it can't overflow
        log_odds=log_odds,
        speech_s=verdict.speech_s,
        windows=len(scores),
        state=verdict.outcome,
        reason=verdict.reason,
    )


def _run(samples: Samples, detector: Detector, policy: Policy) -> tuple[list[Score], Verdict]:
    """Play the recording as one leg; return the scores of the windows that held enough speech, and the verdict."""
    decider = Decider(policy)
    frontend = detector.frontend()
    scores: list[Score] = []
    for windows in _windows(samples, detector):
        wanted = [window for window in windows if window.speech_s >= policy.min_window_speech_s]
        inputs = [frontend.inputs(window) for window in wanted]
        log_odds = iter(detector.score(np.stack(inputs)) if inputs else ())
        for window in windows:
            if window.speech_s < policy.min_window_speech_s:
                decider.skip(window)
                continue
            score = Score.of(window, float(next(log_odds)))
            decider.update(score)
            scores.append(score)
    return scores, decider.verdict()


def _windows(samples: Samples, detector: Detector) -> Iterator[list[Window]]:
    windower = Windower(detector.window_s, detector.hop_s, Activity())
    for at in range(0, len(samples), _PUSH_SAMPLES):
        yield windower.push(at / SAMPLE_RATE_HZ, samples[at : at + _PUSH_SAMPLES], gap_s=0.0)
    yield windower.flush()


def _mean_log_odds(scores: list[Score]) -> float:
    weights = [score.speech_s for score in scores]
    return float(np.average([score.log_odds for score in scores], weights=weights if any(weights) else None))
