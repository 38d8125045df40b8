"""The verifier's network: what it takes, what it returns, and what must not matter to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.models import specnet
from detection.models.specnet import CONTRACT, Encoder, SpecNet, describe
from tests.detection.test_features import speechlike


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
    mean, deviation, step = describe(hidden, (2, 3))
    assert mean == pytest.approx(hidden.mean((2, 3)), abs=1e-6)
    assert deviation == pytest.approx(hidden.std((2, 3), correction=0), abs=1e-4)
    assert step == pytest.approx(hidden.diff(dim=3).abs().mean((2, 3)), abs=1e-6)
