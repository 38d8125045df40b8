"""SpecNet: convolutions on the complex, compressed spectrum, transformer layers over them, and a linear classifier.

The verifier is made of DistillMOS (Stahl and Gamper, "Distillation and pruning for scalable self-supervised
representation-based speech quality assessment", ICASSP 2025; weights under the MIT licence), which was distilled from
XLS-R: its convolutions, each in two factors of lower rank at half the cost, and the lowest of its transformer layers.
Magnitude is compressed and phase is kept: vocoders leave traces in both. The classifier takes mean, deviation and mean
step over time of the channels of the convolutions, mean and deviation of each channel and frequency row of the last
one, and mean and deviation over time of each transformer layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.card import Contract
from detection.features import ComplexSpectrum
from detection.training.settings import Settings

CONTRACT = Contract(window_s=3.0, hop_s=3.0, features=ComplexSpectrum())
SETTINGS = Settings(
    epochs=1, batch=48, windows_per_epoch=24_000, learning_rate=3e-4, weight_decay=1e-2, ranking=0.5, anchors=3,
    average=0.99,
)  # fmt: skip

WIDTHS = (64, 64, 128, 256, 256, 256)
"""Channels of DistillMOS's convolutions."""
STRIDES = ((1, 1), (2, 1), (2, 1), (2, 1), (2, 1), (2, 2))
"""Over frequency and over time."""
NO_RANKS = (None,) * len(WIDTHS)
RANKS = (None, 32, 64, 96, 96, 96)
"""Of the two factors that each of them becomes; 93 to 97 % of the variance of their outputs is kept."""
SIZE = 200
"""Width of a transformer layer."""
HEADS = 8
POSITIONS = 384
LAYERS = 3
"""Of DistillMOS's seven transformer layers."""
STEP = 2
"""Of the encoder's frames, 20 ms apart, the transformer layers take every second one."""
LOUDEST = 2.8
"""Compressed magnitude that the loudest bin of a window is brought to: the median where samples have a peak of 1."""


class SpecNet(nn.Module):
    """Compressed complex spectrum -> convolutions -> transformer layers -> statistics -> linear -> logits."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        super().__init__()
        self.encoder = Encoder(contract, RANKS, described_from=2)
        self.context = Context(self.encoder.n_outputs)
        n_statistics = self.encoder.n_statistics + LAYERS * 2 * SIZE
        self.normalise = nn.BatchNorm1d(n_statistics, affine=False)
        self.dropout = nn.Dropout(0.3)
        self.decide = nn.Linear(n_statistics, 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to logits ``(batch, 2)``."""
        statistics, sequence = self.encoder(frames)
        return self.classify(statistics, sequence[:, ::STEP])

    def classify(self, statistics: Tensor, sequence: Tensor) -> Tensor:
        """Map what `Encoder` returns, every `STEP`-th frame of the sequence, to logits ``(batch, 2)``."""
        described = torch.cat([statistics, *self.context(sequence)], 1)
        logits: Tensor = self.decide(self.dropout(self.normalise(described)))
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
        self.n_outputs = rows * WIDTHS[-1]
        self.n_statistics = 3 * sum(WIDTHS[described_from:]) + 2 * self.n_outputs

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to statistics, and to the last layer's outputs over time.

        Shapes: ``(batch, n_statistics)`` and ``(batch, n_frames / 2, n_outputs)``.
        """
        hidden = levelled(frames)
        statistics: list[Tensor] = []
        for place, layer in enumerate(self.layers):
            hidden = functional.leaky_relu(layer(hidden), 0.1)
            if place >= self._described_from:
                statistics += describe(hidden, (2, 3))
        by_row = describe(hidden, (3,))[:2]
        return torch.cat([*statistics, *(row.flatten(1) for row in by_row)], 1), hidden.flatten(1, 2).transpose(1, 2)


class Context(nn.Module):
    """Transformer layers over the encoder's outputs; each one's mean and deviation over time."""

    positions: Tensor

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(n_inputs)
        self.project = nn.Linear(n_inputs, SIZE)
        self.register_buffer("positions", torch.zeros(POSITIONS, SIZE))
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, sequence: Tensor) -> list[Tensor]:
        """Map ``(batch, frames, n_inputs)``, frames `STEP` apart, to two tensors ``(batch, SIZE)`` a layer."""
        normal = self.normalise(sequence.transpose(1, 2)).transpose(1, 2)
        hidden = self.project(normal) + self.positions[::STEP][: sequence.shape[1]]
        statistics = []
        for layer in self.layers:
            hidden = layer(hidden)
            deviation, mean = torch.std_mean(hidden.float(), 1)
            statistics += [mean, deviation]
        return statistics


class _Layer(nn.Module):
    """A transformer layer, its norms last; shapes are ``(batch, frames, SIZE)``."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.Linear(SIZE, 3 * SIZE)
        self.attended = nn.Linear(SIZE, SIZE)
        self.attention_norm = nn.LayerNorm(SIZE)
        self.widen = nn.Linear(SIZE, 2 * SIZE)
        self.narrow = nn.Linear(2 * SIZE, SIZE)
        self.feed_norm = nn.LayerNorm(SIZE)

    def forward(self, hidden: Tensor) -> Tensor:
        """Keep the shape."""
        batch, frames, _ = hidden.shape
        parts = self.attend(hidden).view(batch, frames, 3, HEADS, SIZE // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        hidden = self.attention_norm(hidden + self.attended(attended))
        fed: Tensor = self.feed_norm(hidden + self.narrow(functional.relu(self.widen(hidden))))
        return fed


def levelled(frames: Tensor) -> Tensor:
    """Return frames as ``(batch, 2, n_bins, n_frames)``, their loudest bin brought to `LOUDEST`: level is no cue."""
    batch, n_frames, n_features = frames.shape
    parts = frames.view(batch, n_frames, 2, n_features // 2).permute(0, 2, 3, 1)
    magnitude = (parts * parts).sum(1, keepdim=True).amax((2, 3), keepdim=True).clamp(min=1e-6).sqrt()
    levelled: Tensor = parts * (LOUDEST / magnitude)
    return levelled


def describe(hidden: Tensor, axes: tuple[int, ...]) -> list[Tensor]:
    """Return mean, deviation and mean step over time of ``(batch, channels, frequencies, frames)`` over `axes`.

    Sums are in 32 bits whatever `hidden` is in, and nothing of its size is held but the steps.
    """
    mean = hidden.mean(axes, dtype=torch.float32)
    count = math.prod(hidden.shape[axis] for axis in axes)
    power = torch.linalg.vector_norm(hidden, 2, axes, dtype=torch.float32) ** 2 / count
    deviation = torch.sqrt((power - mean**2).clamp(min=0) + 1e-8)
    step = (hidden[..., 1:] - hidden[..., :-1]).abs().mean(axes, dtype=torch.float32)
    return [mean, deviation, step]
