"""What is settled early is what would have come later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import SAMPLE_RATE_HZ
from gateway.call.resample import Resampler

RATES_HZ = (8_000, 11_025, 16_000, 24_000, 44_100, 48_000)


@given(
    rate_hz=st.sampled_from(RATES_HZ),
    pieces=st.lists(st.tuples(st.floats(0.0001, 0.3), st.booleans()), min_size=1, max_size=20),
)
def test_settle_changes_the_time_of_output_but_not_the_samples(rate_hz: int, pieces: list[tuple[float, bool]]) -> None:
    draw = np.random.default_rng(0)
    audio = [draw.normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32) for seconds, _ in pieces]
    whole, hasty = Resampler(rate_hz), Resampler(rate_hz)
    expected = np.concatenate((whole.push(np.concatenate(audio)), whole.flush()))
    got, pushed = [np.zeros(0, np.float32)], 0
    for piece, (_, settles) in zip(audio, pieces, strict=True):
        got.append(hasty.push(piece))
        pushed += len(piece)
        if settles:
            got.append(hasty.settle())
            certain_s = pushed / rate_hz - hasty.ahead_s
            assert sum(map(len, got)) >= int(certain_s * SAMPLE_RATE_HZ) - 1
    got.append(hasty.flush())
    assert np.allclose(np.concatenate(got), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_nothing_of_a_stream_outlives_its_end(rate_hz: int) -> None:
    resampler, fresh = Resampler(rate_hz), Resampler(rate_hz)
    audio = np.random.default_rng(0).normal(0, 0.1, rate_hz).astype(np.float32)
    resampler.push(audio)
    resampler.settle()
    resampler.flush()
    again, first = (np.concatenate((one.push(audio), one.settle(), one.flush())) for one in (resampler, fresh))
    assert np.array_equal(again, first)
