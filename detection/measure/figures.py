"""All figures of an evaluation, from the scores of clips and legs. Intervals are 95 % bootstrap, over whole sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.alarms import RULE_OF_THREE
from detection.decision import AlertState, Decider, Outcome, Policy, Verdict
from detection.measure.metrics import (
    NAN,
    Curve,
    Labels,
    Scores,
    Weights,
    detection_cost,
    equal_error_rate,
    intervals,
    least_log_likelihood_cost,
    log_likelihood_cost,
)
from detection.measure.scoring import Leg
from detection.offline import ClipScore, decide
from detection.training.data import Clip
from detection.types import Score

EVEN_ODDS = 0.0
"""Log-odds from which a clip counts as synthetic in accuracy, F1 and the tables by group."""
SPEECH_S = (2, 4, 8, 16)
"""How much speech of a leg has been heard when it's judged."""
GROUPS = ("system", "family", "language", "source")
MIN_IN_GROUP = 5
"""Clips of either class from which a group has an error rate of its own."""

Figures = dict[str, Any]


def with_intervals(figures: Figures, bounds: dict[str, tuple[float, float]]) -> Figures:
    """Return `figures` with each interval as ``NAME_95: [low, high]`` behind its figure."""
    named: Figures = {}
    for name, value in figures.items():
        named[name] = value
        if name in bounds:
            named[f"{name}_95"] = list(bounds[name])
    return named


def of_clips(clips: Sequence[Clip], scored: Sequence[ClipScore]) -> Figures:
    """Return every figure of merit of clips heard in one condition."""
    is_fake = np.array([clip.is_fake for clip in clips])
    scores = np.array([one.log_odds for one in scored])
    alarmed = np.array([one.state is Outcome.SYNTHETIC for one in scored])

    def bootstrapped(weights: Weights) -> dict[str, float]:
        return ranking(scores, is_fake, weights) | {
            "act_dcf": _actual_cost(alarmed, is_fake, weights),
            "cllr": log_likelihood_cost(scores, is_fake, weights),
            "min_cllr": least_log_likelihood_cost(scores, is_fake, weights),
        }

    bounds = intervals(bootstrapped, [clip.source for clip in clips])
    figures = bootstrapped(np.ones(len(clips)))
    return with_intervals(figures, bounds) | _at_even_odds(scores, is_fake) | _endings(scored, is_fake)


def ranking(scores: Scores, is_fake: Labels, weights: Weights | None = None) -> dict[str, float]:
    """Return what the order of the scores alone is worth."""
    curve = Curve.of(scores, is_fake, weights)
    if curve is None:
        return dict.fromkeys(("eer", "auc", "miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms", "min_dcf"), NAN)
    return {
        "eer": curve.equal_error_rate,
        "auc": curve.area,
        "miss_at_1pct_false_alarms": curve.miss_at(0.01),
        "miss_at_0.1pct_false_alarms": curve.miss_at(0.001),
        "min_dcf": curve.min_dcf,
    }


def _actual_cost(alarmed: Labels, is_fake: Labels, weights: Weights) -> float:
    human, fake = weights * ~is_fake, weights * is_fake
    if not human.sum() or not fake.sum():
        return NAN
    false_alarms, misses = (human * alarmed).sum() / human.sum(), (fake * ~alarmed).sum() / fake.sum()
    return float(detection_cost(false_alarms, misses))


def _at_even_odds(scores: Scores, is_fake: Labels) -> Figures:
    said_fake = scores > EVEN_ODDS
    true_fakes, false_fakes = int(np.sum(said_fake & is_fake)), int(np.sum(said_fake & ~is_fake))
    missed, true_humans = int(np.sum(~said_fake & is_fake)), int(np.sum(~said_fake & ~is_fake))
    return {
        "accuracy": float(np.mean(said_fake == is_fake)),
        "f1_synthetic": 2 * true_fakes / max(1, 2 * true_fakes + false_fakes + missed),
        "f1_human": 2 * true_humans / max(1, 2 * true_humans + false_fakes + missed),
        "human_as_human": true_humans,
        "human_as_synthetic": false_fakes,
        "synthetic_as_human": missed,
        "synthetic_as_synthetic": true_fakes,
    }


def _endings(scored: Sequence[ClipScore], is_fake: Labels) -> Figures:
    """Return how clips of each class ended, as shares: what the decision says, abstention and its reasons included."""
    shares: Figures = {}
    for fake, name in ((False, "human"), (True, "synthetic")):
        ended = [one for one, is_so in zip(scored, is_fake, strict=True) if is_so == fake]
        for state in Outcome:
            shares[f"{name}_ended_{state}"] = sum(one.state is state for one in ended) / max(1, len(ended))
        unsure = [one.reason for one in ended if one.state is Outcome.INDETERMINATE]
        shares[f"{name}_unsure_because"] = {reason: unsure.count(reason) for reason in sorted(set(unsure))}
    return shares


@dataclass(frozen=True)
class _Stage:
    """A leg, when so much of its speech had been heard."""

    verdict: Verdict
    alerted: bool


