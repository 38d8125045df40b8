"""Figures of merit. Scores are log-odds of 'synthetic'; a false alarm is a human scored as synthetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


def equal_error_rate(scores: Scores, is_fake: Labels) -> float:
    """Return the rate at which misses equal false alarms, interpolated on the ROC curve; NaN with one class only."""
    if is_fake.all() or not is_fake.any():
        return float("nan")
    false_alarms, hits, _ = roc_curve(is_fake, scores, drop_intermediate=False)
    misses = 1 - hits
    crossing = int(np.argmax(false_alarms >= misses))
    left, right = crossing - 1, crossing
    gap_left = misses[left] - false_alarms[left]
    gap_right = false_alarms[right] - misses[right]
    share = gap_left / (gap_left + gap_right) if gap_left + gap_right > 0 else 0.0
    return float(misses[left] + share * (misses[right] - misses[left]))


def area_under_curve(scores: Scores, is_fake: Labels) -> float:
    """Return the area under the ROC curve; NaN with one class only."""
    if is_fake.all() or not is_fake.any():
        return float("nan")
    return float(roc_auc_score(is_fake, scores))


def miss_rate_at(scores: Scores, is_fake: Labels, false_alarm_rate: float) -> float:
    """Return the share of synthetic clips missed when at most `false_alarm_rate` of the human ones raise an alarm."""
    if is_fake.all() or not is_fake.any():
        return float("nan")
    human = np.sort(scores[~is_fake])
    threshold = human[len(human) - 1 - int(false_alarm_rate * len(human))]
    return float(np.mean(scores[is_fake] <= threshold))


def interval(
    figure: Callable[[Scores, Labels], float], scores: Scores, is_fake: Labels, repeats: int = 300, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of `figure` over clips drawn with replacement."""
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(scores), size=len(scores)) for _ in range(repeats)]
    low, high = np.nanquantile([figure(scores[draw], is_fake[draw]) for draw in draws], [0.025, 0.975])
    return float(low), float(high)
