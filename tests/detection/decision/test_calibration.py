"""Calibration: raw log-odds become what the labels say they should be."""

from __future__ import annotations

import numpy as np
import pytest

from detection.decision.calibration import Calibration, ChannelCalibration, fit


def test_fit_recovers_the_map_that_generated_the_labels() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 3, 40_000).astype(np.float32)
    is_fake = rng.random(len(raw)) < 1 / (1 + np.exp(-(0.5 * raw - 0.0)))
    found = fit(raw, is_fake)
    assert found.scale == pytest.approx(0.5, rel=0.05)
    assert found.offset == pytest.approx(0.0, abs=0.05)


def test_classes_have_equal_weight_whatever_their_sizes() -> None:
    raw = np.concatenate([np.tile([-1.0, 1.0, -1.0], 300), np.tile([1.0, -1.0, 1.0], 3)]).astype(np.float32)
    is_fake = np.arange(len(raw)) >= 900
    found = fit(raw, is_fake)
    assert found.offset == pytest.approx(0, abs=1e-3)
    assert found.scale == pytest.approx(np.log(2), rel=1e-2)


def test_separable_scores_stay_finite() -> None:
    found = fit(np.array([-1, -2, 1, 2], np.float32), np.array([False, False, True, True]))
    assert np.isfinite(found.scale)
    assert found.scale > 1


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        fit(np.zeros(3, np.float32), np.ones(3, bool))


def test_apply_scales_and_offsets() -> None:
    applied = Calibration(scale=2.0, offset=-1.0).apply(np.array([0, 3], np.float32))
    assert applied.dtype == np.float32
    assert applied.tolist() == [-1, 5]


def test_map_depends_on_the_channel_class_of_the_window() -> None:
    both = ChannelCalibration(wide=Calibration(scale=2.0), narrow=Calibration(offset=-1.0))
    applied = both.apply(np.array([1, 1, 3], np.float32), np.array([False, True, True]))
    assert applied.dtype == np.float32
    assert applied.tolist() == [2, 0, 2]