def of_legs(clips: Sequence[Clip], legs: Sequence[Leg], heard: Sequence[list[Score]], policy: Policy) -> Figures:
    """Return, for 2, 4, 8 and 16 s of speech, the errors of the legs that hold so much, decided as live calls are.

    The equal error rate ranks legs by all their evidence so far; an alert counts once raised, provisional or confirmed.
    """
    firsts = [clips[leg[0]] for leg in legs]
    table = {}
    for speech_s in SPEECH_S:
        stages = [_stage(scores, policy, speech_s) for scores in heard]
        reached = [(clip, stage) for clip, stage in zip(firsts, stages, strict=True) if stage]
        is_fake = np.array([clip.is_fake for clip, _ in reached], np.bool_)
        p = np.array([stage.verdict.p_synthetic for _, stage in reached])
        alerted = np.array([stage.alerted for _, stage in reached], np.bool_)
        table[str(speech_s)] = _of_stage(is_fake, p, alerted, [clip.source for clip, _ in reached])
    return table


def _of_stage(is_fake: Labels, p: Scores, alerted: Labels, sources: list[str]) -> Figures:
    figures: Figures = {"human": int((~is_fake).sum()), "synthetic": int(is_fake.sum())}
    if not figures["human"] or not figures["synthetic"]:
        return figures

    def error(weights: Weights) -> dict[str, float]:
        curve = Curve.of(p, is_fake, weights)
        return {"eer": curve.equal_error_rate if curve else NAN}

    figures |= with_intervals({"eer": equal_error_rate(p, is_fake)}, intervals(error, sources))
    return figures | {
        "false_alarms": float(alerted[~is_fake].mean()),
        "misses": float(1 - alerted[is_fake].mean()),
    }


def _stage(scores: Sequence[Score], policy: Policy, speech_s: float) -> _Stage | None:
    """Return how a leg stood at the first window by whose end `speech_s` of speech were heard; None if it has less."""
    decider, alerted = Decider(policy), False
    for score in scores:
        if math.isnan(score.log_odds):
            decider.skip(score)
        else:
            alerted |= decider.update(score) is not None
        if decider.speech_s >= speech_s:
            return _Stage(decider.verdict(), alerted)
    return None


def of_alarms(
    clips: Sequence[Clip], legs: Sequence[Leg], channels: Sequence[Sequence[list[Score]]], policy: Policy
) -> Figures:
    """Return alerts on human legs per hour of their speech, the mean over channels through which all were heard.

    An interval's upper end is at least what the rule of three leaves possible.
    """
    human = [number for number, leg in enumerate(legs) if not clips[leg[0]].is_fake]
    if not human:
        return {"legs": 0, "hours": 0.0}
    counts = np.mean([[_alarms(heard[number], policy) for number in human] for heard in channels], axis=0)

    def rates(weights: Weights) -> dict[str, float]:
        hours, raised, confirmed = weights @ counts
        known = hours > 0
        return {
            "raised_per_hour": raised / hours if known else NAN,
            "confirmed_per_hour": confirmed / hours if known else NAN,
        }

    hours = float(counts[:, 0].sum())
    bounds = intervals(rates, [clips[legs[number][0]].source for number in human])
    widened = {name: (low, max(high, RULE_OF_THREE / hours)) for name, (low, high) in bounds.items()}
    return {"legs": len(human), "hours": hours} | with_intervals(rates(np.ones(len(human))), widened)


def _alarms(scores: Sequence[Score], policy: Policy) -> tuple[float, int, int]:
    """Return hours of speech, alerts raised, alerts confirmed."""
    decider, changes = decide(scores, policy)
    states = [change.state for change in changes]
    return decider.speech_s / 3_600, states.count(AlertState.PROVISIONAL), states.count(AlertState.CONFIRMED)


def by_group(clips: Sequence[Clip], scores: Scores) -> dict[str, dict[str, Figures]]:
    """Return a table for each of `GROUPS`: misses and false alarms at even odds, and error rates.

    A group of one class alone is set against all clips of the other: a system against all humans, say.
    """
    is_fake = np.array([clip.is_fake for clip in clips])
    return {group: _by(np.array([getattr(clip, group) for clip in clips]), scores, is_fake) for group in GROUPS}


def _by(names: Any, scores: Scores, is_fake: Labels) -> dict[str, Figures]:
    table = {}
    for name in sorted(set(names)):
        human, fake = (names == name) & ~is_fake, (names == name) & is_fake
        row: Figures = {"human": int(human.sum()), "synthetic": int(fake.sum())}
        if human.any():
            row["false_alarms"] = float(np.mean(scores[human] > EVEN_ODDS))
        if fake.any():
            row["misses"] = float(np.mean(scores[fake] <= EVEN_ODDS))
        human, fake = human if human.any() else ~is_fake, fake if fake.any() else is_fake
        if min(human.sum(), fake.sum()) >= MIN_IN_GROUP:
            both = human | fake
            row |= {key: value for key, value in ranking(scores[both], is_fake[both]).items() if key in ("eer", "auc")}
        table[str(name)] = row
    return table
