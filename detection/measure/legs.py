"""Legs window by window, and their figures: outcomes, errors by seconds of speech, false alarms per hour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from detection.decision.alarms import RULE_OF_THREE
from detection.decision.evidence import Llr, light_alone
from detection.decision.rule import AlertState, Change, Decider, Policy, Verdict
from detection.measure.figures import Figures, outcome_shares, share, with_intervals
from detection.measure.metrics import NAN, Curve, Labels, Scores, Weights, intervals
from detection.measure.scoring import Leg
from detection.offline import VerifierScore, follow
from detection.training.data import Clip
from detection.types import Score

SPEECH_S = (2, 4, 8, 16)
"""Seconds of speech after which a leg is evaluated."""
DETECTED_WITHIN_S = 12
"""Seconds of speech within which a synthetic voice should be detected."""


@dataclass(frozen=True, slots=True)
class Step:
    """State of a leg after one window."""

    speech_s: float
    """Seconds of speech so far."""
    p_synthetic: float
    """Whole-leg probability so far."""
    moves: tuple[AlertState, ...]
    """New states of the alert with this window."""

    @classmethod
    def of(cls, decider: Decider, changes: Iterable[Change]) -> Step:
        """Return the state of the leg of `decider` after these transitions."""
        moves = tuple(change.state for change in changes)
        return cls(decider.speech_s, decider.verdict().p_synthetic, moves)


@dataclass(frozen=True, slots=True)
class Trace:
    """The states of a leg from its first window to the verdict."""

    steps: list[Step]
    verdict: Verdict

    @property
    def hours(self) -> float:
        """Hours of speech."""
        return self.steps[-1].speech_s / 3_600 if self.steps else 0.0

    def alerts(self, state: AlertState) -> int:
        """Return how often the alert entered `state`."""
        return sum(step.moves.count(state) for step in self.steps)


def trace_of(
    scores: Iterable[Score], policy: Policy, verifier_scores: Sequence[VerifierScore] = (), llr: Llr = light_alone
) -> Trace:
    """Apply the decision rule to a leg's `scores` and, with a verifier, `verifier_scores`.

    `llr` is the fusion of both, as in `Decider`.
    """
    decider = Decider(policy, llr)
    steps = [Step.of(decider, changes) for changes in follow(scores, decider, verifier_scores)]
    return Trace(steps, decider.verdict())


def of_outcomes(clips: Sequence[Clip], legs: Sequence[Leg], traces: Sequence[Trace]) -> Figures:
    """Return the shares of legs of each class by outcome, and the shares with an alert raised and confirmed."""
    is_fake, sources = _truth(clips, legs)
    ended = [trace.verdict.outcome for trace in traces]
    reached = {
        "alerted": np.array([trace.alerts(AlertState.PROVISIONAL) > 0 for trace in traces], np.bool_),
        "confirmed": np.array([trace.alerts(AlertState.CONFIRMED) > 0 for trace in traces], np.bool_),
    }

    def shares(weights: Weights) -> dict[str, float]:
        return outcome_shares(ended, is_fake, weights) | {
            f"{truth}_{name}": share(which, weights * (is_fake == fake))
            for truth, fake in (("human", False), ("synthetic", True))
            for name, which in reached.items()
        }

    counts = {"human": int((~is_fake).sum()), "synthetic": int(is_fake.sum())}
    if not legs:
        return counts
    return counts | with_intervals(shares(np.ones(len(legs))), intervals(shares, sources))


def of_legs(clips: Sequence[Clip], legs: Sequence[Leg], traces: Sequence[Trace]) -> dict[str, Figures]:
    """Return the errors after 2, 4, 8 and 16 s of speech, of the legs with as much speech, decided as in live calls.

    A leg counts as alerted once an alert was raised. The EER ranks legs by their whole-leg probability so far.
    """
    is_fake, sources = _truth(clips, legs)
    table = {}
    for speech_s in SPEECH_S:
        stages = [_stage(trace, speech_s) for trace in traces]
        reached = np.array([stage is not None for stage in stages], np.bool_)
        p = np.array([stage[0] for stage in stages if stage])
        alerted = np.array([stage[1] for stage in stages if stage], np.bool_)
        there = [source for source, was_reached in zip(sources, reached, strict=True) if was_reached]
        table[str(speech_s)] = _of_stage(is_fake[reached], p, alerted, there)
    return table


def _truth(clips: Sequence[Clip], legs: Sequence[Leg]) -> tuple[Labels, list[str]]:
    """Return the label and the source of each leg."""
    firsts = [clips[leg[0]] for leg in legs]
    return np.array([clip.is_fake for clip in firsts], np.bool_), [clip.source for clip in firsts]


def _stage(trace: Trace, speech_s: float) -> tuple[float, bool] | None:
    """Return probability and whether an alert was raised, after the first window with `speech_s` of speech in all.

    None if the leg has less speech.
    """
    alerted = False
    for step in trace.steps:
        alerted |= bool(step.moves)
        if step.speech_s >= speech_s:
            return step.p_synthetic, alerted
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


def of_alarms(clips: Sequence[Clip], legs: Sequence[Leg], traces: Sequence[Trace]) -> Figures:
    """Return alerts on human legs per hour of their speech.

    The upper end of an interval is at least the limit of the rule of three. Without speech on human legs there are no
    rates.
    """
    is_fake, sources = _truth(clips, legs)
    human = np.flatnonzero(~is_fake).tolist()
    raised, confirmed = AlertState.PROVISIONAL, AlertState.CONFIRMED
    counts = np.array([(traces[one].hours, traces[one].alerts(raised), traces[one].alerts(confirmed)) for one in human])
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


def of_detections(clips: Sequence[Clip], legs: Sequence[Leg], traces: Sequence[Trace]) -> Figures:
    """Return the share of synthetic legs with an alert raised within `DETECTED_WITHIN_S` seconds of their speech.

    `detected` includes legs with less speech, where an alert may have come too late. `detected_long` is the share among
    the legs with at least that much speech.
    """
    is_fake, sources = _truth(clips, legs)
    synthetic = np.flatnonzero(is_fake).tolist()
    if not synthetic:
        return {"synthetic": 0, "synthetic_long": 0}
    detected = np.array([_alerted_within(traces[one], DETECTED_WITHIN_S) for one in synthetic], np.bool_)

    long = np.array([traces[one].hours * 3_600 >= DETECTED_WITHIN_S for one in synthetic], np.bool_)

    def rates(weights: Weights) -> dict[str, float]:
        return {"detected": share(detected, weights), "detected_long": share(detected, weights * long)}

    bounds = intervals(rates, [sources[number] for number in synthetic])
    counts = {"synthetic": len(synthetic), "synthetic_long": int(long.sum())}
    return counts | with_intervals(rates(np.ones(len(synthetic))), bounds)


def _alerted_within(trace: Trace, speech_s: float) -> bool:
    """Return whether an alert was raised by the first window with `speech_s` seconds of speech in all."""
    stage = _stage(trace, speech_s)
    return stage[1] if stage else trace.alerts(AlertState.PROVISIONAL) > 0
