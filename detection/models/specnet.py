"""SpecNet: published convolutions on the complex, compressed spectrum, and a linear classifier.

The convolutions are those of DistillMOS (Stahl and Gamper, "Distillation and pruning for scalable self-supervised
representation-based speech quality assessment", ICASSP 2025; weights under the MIT licence), which was distilled from
XLS-R; each is served as two factors of lower rank, at half the cost. Magnitude is compressed and phase kept:
vocoders leave traces in both. The classifier takes mean, deviation and mean step over time of each channel of the upper
layers, and mean and deviation of each channel and frequency row of the last one. It alone is trained, by `regress`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.card import Contract
from detection.features import ComplexSpectrum

CONTRACT = Contract(window_s=3.0, hop_s=3.0, features=ComplexSpectrum())

WIDTHS = (64, 64, 128, 256, 256, 256)
"""Channels of DistillMOS's convolutions."""
STRIDES = ((1, 1), (2, 1), (2, 1), (2, 1), (2, 1), (2, 2))
"""Over frequency and over time."""
NO_RANKS = (None,) * len(WIDTHS)
RANKS = (None, 32, 64, 96, 96, 96)
"""Of the two factors that each of them becomes; 93 to 97 % of the variance of their outputs is kept."""
FURTHEST = 6.0
"""Deviations from the mean beyond which a statistic counts no further: what is unlike all speech decides nothing."""
LOUDEST = 2.8
"""Compressed magnitude that the loudest bin of a window is brought to: the median where samples have a peak of 1."""


class SpecNet(nn.Module):
    """Compressed complex spectrum -> convolutions -> statistics over time, standardised -> linear -> logits."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        super().__init__()
        self.encoder = Encoder(contract, RANKS, described_from=2)
        self.normalise = nn.BatchNorm1d(self.encoder.n_statistics, eps=1e-12, affine=False)
        self.decide = nn.Linear(self.encoder.n_statistics, 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to logits of human and synthetic, ``(batch, 2)``."""
        return self.classify(self.encoder(frames))

    def classify(self, statistics: Tensor) -> Tensor:
        """Map what `Encoder` returns to logits ``(batch, 2)``."""
        logits: Tensor = self.decide(self.normalise(statistics).clamp(-FURTHEST, FURTHEST))
        return logits


class Encoder(nn.Module):
    """Convolutions over frequency and time, and the statistics of what they find."""

    def __init__(self, contract: Contract, ranks: Sequence[int | None] = NO_RANKS, described_from: int = 0) -> None:
        """Take the rank of each layer, and the first layer whose channels are described.

        A layer with a rank is made of two factors; without ranks the layers are as they were published.
        """
        super().__init__()
        rows = contract.features.n_features // 2
        layers: list[nn.Module] = []
        for inputs, outputs, strides, rank in zip((2, *WIDTHS[:-1]), WIDTHS, STRIDES, ranks, strict=True):
            layer = nn.Conv2d(inputs, rank or outputs, 3, strides, padding=(0, 1), bias=not rank)
            layers.append(nn.Sequential(layer, nn.Conv2d(rank, outputs, 1)) if rank else layer)
            rows = (rows - 3) // strides[0] + 1
        self.layers = nn.ModuleList(layers)
        self._described_from = described_from
        self.n_statistics = 3 * sum(WIDTHS[described_from:]) + 2 * rows * WIDTHS[-1]

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to statistics ``(batch, n_statistics)``."""
        hidden = levelled(frames)
        statistics: list[Tensor] = []
        for place, layer in enumerate(self.layers):
            hidden = functional.leaky_relu(layer(hidden), 0.1)
            if place >= self._described_from:
                statistics += describe(hidden, (2, 3))
        by_row = describe(hidden, (3,))[:2]
        return torch.cat([*statistics, *(row.flatten(1) for row in by_row)], 1)


def levelled(frames: Tensor) -> Tensor:
    """Return frames as ``(batch, 2, n_bins, n_frames)``, their loudest bin brought to `LOUDEST`: level is no cue."""
    batch, n_frames, n_features = frames.shape
    parts = frames.view(batch, n_frames, 2, n_features // 2).permute(0, 2, 3, 1)
    magnitude = (parts * parts).sum(1, keepdim=True).amax((2, 3), keepdim=True).clamp(min=1e-6).sqrt()
    levelled: Tensor = parts * (LOUDEST / magnitude)
    return levelled


def describe(hidden: Tensor, axes: tuple[int, ...]) -> list[Tensor]:
    """Return mean, deviation and mean step over time of ``(batch, channels, frequencies, frames)`` over `axes`."""
    mean = hidden.mean(axes, keepdim=True)
    deviation = torch.sqrt(((hidden - mean) ** 2).mean(axes) + 1e-8)
    step = (hidden[..., 1:] - hidden[..., :-1]).abs().mean(axes)
    return [mean.flatten(1) if len(axes) > 1 else mean.squeeze(-1), deviation, step]
