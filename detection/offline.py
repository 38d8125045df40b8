"""Scores whole recordings with the steps of live calls: windows, speech activity, front end, model, decision rule."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detection.decision.coverage import Coverage, VerifierWindow
from detection.decision.rule import Change, Decider, Outcome, Policy
from detection.detector import Detector
from detection.errors import AudioError, ModelError
from detection.signal.activity import Activity
from detection.signal.windows import Windower
from detection.types import SAMPLE_RATE_HZ, Samples, Score, Window

_PUSH_SAMPLES = 10 * SAMPLE_RATE_HZ  # bounds the number of windows in memory for recordings of any length


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Score of a recording with one voice."""

    p_synthetic: float
    """`log_odds` as a probability, 0 to 1, for ranking recordings. `state` is the decision."""
    log_odds: float
    """Mean over the scored windows, weighted by speech; unlike the evidence on a leg, it does not grow with length."""
    speech_s: float
    windows: int
    """Number of scored windows."""
    state: Outcome
    reason: str
    """As in `detection.decision.rule.Verdict`."""


@dataclass(frozen=True, slots=True)
class VerifierScore:
    """A score of the verifier, for one of its windows of a recording."""

    after: int
    """Index of the light model's window after which it was asked for, in the order of `score_windows`."""
    start_s: float
    end_s: float
    """Media times, as in `VerifierWindow`."""
    overlapping: bool
    """As in `VerifierWindow`."""
    log_odds: float
    """Calibrated natural log-odds of 'synthetic'."""
    narrow: bool
    """Whether the verifier's window came through a narrow channel (`detection.signal.bandwidth`)."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """Window and hop of the light model, in seconds; the verifier's windows depend on them."""

    window_s: float
    hop_s: float

    @classmethod
    def of(cls, detector: Detector) -> Windowing:
        """Return the window and hop of `detector`."""
        return cls(detector.window_s, detector.hop_s)


def score_samples(
    samples: Samples,
    detector: Detector,
    policy: Policy | None = None,
    on_score: Callable[[Score], None] | None = None,
) -> ClipScore:
    """Score a recording of one voice, float32, shape ``(n,)``, 16 kHz.

    If no window has enough speech to be scored live, all windows are scored, so that `p_synthetic` always exists;
    `state` is then `indeterminate`. `on_score` is called with the score of each window, as soon as it is known. Raises
    as `score_windows` does.
    """
    policy = policy or Policy(raise_p=detector.raise_p)
    return summarise(score_windows(samples, detector, policy.min_window_speech_s, on_score), policy)


def score_windows(
    samples: Samples, detector: Detector, min_speech_s: float, on_score: Callable[[Score], None] | None = None
) -> list[Score]:
    """Return the score of every window of a recording, shape ``(n,)``, in order.

    Windows with less than `min_speech_s` of speech are not scored: their log-odds are NaN. If all windows have less,
    all are scored.

    Raises:
        AudioError: no samples.
        ModelError: the detector returned NaN or infinity.
    """
    if not len(samples):
        raise AudioError("expected at least one sample, got none")
    scores = []
    for score in _scores(samples, detector, min_speech_s):
        scores.append(score)
        if on_score is not None:
            on_score(score)
    if all(math.isnan(score.log_odds) for score in scores):
        return list(_scores(samples, detector, 0.0))
    return scores


def verify_windows(samples: Samples, light: Windowing, verifier: Detector, min_speech_s: float) -> list[VerifierScore]:
    """Return the verifier's scores of all windows of a recording, shape ``(n,)``, that a gateway may ask for.

    This includes the overlapping windows. `min_speech_s` is as in `score_windows`.

    Raises:
        ModelError: the verifier returned NaN or infinity.
    """
    verifier_scores: list[VerifierScore] = []
    for batch in _verifier_windows(samples, light, verifier, min_speech_s):
        frontend = verifier.frontend()
        scored = verifier.score(np.stack([frontend.inputs(window.window) for _, window in batch]))
        if not np.isfinite(scored.log_odds).all():
            raise ModelError(f"{verifier.name}: expected finite log-odds")
        verifier_scores += [
            VerifierScore(after, window.start_s, window.end_s, window.overlapping, log_odds, narrow)
            for (after, window), log_odds, narrow in zip(
                batch, scored.log_odds.tolist(), scored.narrow.tolist(), strict=True
            )
        ]
    return verifier_scores


