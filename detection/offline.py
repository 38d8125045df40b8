"""Whole recordings through the very path that live calls take: windows, speech activity, front end, model, decision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from detection.activity import Activity
from detection.decision import Change, Decider, Outcome, Policy
from detection.detector import Detector
from detection.errors import AudioError, ModelError
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
    is always there; `state` is then `indeterminate`. Raises as `score_windows` does.
    """
    policy = policy or Policy(raise_p=detector.raise_p)
    return summarise(score_windows(samples, detector, policy.min_window_speech_s), policy)


def score_windows(samples: Samples, detector: Detector, min_speech_s: float) -> list[Score]:
    """Return the score of every window of a recording, shape ``(n,)``, in order.

    Those with less than `min_speech_s` of speech aren't scored live: their log-odds are NaN, unless no window has more.

    Raises:
        AudioError: no samples.
        ModelError: the detector says no finite number of a window.
    """
    if not len(samples):
        raise AudioError("expected at least one sample, got none")
    scores = list(_scores(samples, detector, min_speech_s))
    if all(math.isnan(score.log_odds) for score in scores):
        return list(_scores(samples, detector, 0.0))
    return scores


def decide(scores: Iterable[Score], policy: Policy) -> tuple[Decider, list[Change]]:
    """Let a `Decider` hear what `score_windows` found, as if live; return it, and the moves of the alert."""
    decider = Decider(policy)
    changes = []
    for score in scores:
        if score.speech_s < policy.min_window_speech_s:
            decider.skip(score)
        elif change := decider.update(score):
            changes.append(change)
    return decider, changes


def summarise(scores: list[Score], policy: Policy) -> ClipScore:
    """Return what `score_windows` found as one score, with the verdict."""
    verdict = decide(scores, policy)[0].verdict()
    scored = [score for score in scores if not math.isnan(score.log_odds)]
    weights = [score.speech_s for score in scored]
    log_odds = float(np.average([score.log_odds for score in scored], weights=weights if any(weights) else None))
    return ClipScore(
        p_synthetic=0.5 + 0.5 * math.tanh(log_odds / 2),  # the logistic function, but it can't overflow
        log_odds=log_odds,
        speech_s=verdict.speech_s,
        windows=len(scored),
        state=verdict.outcome,
        reason=verdict.reason,
    )


def _scores(samples: Samples, detector: Detector, min_speech_s: float) -> Iterator[Score]:
    frontend = detector.frontend()
    for windows in _windows(samples, detector):
        inputs = [frontend.inputs(window) for window in windows if window.speech_s >= min_speech_s]
        log_odds = detector.score(np.stack(inputs)) if inputs else np.empty(0, np.float32)
        if not np.isfinite(log_odds).all():  # here, for NaN is a window that isn't scored from now on
            raise ModelError(f"{detector.name}: says no finite number")
        said = iter(log_odds.tolist())
        for window in windows:
            yield Score.of(window, next(said) if window.speech_s >= min_speech_s else math.nan)


def _windows(samples: Samples, detector: Detector) -> Iterator[list[Window]]:
    windower = Windower(detector.window_s, detector.hop_s, Activity())
    for at in range(0, len(samples), _PUSH_SAMPLES):
        yield windower.push(at / SAMPLE_RATE_HZ, samples[at : at + _PUSH_SAMPLES], gap_s=0.0)
    yield windower.flush()
