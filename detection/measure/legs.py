"""How legs went, window by window, and the figures of that: outcomes, errors by seconds of speech, alarms per hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from detection.decision.alarms import RULE_OF_THREE
from detection.decision.evidence import Llr, light_alone
from detection.decision.rule import AlertState, Change, Decider, Policy, Verdict
from detection.measure.figures import Figures, endings, share, with_intervals
from detection.measure.metrics import NAN, Curve, Labels, Scores, Weights, intervals
from detection.measure.scoring import Leg
from detection.offline import Answer, follow
from detection.training.data import Clip
from detection.types import Score

SPEECH_S = (2, 4, 8, 16)
"""How much speech of a leg has been heard when it's judged."""
DETECTED_WITHIN_S = 12
"""Seconds of speech in which a synthetic voice is to be found."""


@dataclass(frozen=True, slots=True)
class Moment:
    """How a leg stood after one window."""

    speech_s: float
    """Heard so far."""
    p_synthetic: float
    """Of the whole leg so far."""
    moves: tuple[AlertState, ...]
    """Where the alert went with this window."""

    @classmethod
    def of(cls, decider: Decider, changes: Iterable[Change]) -> Moment:
        """Return how the leg of `decider` stands after these moves of its alert."""
        moves = tuple(change.state for change in changes)
        return cls(decider.speech_s, decider.verdict().p_synthetic, moves)


@dataclass(frozen=True, slots=True)
class Course:
    """A leg from its first window to the verdict."""

    moments: list[Moment]
    verdict: Verdict

    @property
    def hours(self) -> float:
        """Speech heard."""
        return self.moments[-1].speech_s / 3_600 if self.moments else 0.0

    def alerts(self, state: AlertState) -> int:
        """Return how often the alert went to `state`."""
        return sum(moment.moves.count(state) for moment in self.moments)


def course_of(
    scores: Iterable[Score], policy: Policy, answers: Sequence[Answer] = (), llr: Llr = light_alone
) -> Course:
    """Return how a leg goes of which the light model said `scores`, and a verifier, if there is one, `answers`.

    `llr` is how both become one number, as in `Decider`.
    """
    decider = Decider(policy, llr)
    moments = [Moment.of(decider, changes) for changes in follow(scores, decider, answers)]
    return Course(moments, decider.verdict())


def of_outcomes(clips: Sequence[Clip], legs: Sequence[Leg], courses: Sequence[Course]) -> Figures:
    """Return how whole legs of each class ended, and on how many an alert was raised, and confirmed, as shares."""
    is_fake, sources = _truth(clips, legs)
    ended = [course.verdict.outcome for course in courses]
    reached = {
        "alerted": np.array([course.alerts(AlertState.PROVISIONAL) > 0 for course in courses], np.bool_),
        "confirmed": np.array([course.alerts(AlertState.CONFIRMED) > 0 for course in courses], np.bool_),
    }

    def shares(weights: Weights) -> dict[str, float]:
        return endings(ended, is_fake, weights) | {
            f"{truth}_{name}": share(which, weights * (is_fake == fake))
            for truth, fake in (("human", False), ("synthetic", True))
            for name, which in reached.items()
        }

    counts = {"human": int((~is_fake).sum()), "synthetic": int(is_fake.sum())}
    if not legs:
        return counts
    return counts | with_intervals(shares(np.ones(len(legs))), intervals(shares, sources))


def of_legs(clips: Sequence[Clip], legs: Sequence[Leg], courses: Sequence[Course]) -> dict[str, Figures]:
    """Return, for 2, 4, 8 and 16 s of speech, the errors of the legs that hold so much, decided as live calls are.

    An alert counts once raised, provisional or confirmed. The equal error rate ranks legs by all their evidence so far.
    """
    is_fake, sources = _truth(clips, legs)
    table = {}
    for speech_s in SPEECH_S:
        stages = [_stage(course, speech_s) for course in courses]
        reached = np.array([stage is not None for stage in stages], np.bool_)
        p = np.array([stage[0] for stage in stages if stage])
        alerted = np.array([stage[1] for stage in stages if stage], np.bool_)
        there = [source for source, was_reached in zip(sources, reached, strict=True) if was_reached]
        table[str(speech_s)] = _of_stage(is_fake[reached], p, alerted, there)
    return table


