"""The parts of the networks against what their papers say of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.models.layers import AttentiveStatistics, Direction, Res2Convolution, at_unit_level, audible
from detection.models.rawnet2 import sinc_band_passes
from detection.models.rawnet3 import AnalyticFilters


def test_audible_frames_are_centred_and_floored() -> None:
    frames = torch.full((1, 4, 2), -200.0)
    frames[0, 0, 0] = 0.0
    seen = audible(frames)
    assert seen.mean(1) == pytest.approx(torch.zeros(1, 2), abs=1e-6)
    assert float(seen[0, 0, 0] - seen[0, 1, 0]) == pytest.approx(6.0)  # 60 dB, in tens


def test_silence_has_no_level_and_stays_silence() -> None:
    assert not at_unit_level(torch.zeros(1, 100, 1)).any()
    assert float(at_unit_level(torch.randn(1, 10_000, 1) * 0.01 + 0.5).std()) == pytest.approx(1, abs=1e-3)


def test_a_res2_convolution_passes_the_first_part_on_and_sees_further_with_each() -> None:
    convolution = Res2Convolution(8, parts=4, size=3, dilation=2).eval()
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.fill_(1.0)
        click = torch.zeros(1, 8, 41)
        click[:, :, 20] = 1.0
        heard = convolution(click) - convolution(torch.zeros(1, 8, 41))
    assert torch.equal(heard[:, :2], click[:, :2])
    reach = [int(heard[0, 2 * part].nonzero().max()) - 20 for part in range(1, 4)]
    assert reach == [2, 4, 6]


def test_attention_weighs_frames_and_equal_weights_are_plain_statistics() -> None:
    pool = AttentiveStatistics(3, hidden=4).eval()
    hidden = torch.randn(2, 3, 50)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.zero_()
        mean, deviation = pool(hidden).chunk(2, dim=1)
    assert mean.numpy() == pytest.approx(hidden.mean(2).numpy(), abs=1e-5)
    assert deviation.numpy() == pytest.approx(hidden.std(2, correction=0).numpy(), abs=1e-3)


def test_direction_returns_the_scaled_cosine() -> None:
    direction = Direction(2)
    with torch.no_grad():
        direction.weight.copy_(torch.tensor([[3.0, 0.0]]))
        direction.middle.fill_(0.5)
        logits = direction(torch.tensor([[5.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]))
    log_odds = (logits[:, 1] - logits[:, 0]).numpy()
    assert log_odds == pytest.approx([20 * (0.5 - 1), 20 * 0.5, 20 * (0.5 + 1)], abs=1e-4)


def test_sinc_filters_are_neighbouring_band_passes() -> None:
    gains = np.abs(np.fft.rfft(sinc_band_passes(32)[:, 0].numpy(), 4_096))
    peaks_hz = np.argmax(gains, axis=1) * 8_000 / 2_048
    assert (np.diff(peaks_hz[2:]) > 0).all()  # the lowest two are narrower than 129 taps can tell
    assert gains.sum(axis=0)[100:-100] == pytest.approx(1, abs=0.2)  # side by side they pass everything once


def test_analytic_filters_give_a_steady_magnitude_for_a_tone() -> None:
    filters = AnalyticFilters(64)
    tone = torch.sin(2 * torch.pi * 1_000 * torch.arange(16_000) / 16_000)[None, None]
    with torch.no_grad():
        magnitudes = filters(tone)[0]
    loudest = int(magnitudes.mean(1).argmax())
    low_hz, width_hz = (1_000 * float(edge.detach()[loudest]) + 10 for edge in (filters.low_khz, filters.width_khz))
    assert low_hz < 1_000 < low_hz + width_hz
    assert float(magnitudes[loudest].std() / magnitudes[loudest].mean()) < 0.02