def follow(
    scores: Iterable[Score], decider: Decider, verifier_scores: Sequence[VerifierScore] = ()
) -> Iterator[list[Change]]:
    """Pass the scores of a leg to `decider` as live, with a verifier that is never late; yield transitions by window.

    Windows with too little speech are skipped, as live. `verifier_scores` are those of `verify_windows`; the
    overlapping ones count only while the leg is in doubt.
    """
    waiting = deque(verifier_scores)
    for number, score in enumerate(scores):
        changes: list[Change | None] = []
        if score.speech_s < decider.policy.min_window_speech_s:
            decider.skip(score)
        else:
            changes.append(decider.update(score))
        while waiting and waiting[0].after <= number:
            one = waiting.popleft()
            if not one.overlapping or decider.in_doubt:
                verified = decider.add_verifier_score(one.start_s, one.end_s, one.log_odds)
                changes.append(verified.change if verified else None)
        yield [change for change in changes if change]


def summarise(scores: list[Score], policy: Policy) -> ClipScore:
    """Return the mean of the scores of `score_windows`, and the verdict on them."""
    decider = Decider(policy)
    deque(follow(scores, decider), maxlen=0)
    verdict = decider.verdict()
    scored = [score for score in scores if not math.isnan(score.log_odds)]
    weights = [score.speech_s for score in scored]
    log_odds = float(np.average([score.log_odds for score in scored], weights=weights if any(weights) else None))
    return ClipScore(
        p_synthetic=0.5 + 0.5 * math.tanh(log_odds / 2),  # the logistic function, in a form that cannot overflow
        log_odds=log_odds,
        speech_s=verdict.speech_s,
        windows=len(scored),
        state=verdict.outcome,
        reason=verdict.reason,
    )


def _scores(samples: Samples, detector: Detector, min_speech_s: float) -> Iterator[Score]:
    frontend = detector.frontend()
    for windows in _windows(samples, Windowing.of(detector)):
        spoken = [window for window in windows if window.speech_s >= min_speech_s]
        scored: Iterator[tuple[float, bool]] = iter(())
        if spoken:
            log_odds, narrow = detector.score(np.stack([frontend.inputs(window) for window in spoken]))
            if not np.isfinite(log_odds).all():  # checked here, because NaN marks unscored windows below
                raise ModelError(f"{detector.name}: expected finite log-odds")
            scored = zip(log_odds.tolist(), narrow.tolist(), strict=True)
        for window in windows:
            yield Score.of(window, *(next(scored) if window.speech_s >= min_speech_s else (math.nan, False)))


def _verifier_windows(
    samples: Samples, light: Windowing, verifier: Detector, min_speech_s: float
) -> Iterator[list[tuple[int, VerifierWindow]]]:
    """Yield the verifier's windows in batches, each with the index of the light model's window that completed it."""
    coverage, number = Coverage(verifier.window_s, verifier.hop_s), -1
    for windows in _windows(samples, light):
        batch = []
        for window in windows:
            number += 1
            spoken = window.speech_s >= min_speech_s
            new = coverage.add(window, overlapping=True) if spoken else coverage.skip(window)
            batch += [(number, one) for one in new]
        if batch:
            yield batch
    if last := coverage.end():
        yield [(number, window) for window in last]


def _windows(samples: Samples, windowing: Windowing) -> Iterator[list[Window]]:
    windower = Windower(windowing.window_s, windowing.hop_s, Activity())
    for at in range(0, len(samples), _PUSH_SAMPLES):
        yield windower.push(at / SAMPLE_RATE_HZ, samples[at : at + _PUSH_SAMPLES], gap_s=0.0)
    yield windower.flush()
