"""Figures of merit of clips and groups of clips. Intervals are 95 % bootstrap intervals over whole sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.decision.rule import Outcome
from detection.measure.metrics import (
    NAN,
    Curve,
    Labels,
    Scores,
    Weights,
    detection_cost,
    intervals,
    least_log_likelihood_cost,
    log_likelihood_cost,
)
from detection.offline import ClipScore
from detection.signal.channels import CHANNELS
from detection.training.data import Clip, is_known

EVEN_ODDS = 0.0
"""Log-odds above which a clip counts as synthetic, for accuracy, F1 and the tables by group."""
GROUPS = ("system", "family", "language", "source", "channel")
IN_TRAINING = "heard in training"
"""A further group: whether training data has the system of a synthetic clip, or the speaker of a human one."""
MIN_IN_GROUP = 5
"""Least number of clips of each class for an error rate of a group."""
RANKED = ("eer", "auc", "miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms", "min_dcf")
"""Keys of the result of `ranking`."""
GROUP_REPEATS = 200
"""Bootstrap repeats for a group; fewer, because there are about a hundred groups for each channel."""

Figures = dict[str, Any]


def with_intervals(figures: Figures, bounds: dict[str, tuple[float, float]]) -> Figures:
    """Return `figures` with each interval as ``NAME_95: [low, high]`` after its figure."""
    named: Figures = {}
    for name, value in figures.items():
        named[name] = value
        if name in bounds:
            named[f"{name}_95"] = list(bounds[name])
    return named


def of_clips(clips: Sequence[Clip], scored: Sequence[ClipScore]) -> Figures:
    """Return all figures of merit of the clips in one condition."""
    is_fake = np.array([clip.is_fake for clip in clips])
    scores = np.array([one.log_odds for one in scored])
    alarmed = np.array([one.state is Outcome.SYNTHETIC for one in scored])

    def bootstrapped(weights: Weights) -> dict[str, float]:
        return {
            **ranking(scores, is_fake, weights),
            "act_dcf": _actual_cost(alarmed, is_fake, weights),
            "cllr": log_likelihood_cost(scores, is_fake, weights),
            "min_cllr": least_log_likelihood_cost(scores, is_fake, weights),
            **_at_even_odds(scores, is_fake, weights),
            **outcome_shares([one.state for one in scored], is_fake, weights),
        }

    figures = _bootstrapped(bootstrapped, clips)
    return figures | _confusion(scores, is_fake) | _indeterminate_reasons(scored, is_fake)


def of_scores(clips: Sequence[Clip], scores: Scores) -> Figures:
    """Return the figures of merit of log-odds alone, for a baseline without a decision."""
    is_fake = np.array([clip.is_fake for clip in clips])
    return _bootstrapped(
        lambda weights: {**ranking(scores, is_fake, weights), **_at_even_odds(scores, is_fake, weights)}, clips
    )


def _bootstrapped(figures: Callable[[Weights], dict[str, float]], clips: Sequence[Clip]) -> Figures:
    return with_intervals(figures(np.ones(len(clips))), intervals(figures, [clip.source for clip in clips]))


def ranking(scores: Scores, is_fake: Labels, weights: Weights | None = None) -> dict[str, float]:
    """Return the figures that depend only on the order of the scores."""
    curve = Curve.of(scores, is_fake, weights)
    if curve is None:
        return dict.fromkeys(RANKED, NAN)
    return {
        "eer": curve.equal_error_rate,
        "auc": curve.area,
        "miss_at_1pct_false_alarms": curve.miss_at(0.01),
        "miss_at_0.1pct_false_alarms": curve.miss_at(0.001),
        "min_dcf": curve.min_dcf,
    }


def worst_codec(conditions: Mapping[str, Figures]) -> str | None:
    """Return the codec channel with the highest EER; None unless several channels were measured."""
    channels = [name for name in conditions if name in CHANNELS]
    through = [name for name in channels if CHANNELS[name].codec]
    return max(through, key=lambda name: conditions[name]["eer"]) if through and len(channels) > 1 else None


def _actual_cost(alarmed: Labels, is_fake: Labels, weights: Weights) -> float:
    false_alarms, misses = share(alarmed, weights * ~is_fake), share(~alarmed, weights * is_fake)
    return float(detection_cost(np.array(false_alarms), np.array(misses)))


def share(which: Labels, weights: Weights) -> float:
    """Return the share of the weight that is on `which`; NaN if there is no weight."""
    total = weights.sum()
    return float(weights @ which / total) if total else NAN


def _at_even_odds(scores: Scores, is_fake: Labels, weights: Weights) -> dict[str, float]:
    called_fake = scores > EVEN_ODDS
    wrong = float(weights @ (called_fake != is_fake))
    right = {"synthetic": float(weights @ (called_fake & is_fake)), "human": float(weights @ ~(called_fake | is_fake))}
    f1 = {f"f1_{name}": 2 * count / max(1, 2 * count + wrong) for name, count in right.items()}
    return {"accuracy": share(called_fake == is_fake, weights), **f1}


def _confusion(scores: Scores, is_fake: Labels) -> dict[str, int]:
    called_fake = scores > EVEN_ODDS
    return {
        "human_as_human": int(np.sum(~called_fake & ~is_fake)),
        "human_as_synthetic": int(np.sum(called_fake & ~is_fake)),
        "synthetic_as_human": int(np.sum(~called_fake & is_fake)),
        "synthetic_as_synthetic": int(np.sum(called_fake & is_fake)),
    }


_CLASSES = (("human", False), ("synthetic", True))


def outcome_shares(outcomes: Sequence[Outcome], is_fake: Labels, weights: Weights) -> dict[str, float]:
    """Return the share of clips or legs of each class by outcome, with `indeterminate`."""
    ended = np.array(outcomes)
    return {
        f"{name}_ended_{state}": share(ended == state, weights * (is_fake == fake))
        for name, fake in _CLASSES
        for state in Outcome
    }


def _indeterminate_reasons(scored: Sequence[ClipScore], is_fake: Labels) -> Figures:
    """Return the number of indeterminate clips of each class by reason."""
    counts: Figures = {}
    for name, fake in _CLASSES:
        ended = (one for one, is_so in zip(scored, is_fake, strict=True) if is_so == fake)
        unsure = [one.reason for one in ended if one.state is Outcome.INDETERMINATE]
        counts[f"{name}_unsure_because"] = {reason: unsure.count(reason) for reason in sorted(set(unsure))}
    return counts


def by_group(
    clips: Sequence[Clip], scores: Scores, training: Sequence[Clip] = (), groups: Sequence[str] = GROUPS
) -> dict[str, dict[str, Figures]]:
    """Return a table for each of `groups`: misses and false alarms at even odds, and error rates.

    With `training` clips, also the table `IN_TRAINING`. A group of one class is compared with all clips of the other
    class: a system with all human voices, for example.
    """
    is_fake, sources = np.array([clip.is_fake for clip in clips]), np.array([clip.source for clip in clips])
    names = {group: np.array([getattr(clip, group) for clip in clips]) for group in groups}
    if training:
        names[IN_TRAINING] = np.where(in_training(clips, training), "yes", "no")
    return {
        group: {str(name): _of_group(of == name, scores, is_fake, sources) for name in sorted(set(of))}
        for group, of in names.items()
    }


def in_training(clips: Sequence[Clip], training: Sequence[Clip]) -> list[bool]:
    """Return for each clip whether `training` has its system (synthetic clips) or its speaker (human clips).

    Names are compared without case, because corpora write them differently. A speaker also counts if training has a
    clone of that voice. Clips without a name, or with a collective name for unknown ones, do not count.
    """
    systems = {clip.system.casefold() for clip in training if clip.is_fake and is_known(clip.system)}
    persons = {clip.speaker.casefold() for clip in training if is_known(clip.speaker)}
    return [clip.system.casefold() in systems if clip.is_fake else clip.speaker.casefold() in persons for clip in clips]


def _of_group(inside: Labels, scores: Scores, is_fake: Labels, sources: NDArray[np.str_]) -> Figures:
    """Return the row of the clips `inside`; all arrays ``(n_clips,)``."""
    human, fake = inside & ~is_fake, inside & is_fake
    against = (human if human.any() else ~is_fake) | (fake if fake.any() else is_fake)
    values, truth = scores[against], is_fake[against]
    ranked = min(truth.sum(), (~truth).sum()) >= MIN_IN_GROUP

    def rates(weights: Weights) -> dict[str, float]:
        row = {}
        if human.any():
            row["false_alarms"] = share(values > EVEN_ODDS, weights * ~truth)
        if fake.any():
            row["misses"] = share(values <= EVEN_ODDS, weights * truth)
        if ranked:
            row |= ranking(values, truth, weights)
        return row

    # Resampling sources cannot vary a group from one source, so such a group is resampled by clip.
    within_one = len(set(sources[inside])) == 1
    units = [
        int(number) if within_one and inside[number] else str(sources[number]) for number in np.flatnonzero(against)
    ]
    row = with_intervals(rates(np.ones(len(values))), intervals(rates, units, GROUP_REPEATS))
    return {"human": int(human.sum()), "synthetic": int(fake.sum()), **row}
