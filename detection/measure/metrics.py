"""Figures of merit: EER, AUC, detection cost and Cllr.

Scores are log-odds of 'synthetic'. A false alarm is a human voice scored as synthetic; a miss is a synthetic voice
scored as human. Clips can have weights, so that a bootstrap needs no copies.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
Weights = NDArray[np.float64]

COST_FALSE_ALARM, COST_MISS, PRIOR_SYNTHETIC = 1.0, 10.0, 0.05
"""Costs and prior of ASVspoof 5 (Wang et al., 2024), where false alarm and miss have the opposite meaning."""

NAN = float("nan")


@dataclass(frozen=True)
class Curve:
    """Error rates at every threshold, from one that no clip passes to one that all pass; both arrays ``(n,)``."""

    false_alarms: Scores
    misses: Scores

    @classmethod
    def of(cls, scores: Scores, is_fake: Labels, weights: Weights | None = None) -> Curve | None:
        """Return the curve of weighted clips; None if only one class has weight. `weights` None: all 1."""
        weight = np.ones(len(scores)) if weights is None else weights
        order = np.argsort(-scores, kind="stable")
        ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # clips with equal scores pass together
        passed = [np.concatenate(([0.0], np.cumsum((weight * of)[order])[ends])) for of in (~is_fake, is_fake)]
        if not passed[0][-1] or not passed[1][-1]:
            return None
        return cls(passed[0] / passed[0][-1], 1 - passed[1] / passed[1][-1])

    @property
    def equal_error_rate(self) -> float:
        """Equal error rate, 0 to 1, interpolated."""
        right = int(np.argmax(self.false_alarms >= self.misses))
        left = right - 1
        gap_left = self.misses[left] - self.false_alarms[left]
        gap_right = self.false_alarms[right] - self.misses[right]
        share = gap_left / (gap_left + gap_right) if gap_left + gap_right > 0 else 0.0
        return float(self.misses[left] + share * (self.misses[right] - self.misses[left]))

    @property
    def area(self) -> float:
        """Area under the ROC curve: the probability that a synthetic clip scores above a human one."""
        return float(np.trapezoid(1 - self.misses, self.false_alarms))

    def miss_at(self, false_alarm_rate: float) -> float:
        """Return the lowest miss rate at a false alarm rate of at most `false_alarm_rate`."""
        return float(self.misses[self.false_alarms <= false_alarm_rate + 1e-12].min())

    @property
    def min_dcf(self) -> float:
        """Lowest detection cost over all thresholds; 1 is the cost of deciding without any score."""
        return float(detection_cost(self.false_alarms, self.misses).min())


def detection_cost(false_alarms: Scores, misses: Scores) -> Scores:
    """Return the normalised detection cost, with the costs and the prior of ASVspoof 5."""
    human, synthetic = COST_FALSE_ALARM * (1 - PRIOR_SYNTHETIC), COST_MISS * PRIOR_SYNTHETIC
    cost: Scores = (human * false_alarms + synthetic * misses) / min(human, synthetic)
    return cost


def equal_error_rate(scores: Scores, is_fake: Labels) -> float:
    """Return the equal error rate, 0 to 1; NaN with one class only."""
    curve = Curve.of(scores, is_fake)
    return curve.equal_error_rate if curve else NAN


def area_under_curve(scores: Scores, is_fake: Labels) -> float:
    """Return the area under the ROC curve; NaN with one class only."""
    curve = Curve.of(scores, is_fake)
    return curve.area if curve else NAN


def miss_rate_at(scores: Scores, is_fake: Labels, false_alarm_rate: float) -> float:
    """Return the miss rate at a false alarm rate of at most `false_alarm_rate`; NaN with one class only."""
    curve = Curve.of(scores, is_fake)
    return curve.miss_at(false_alarm_rate) if curve else NAN


def log_likelihood_cost(log_odds: Scores, is_fake: Labels, weights: Weights | None = None) -> float:
    """Return Cllr in bits: 0 is perfect, 1 is uninformative, more is misleading (Brümmer and du Preez, 2006)."""
    weight = np.ones(len(log_odds)) if weights is None else weights
    bits = np.logaddexp(0, np.where(is_fake, -log_odds, log_odds)) / np.log(2)
    return 0.5 * sum(_mean(bits[of], weight[of]) for of in (is_fake, ~is_fake))


def least_log_likelihood_cost(scores: Scores, is_fake: Labels, weights: Weights | None = None) -> float:
    """Return the Cllr after the best monotone map: the part of the cost that calibration cannot remove.

    The map is fitted by the pool-adjacent-violators algorithm, with equal weight for both classes.
    """
    weight = np.ones(len(scores)) if weights is None else weights
    counted = weight > 0
    scores, is_fake, weight = scores[counted], is_fake[counted], weight[counted]
    if is_fake.all() or not is_fake.any():
        return NAN
    from sklearn.isotonic import IsotonicRegression  # only now: a command's --help does without it

    balanced = weight / np.where(is_fake, weight[is_fake].sum(), weight[~is_fake].sum())
    p = IsotonicRegression().fit(scores, is_fake.astype(np.float64), balanced).predict(scores)
    with np.errstate(divide="ignore"):
        return log_likelihood_cost(np.log(p) - np.log1p(-p), is_fake, weight)


def intervals(
    figures: Callable[[Weights], dict[str, float]], units: Sequence[Hashable], repeats: int = 300, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return 95 % bootstrap intervals of all `figures`, a function of the weights of the clips.

    Whole `units` (for example, the source of each clip) are drawn with replacement: clips of one source or speaker have
    correlated errors and are not independent evidence.
    """
    rng = np.random.default_rng(seed)
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    unit_of = np.array([numbers[unit] for unit in units])
    draws = []
    for _ in range(repeats):
        times = np.bincount(rng.integers(len(numbers), size=len(numbers)), minlength=len(numbers))
        draws.append(figures(times[unit_of].astype(np.float64)))
    bounds = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        known = values[~np.isnan(values)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (NAN, NAN)
        bounds[name] = (float(low), float(high))
    return bounds


def _mean(values: Scores, weights: Weights) -> float:
    return float(np.average(values, weights=weights)) if weights.sum() > 0 else NAN
