"""The verifier's network: what it takes, what it returns, and what must not matter to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.models import specnet
from detection.models.specnet import CONTRACT, Encoder, SpecNet, describe, levelled, near_speech
from tests.detection.signal.test_features import speechlike


def frames_of(gain: float = 1.0) -> torch.Tensor:
    samples = speechlike(CONTRACT.window_samples) * np.float32(gain)
    return torch.from_numpy(CONTRACT.features.stream().push(samples))[None]


@pytest.fixture(scope="module")
def network() -> SpecNet:
    torch.manual_seed(0)
    return SpecNet().eval()


def test_a_window_becomes_two_logits_and_level_does_not_matter(network: SpecNet) -> None:
    with torch.inference_mode():
        loud, quiet = network(frames_of(0.9)), network(frames_of(0.009))
    assert loud.shape == (1, 2)
    assert loud == pytest.approx(quiet, abs=1e-4)


def test_silence_gives_finite_logits(network: SpecNet) -> None:
    with torch.inference_mode():
        assert bool(torch.isfinite(network(torch.zeros(2, *CONTRACT.input_shape))).all())


def test_without_ranks_the_encoder_describes_every_channel_of_every_layer() -> None:
    encoder = Encoder(CONTRACT)
    assert encoder.n_statistics == 3 * sum(specnet.WIDTHS) + 2 * 4 * 256


def test_statistics_are_those_of_the_values() -> None:
    hidden = torch.randn(2, 3, 5, 7)
    counted = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0, 0]], dtype=torch.float32)
    for by_row, axes in ((False, (1, 2)), (True, (2,))):
        mean, deviation, step = describe(hidden, counted, by_row=by_row)
        for clip, spoken in enumerate((hidden[0], hidden[1, ..., 1:5])):
            assert mean[clip] == pytest.approx(spoken.mean(axes).flatten(), abs=1e-6)
            assert deviation[clip] == pytest.approx(spoken.std(axes, correction=0).flatten(), abs=1e-4)
            assert step[clip] == pytest.approx(spoken.diff(dim=2).abs().mean(axes).flatten(), abs=1e-6)


def test_near_speech_excludes_silent_and_noisy_pauses() -> None:
    for floor_db in (-60, -20):
        samples = 0.5 * speechlike(CONTRACT.window_samples)
        samples[: CONTRACT.window_samples // 2] = 0
        rng = np.random.default_rng(0)
        samples += rng.standard_normal(len(samples)).astype(np.float32) * np.float32(10 ** (floor_db / 20)) * 0.1
        spoken = near_speech(levelled(torch.from_numpy(CONTRACT.features.stream().push(samples))[None]))[0]
        half = len(spoken) // 2
        assert spoken[: half - specnet.NEAR_FRAMES - 2].mean() < 0.02
        assert spoken[half + 2 :].mean() > 0.9


def test_a_voice_has_nearly_the_same_statistics_with_pauses_as_without() -> None:
    torch.manual_seed(0)
    encoder = Encoder(CONTRACT, specnet.RANKS, described_from=2, speech_only=True).eval()
    spoken = speechlike(CONTRACT.window_samples)
    paused = np.concatenate([spoken[: CONTRACT.window_samples // 2], np.zeros(CONTRACT.window_samples // 2)])
    with torch.inference_mode():
        full, half = (
            encoder(torch.from_numpy(CONTRACT.features.stream().push(samples.astype(np.float32)))[None])[0]
            for samples in (spoken, paused)
        )
        other = encoder(torch.randn(1, *CONTRACT.input_shape))[0]
    assert (full - half).norm() < 0.25 * (full - other).norm()
