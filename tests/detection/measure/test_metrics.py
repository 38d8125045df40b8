"""Figures of merit against cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from detection.measure.metrics import (
    Curve,
    Weights,
    area_under_curve,
    equal_error_rate,
    intervals,
    least_log_likelihood_cost,
    log_likelihood_cost,
    miss_rate_at,
)

HUMAN, FAKE = [False] * 10, [True] * 10
IS_FAKE = np.array(HUMAN + FAKE)


def test_perfect_and_useless_scores() -> None:
    ranks = np.arange(20.0)
    assert equal_error_rate(ranks, IS_FAKE) == 0
    assert equal_error_rate(-ranks, IS_FAKE) == 1
    assert equal_error_rate(np.zeros(20), IS_FAKE) == pytest.approx(0.5)
    assert area_under_curve(ranks, IS_FAKE) == 1
    assert area_under_curve(np.zeros(20), IS_FAKE) == pytest.approx(0.5)


def test_eer_of_two_swapped_in_ten_is_twenty_percent() -> None:
    scores = np.concatenate([np.arange(8.0), [20, 21], np.arange(10.0, 18), [-1, -2]])
    assert equal_error_rate(scores, IS_FAKE) == pytest.approx(0.2)


def test_misses_at_a_false_alarm_rate() -> None:
    scores = np.concatenate([np.arange(10.0), np.arange(5.0, 15)])
    assert miss_rate_at(scores, IS_FAKE, 0.0) == pytest.approx(0.5)
    assert miss_rate_at(scores, IS_FAKE, 0.1) == pytest.approx(0.4)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40))
def test_weights_count_like_copies(clips: list[tuple[int, bool, int]]) -> None:
    scores, is_fake, times = (np.array(column) for column in zip(*clips, strict=True))
    copied = np.repeat(scores, times).astype(np.float64), np.repeat(is_fake, times)
    curve, of_copies = Curve.of(scores.astype(np.float64), is_fake, times), Curve.of(*copied)
    assert (curve is None) == (of_copies is None) == (copied[1].all() or not copied[1].any())
    if curve and of_copies:
        assert curve.area == pytest.approx(of_copies.area)
        assert curve.area == pytest.approx(roc_auc_score(copied[1], copied[0]))
        assert curve.equal_error_rate == pytest.approx(of_copies.equal_error_rate)
        assert curve.min_dcf == pytest.approx(of_copies.min_dcf)


def test_detection_cost_is_that_of_asvspoof_5() -> None:
    # One human of ten alarmed at a threshold that lets two machines of ten through: (0.95 * 0.1 + 0.5 * 0.2) / 0.5.
    scores = np.array([0.0] * 9 + [5.0] + [-1.0] * 2 + [4.0] * 8)
    curve = Curve.of(scores, IS_FAKE)
    assert curve is not None
    assert curve.min_dcf == pytest.approx(0.39)
    useless = Curve.of(np.zeros(20), IS_FAKE)
    assert useless is not None
    assert useless.min_dcf == 1


def test_log_likelihood_cost() -> None:
    assert log_likelihood_cost(np.zeros(20), IS_FAKE) == pytest.approx(1)
    assert log_likelihood_cost(np.where(IS_FAKE, 50.0, -50.0), IS_FAKE) == pytest.approx(0, abs=1e-6)
    assert log_likelihood_cost(np.where(IS_FAKE, -5.0, 5.0), IS_FAKE) > 1
    # Each of the two scores is right for four of five clips, so the entropy of (0.8, 0.2) remains.
    scores = np.array([0.0] * 8 + [1.0] * 2 + [1.0] * 8 + [0.0] * 2)
    left = least_log_likelihood_cost(scores, IS_FAKE)
    assert left == pytest.approx(-0.8 * np.log2(0.8) - 0.2 * np.log2(0.2))
    assert left == pytest.approx(least_log_likelihood_cost(100 * scores - 7, IS_FAKE))


def test_one_class_has_no_error_rate() -> None:
    for figure in (equal_error_rate, area_under_curve, least_log_likelihood_cost):
        assert np.isnan(figure(np.arange(3.0), np.ones(3, bool)))


def test_interval_contains_the_figure_and_narrows_with_more_clips() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for size in (100, 2_000):
        is_fake = rng.random(size) < 0.5
        scores = rng.normal(0, 1, size) + is_fake
        low, high = intervals(lambda weights: eer_of(scores, is_fake, weights), range(size), repeats=50)["eer"]  # noqa: B023
        assert low < equal_error_rate(scores, is_fake) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_interval_is_wider_when_clips_share_sources() -> None:
    rng = np.random.default_rng(2)
    sources = np.repeat(np.arange(20), 50)
    values = rng.normal(0, 1, 20)[sources] + rng.normal(0, 0.1, 1_000)

    def mean(weights: Weights) -> dict[str, float]:
        return {"mean": float(np.average(values, weights=weights))}

    low, high = intervals(mean, sources.tolist())["mean"]
    narrow_low, narrow_high = intervals(mean, range(1_000))["mean"]
    assert high - low > 3 * (narrow_high - narrow_low)


def eer_of(scores: np.ndarray, is_fake: np.ndarray, weights: Weights) -> dict[str, float]:
    curve = Curve.of(scores, is_fake, weights)
    return {"eer": curve.equal_error_rate if curve else float("nan")}
