"""Figures of the legs of one cell, with 95 % intervals.  [S]

Shares of legs: Wilson's score interval. Alerts per hour: exact Poisson interval. Quantiles of times: order statistics.
Brier score: percentile bootstrap over legs. Legs are assumed to be independent, which holds if each has a speaker of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, chi2

from sim.judge import STAGES
from sim.matrix.legs import PlayedLeg

BINS = 5
"""Bins of the reliability diagram, of equal width."""
DRAWS = 500
_DIGITS = 4

Figures = dict[str, Any]
Interval = list[float | None]


def of_cell(legs: Sequence[PlayedLeg]) -> Figures:
    """Return all figures of the legs of a cell."""
    human = [leg for leg in legs if not leg.is_synthetic]
    synthetic = [leg for leg in legs if leg.is_synthetic]
    hours = sum(leg.talk_s for leg in human) / 3600
    figures: Figures = {"legs": {"human": len(human), "synthetic": len(synthetic)}, "human_speech_h": round(hours, 5)}
    for stage in STAGES:
        figures[stage] = {
            "misses": rate(sum(stage not in leg.time_to_alert_s for leg in synthetic), len(synthetic)),
            "false_alarms": rate(sum(leg.count(stage) > 0 for leg in human), len(human)),
            "false_alarms_per_h": per_hour(sum(leg.count(stage) for leg in human), hours),
            "time_to_alert_s": times([leg.time_to_alert_s[stage] for leg in synthetic if stage in leg.time_to_alert_s]),
        }
    return figures | {"calibration": calibration(legs), "det": det(legs)}


def rate(count: int, of: int) -> Figures:
    """Return a share of legs with its interval; null without legs."""
    if not of:
        return {"count": 0, "of": 0, "rate": None, "rate_95": None}
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return {"count": count, "of": of, "rate": _round(count / of), "rate_95": [_round(low), _round(high)]}


def per_hour(count: int, hours: float) -> Figures:
    """Return events per hour with the interval of Garwood (1936); null without time."""
    if not hours:
        return {"count": count, "per_h": None, "per_h_95": None}
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(0.975, 2 * count + 2) / 2
    return {"count": count, "per_h": _round(count / hours), "per_h_95": [_round(low / hours), _round(high / hours)]}


def times(seconds: Sequence[float]) -> Figures:
    """Return median and 95th percentile of the times to alert.

    A limit that needs more values than there are is null.
    """
    figures: Figures = {"alerts": len(seconds)}
    for name, share in (("median", 0.5), ("p95", 0.95)):
        figures[name] = _round(float(np.quantile(seconds, share))) if seconds else None
        figures[f"{name}_95"] = _quantile_interval(sorted(seconds), share) if seconds else None
    return figures


def _quantile_interval(ordered: Sequence[float], share: float) -> Interval:
    """Return the 95 % interval of a quantile by order statistics (Conover, 1999, section 3.2)."""
    count = len(ordered)
    low, high = int(binom.ppf(0.025, count, share)) - 1, int(binom.ppf(0.975, count, share))
    return [_round(ordered[low]) if low >= 0 else None, _round(ordered[high]) if high < count else None]


def calibration(legs: Sequence[PlayedLeg]) -> Figures:
    """Return Brier score and reliability of the probabilities at the ends of legs; legs without a score are left
    out."""
    scored = [leg for leg in legs if leg.p_synthetic is not None]
    if not scored:
        return {"legs": 0, "brier": None, "brier_95": None, "bins": []}
    p = np.array([leg.p_synthetic for leg in scored], np.float64)
    truth = np.array([leg.is_synthetic for leg in scored], np.float64)
    errors = (p - truth) ** 2
    draws = np.random.default_rng(0).integers(len(errors), size=(DRAWS, len(errors)))
    low, high = np.quantile(errors[draws].mean(axis=1), [0.025, 0.975])
    return {
        "legs": len(scored),
        "brier": _round(float(errors.mean())),
        "brier_95": [_round(low), _round(high)],
        "bins": _bins(p, truth),
    }


def _bins(p: NDArray[np.float64], truth: NDArray[np.float64]) -> list[Figures]:
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    found = []
    for number in sorted(set(place.tolist())):
        inside = place == number
        share = rate(int(truth[inside].sum()), int(inside.sum()))
        found.append({"said": _round(float(p[inside].mean())), "synthetic": share})
    return found


def det(legs: Sequence[PlayedLeg]) -> Figures | None:
    """Return false alarms and misses by threshold on the highest probability of a leg; None with one class only."""
    human = np.array([leg.p_highest for leg in legs if not leg.is_synthetic])
    synthetic = np.array([leg.p_highest for leg in legs if leg.is_synthetic])
    if not len(human) or not len(synthetic):
        return None
    thresholds = [math.inf, *sorted({*human.tolist(), *synthetic.tolist()}, reverse=True)]
    false_alarms = [_round(float(np.mean(human >= threshold))) for threshold in thresholds]
    misses = [_round(float(np.mean(synthetic < threshold))) for threshold in thresholds]
    return {"false_alarms": false_alarms, "misses": misses, "eer": _equal_error_rate(false_alarms, misses)}


def _equal_error_rate(false_alarms: Sequence[float], misses: Sequence[float]) -> float:
    """Return the rate at which misses equal false alarms, interpolated."""
    right = next(place for place, (f, m) in enumerate(zip(false_alarms, misses, strict=True)) if f >= m)
    if right == 0:
        return misses[0]
    left = right - 1
    gap_left, gap_right = misses[left] - false_alarms[left], false_alarms[right] - misses[right]
    return _round(misses[left] + gap_left / (gap_left + gap_right) * (misses[right] - misses[left]))


def worst(legs: Sequence[PlayedLeg], most: int) -> list[PlayedLeg]:
    """Return the worst legs: human ones with an alert, then synthetic ones without any, by how wrong they are.

    Each voice appears once. Neither kind takes more than half of the places unless the other leaves some.
    """
    alarmed = sorted((leg for leg in legs if not leg.is_synthetic and leg.alerts), key=lambda leg: -leg.p_highest)
    missed = sorted(
        (leg for leg in legs if leg.is_synthetic and not leg.time_to_alert_s), key=lambda leg: leg.p_highest
    )
    first, second = _once(alarmed), _once(missed)
    half = max(most // 2, most - len(second))
    return [*first[:half], *second[: most - len(first[:half])]]


def _once(legs: Sequence[PlayedLeg]) -> list[PlayedLeg]:
    firsts: dict[tuple[str, str, str], PlayedLeg] = {}
    for leg in legs:
        firsts.setdefault((leg.label, leg.system, leg.speaker), leg)
    return list(firsts.values())


def _round(value: float) -> float:
    return round(float(value), _DIGITS)
