"""Whole recordings through the very path that live calls take: windows, speech activity, front end, model, decision."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from detection.decision.coverage import Coverage, Question
from detection.decision.rule import Change, Decider, Outcome, Policy
from detection.detector import Detector
from detection.errors import AudioError, ModelError
from detection.signal.activity import Activity
from detection.signal.windows import Windower
from detection.types import SAMPLE_RATE_HZ, Samples, Score, Window

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
    """As in `detection.decision.rule.Verdict`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the verifier said of one of its windows of a recording."""

    after: int
    """Number of the light model's window after which it was asked, in the order of `score_windows`."""
    start_s: float
    end_s: float
    """Media time up to which it heard, as in `Question`."""
    again: bool
    """As in `Question`."""
    log_odds: float
    """Calibrated natural log-odds that the voice is synthetic."""
    narrow: bool
    """Whether the verifier's window came through a narrow channel (`detection.signal.bandwidth`)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How the light model cuts a leg, which says what the verifier is asked about: its window and hop, in seconds."""

    window_s: float
    hop_s: float

    @classmethod
    def of(cls, detector: Detector) -> Cut:
        """Return how `detector` cuts a leg."""
        return cls(detector.window_s, detector.hop_s)


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


def verify_windows(samples: Samples, light: Cut, verifier: Detector, min_speech_s: float) -> list[Answer]:
    """Return what a verifier says of all windows of a recording, shape ``(n,)``, that a gateway may ask it about.

    These are those of which it is asked `again`, too. `min_speech_s` is as in `score_windows`.

    Raises `ModelError` where it says no finite number.
    """
    answers: list[Answer] = []
    for asked in _questions(samples, light, verifier, min_speech_s):
        frontend = verifier.frontend()
        said = verifier.score(np.stack([frontend.inputs(question.window) for _, question in asked]))
        if not np.isfinite(said.log_odds).all():
            raise ModelError(f"{verifier.name}: says no finite number")
        answers += [
            Answer(after, question.start_s, question.end_s, question.again, log_odds, narrow)
            for (after, question), log_odds, narrow in zip(
                asked, said.log_odds.tolist(), said.narrow.tolist(), strict=True
            )
        ]
    return answers


def follow(scores: Iterable[Score], decider: Decider, answers: Sequence[Answer] = ()) -> Iterator[list[Change]]:
    """Let `decider` hear a leg's windows as live, and a verifier that answers at once; yield the alert's moves by each.

    Windows with too little speech are skipped, as live; `answers` are those of `verify_windows`, and of those that are
    `again`, the ones that came in doubt count.
    """
    waiting = deque(answers)
    for number, score in enumerate(scores):
        changes: list[Change | None] = []
        if score.speech_s < decider.policy.min_window_speech_s:
            decider.skip(score)
        else:
            changes.append(decider.update(score))
        while waiting and waiting[0].after <= number:
            answer = waiting.popleft()
            if not answer.again or decider.in_doubt:
                verified = decider.answer(answer.start_s, answer.end_s, answer.log_odds)
                changes.append(verified.change if verified else None)
        yield [change for change in changes if change]


def summarise(scores: list[Score], policy: Policy) -> ClipScore:
    """Return what `score_windows` found as one score, with the verdict."""
    decider = Decider(policy)
    deque(follow(scores, decider), maxlen=0)
    verdict = decider.verdict()
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
    for windows in _windows(samples, Cut.of(detector)):
        spoken = [window for window in windows if window.speech_s >= min_speech_s]
        said: Iterator[tuple[float, bool]] = iter(())
        if spoken:
            log_odds, narrow = detector.score(np.stack([frontend.inputs(window) for window in spoken]))
            if not np.isfinite(log_odds).all():  # here, for NaN is a window that isn't scored from now on
                raise ModelError(f"{detector.name}: says no finite number")
            said = zip(log_odds.tolist(), narrow.tolist(), strict=True)
        for window in windows:
            yield Score.of(window, *(next(said) if window.speech_s >= min_speech_s else (math.nan, False)))


def _questions(
    samples: Samples, light: Cut, verifier: Detector, min_speech_s: float
) -> Iterator[list[tuple[int, Question]]]:
    """Yield the verifier's windows, a few at a time, with the number of the light model's after which it is asked."""
    coverage, number = Coverage(verifier.window_s, verifier.hop_s), -1
    for windows in _windows(samples, light):
        asked = []
        for window in windows:
            number += 1
            spoken = window.speech_s >= min_speech_s
            asked += [(number, one) for one in (coverage.hear(window, again=True) if spoken else coverage.skip(window))]
        if asked:
            yield asked
    if last := coverage.end():
        yield [(number, question) for question in last]


def _windows(samples: Samples, cut: Cut) -> Iterator[list[Window]]:
    windower = Windower(cut.window_s, cut.hop_s, Activity())
    for at in range(0, len(samples), _PUSH_SAMPLES):
        yield windower.push(at / SAMPLE_RATE_HZ, samples[at : at + _PUSH_SAMPLES], gap_s=0.0)
    yield windower.flush()
