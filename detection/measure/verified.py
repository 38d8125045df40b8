"""Legs as a gateway with a verifier judges them: `detection.hybrid`, with answers that come at once and never fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from detection.activity import Activity
from detection.decision import Decider, Policy
from detection.detector import CardDetector, Detector
from detection.hybrid import Hybrid
from detection.measure.conditions import Condition
from detection.measure.legs import Course, Moment
from detection.measure.scoring import Leg, Listener, leg_samples
from detection.types import Samples, Score, Window
from detection.windows import Windower


@dataclass(frozen=True, slots=True)
class Filter:
    """The light model, as far as its scores don't tell: how it cuts a leg, and what its decider makes of them."""

    window_s: float
    hop_s: float
    policy: Policy

    @classmethod
    def of(cls, detector: Detector) -> Filter:
        """Return what a gateway makes of `detector` by default."""
        return cls(detector.window_s, detector.hop_s, Policy(raise_p=detector.raise_p))

    def windows(self, samples: Samples) -> list[Window]:
        """Return the windows of a leg, those that `score_windows` scores, in order."""
        windower = Windower(self.window_s, self.hop_s, Activity())
        return [*windower.push(0.0, samples, gap_s=0.0), *windower.flush()]


def follow_with_verifier(
    verifier: Detector, policy: Policy, windows: Sequence[Window], scores: Sequence[Score]
) -> Course:
    """Let the verifier stand beside a filter with this `policy`, which hears a leg's windows and scored them so.

    It's asked when a gateway would ask it, about the same audio, by its card's own threshold.
    """
    decider = Decider(policy)
    hybrid = Hybrid(decider, Policy(raise_p=verifier.raise_p), verifier.window_s)
    moments = []
    for window, score in zip(windows, scores, strict=True):
        changes = []
        if score.speech_s < policy.min_window_speech_s:
            decider.skip(score)
        else:
            changes.append(decider.update(score))
            hybrid.hear(window, changes[0])
            if question := hybrid.question():
                changes.append(hybrid.answered(_answer(verifier, question)).change)
        moments.append(Moment.of(decider, changes))
    return Course(moments, hybrid.verdict())


def follow_all(
    listener: Listener, condition: Condition, legs: Sequence[Leg], heard: Sequence[list[Score]], light: Filter
) -> list[Course]:
    """Return how all `legs` go, of which the filter said what was `heard`; the listener's model is the verifier."""
    jobs: Iterator[tuple[Samples, list[Score]]] = (
        (leg_samples(condition, leg), scores) for leg, scores in zip(legs, heard, strict=True)
    )
    return list(listener.each(partial(_follow, light), jobs))


def _follow(light: Filter, verifier: CardDetector, job: tuple[Samples, list[Score]]) -> Course:
    samples, scores = job
    return follow_with_verifier(verifier, light.policy, light.windows(samples), scores)


def _answer(verifier: Detector, question: Sequence[Window]) -> list[Score]:
    frontend = verifier.frontend()
    log_odds = verifier.score(np.stack([frontend.inputs(window) for window in question]))
    return [Score.of(window, float(value)) for window, value in zip(question, log_odds, strict=True)]