def _truth(clips: Sequence[Clip], legs: Sequence[Leg]) -> tuple[Labels, list[str]]:
    """Return whether each leg is synthetic, and its source."""
    firsts = [clips[leg[0]] for leg in legs]
    return np.array([clip.is_fake for clip in firsts], np.bool_), [clip.source for clip in firsts]


def _stage(course: Course, speech_s: float) -> tuple[float, bool] | None:
    """Return the leg's probability, and whether an alert had been raised, when `speech_s` of speech had been heard.

    That's after the first window by whose end they were; None if the leg has less.
    """
    alerted = False
    for moment in course.moments:
        alerted |= bool(moment.moves)
        if moment.speech_s >= speech_s:
            return moment.p_synthetic, alerted
    return None


def _of_stage(is_fake: Labels, p: Scores, alerted: Labels, sources: list[str]) -> Figures:
    figures: Figures = {"human": int((~is_fake).sum()), "synthetic": int(is_fake.sum())}
    if not figures["human"] or not figures["synthetic"]:
        return figures

    def errors(weights: Weights) -> dict[str, float]:
        rates = {"false_alarms": share(alerted, weights * ~is_fake), "misses": share(~alerted, weights * is_fake)}
        curve = Curve.of(p, is_fake, weights)
        return {"eer": curve.equal_error_rate if curve else NAN} | rates

    return figures | with_intervals(errors(np.ones(len(alerted))), intervals(errors, sources))


def of_alarms(clips: Sequence[Clip], legs: Sequence[Leg], courses: Sequence[Course]) -> Figures:
    """Return alerts on human legs per hour of their speech.

    An interval's upper end is at least what the rule of three leaves possible. No legs and no rates where no human leg
    holds speech.
    """
    is_fake, sources = _truth(clips, legs)
    human = np.flatnonzero(~is_fake).tolist()
    raised, confirmed = AlertState.PROVISIONAL, AlertState.CONFIRMED
    counts = np.array(
        [(courses[one].hours, courses[one].alerts(raised), courses[one].alerts(confirmed)) for one in human]
    )
    hours = float(counts[..., :1].sum())
    if not hours:
        return {"legs": 0, "hours": 0.0}

    def rates(weights: Weights) -> dict[str, float]:
        hours, raised, confirmed = weights @ counts
        known = hours > 0
        return {
            "raised_per_hour": raised / hours if known else NAN,
            "confirmed_per_hour": confirmed / hours if known else NAN,
        }

    bounds = intervals(rates, [sources[number] for number in human])
    widened = {name: (low, max(high, RULE_OF_THREE / hours)) for name, (low, high) in bounds.items()}
    return {"legs": len(human), "hours": hours} | with_intervals(rates(np.ones(len(human))), widened)


def of_detections(clips: Sequence[Clip], legs: Sequence[Leg], courses: Sequence[Course]) -> Figures:
    """Return the share of synthetic legs on which an alert was raised within `DETECTED_WITHIN_S` s of their speech.

    Legs with less speech count in `detected` as well: an alert that there was no time for was not raised. Not so in
    `detected_long`, of the legs with so much speech alone.
    """
    is_fake, sources = _truth(clips, legs)
    synthetic = np.flatnonzero(is_fake).tolist()
    if not synthetic:
        return {"synthetic": 0, "synthetic_long": 0}
    detected = np.array([_alerted_within(courses[one], DETECTED_WITHIN_S) for one in synthetic], np.bool_)

    long = np.array([courses[one].hours * 3_600 >= DETECTED_WITHIN_S for one in synthetic], np.bool_)

    def rates(weights: Weights) -> dict[str, float]:
        return {"detected": share(detected, weights), "detected_long": share(detected, weights * long)}

    bounds = intervals(rates, [sources[number] for number in synthetic])
    counts = {"synthetic": len(synthetic), "synthetic_long": int(long.sum())}
    return counts | with_intervals(rates(np.ones(len(synthetic))), bounds)


def _alerted_within(course: Course, speech_s: float) -> bool:
    """Whether an alert was raised by the first window up to whose end so much speech was heard."""
    stage = _stage(course, speech_s)
    return stage[1] if stage else course.alerts(AlertState.PROVISIONAL) > 0
