"""Figures of merit against cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detection.measure.metrics import area_under_curve, equal_error_rate, interval, miss_rate_at

HUMAN, FAKE = [False] * 10, [True] * 10
IS_FAKE = np.array(HUMAN + FAKE)


def test_perfect_and_useless_scores() -> None:
    ranks = np.arange(20.0)
    assert equal_error_rate(ranks, IS_FAKE) == 0
    assert equal_error_rate(-ranks, IS_FAKE) == 1
    assert equal_error_rate(np.zeros(20), IS_FAKE) == pytest.approx(0.5)
    assert area_under_curve(ranks, IS_FAKE) == 1


def test_two_of_ten_swapped_is_twenty_per_cent() -> None:
    scores = np.concatenate([np.arange(8.0), [20, 21], np.arange(10.0, 18), [-1, -2]])
    assert equal_error_rate(scores, IS_FAKE) == pytest.approx(0.2)


def test_misses_at_a_false_alarm_rate() -> None:
    scores = np.concatenate([np.arange(10.0), np.arange(5.0, 15)])
    assert miss_rate_at(scores, IS_FAKE, 0.0) == pytest.approx(0.5)
    assert miss_rate_at(scores, IS_FAKE, 0.1) == pytest.approx(0.4)


def test_one_class_has_no_error_rate() -> None:
    for figure in (equal_error_rate, area_under_curve):
        assert np.isnan(figure(np.arange(3.0), np.ones(3, bool)))


def test_the_interval_holds_the_figure_and_narrows_with_clips() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for size in (100, 2_000):
        is_fake = rng.random(size) < 0.5
        scores = rng.normal(0, 1, size) + is_fake
        low, high = interval(equal_error_rate, scores, is_fake, repeats=50)
        assert low < equal_error_rate(scores, is_fake) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
