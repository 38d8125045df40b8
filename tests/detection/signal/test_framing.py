from __future__ import annotations

import numpy as np
import pytest

from detection.signal.framing import spans


@pytest.mark.parametrize("n_samples", [0, 1, 511, 512, 831, 832, 5_000])
@pytest.mark.parametrize("step", [1, 160, 320, 600])
def test_spans_are_what_slices_are(n_samples: int, step: int) -> None:
    audio = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)
    expected = [audio[at : at + 512] for at in range(0, n_samples - 512 + 1, step)]
    framed = spans(audio, 512, step)
    assert framed.shape == (len(expected), 512)
    assert all(map(np.array_equal, framed, expected))


def test_audio_that_is_spread_out_or_read_only_will_do() -> None:
    audio = np.arange(4_000, dtype=np.float32)
    audio.flags.writeable = False
    assert np.array_equal(spans(audio[::2], 100, 50)[3], audio[300:500:2])
