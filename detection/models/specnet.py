"""SpecNet: convolutions on the complex, compressed spectrum, transformer layers over them, and a linear classifier.

The verifier `specnet` is made of DistillMOS (Stahl and Gamper, "Distillation and pruning for scalable self-supervised
representation-based speech quality assessment", ICASSP 2025; weights under the MIT licence), which was distilled from
XLS-R: its convolutions, each in two factors of lower rank at half the cost, and the lowest of its transformer layers.
Magnitude is compressed and phase is kept: vocoders leave traces in both. The classifier takes mean, deviation and mean
step over time of the channels of the convolutions, mean and deviation of each channel and frequency row of the last
one, and mean and deviation over time of each transformer layer.

`specnet_light` hears every window of every leg: narrow convolutions alone, from a random start, taught by the verifier.
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
LIGHT_CONTRACT = Contract(window_s=3.0, hop_s=1.0, features=ComplexSpectrum())
SETTINGS = Settings(
    epochs=1, batch=48, windows_per_epoch=48_000, learning_rate=2e-3, weight_decay=1e-2, ranking=0.5, anchors=3,
    average=0.99,
)  # fmt: skip

WIDTHS = (64, 64, 128, 256, 256, 256)
"""Channels of DistillMOS's convolutions."""
RANKS = (None, 32, 64, 96, 96, 96)
"""Of the two factors that each of them becomes; 93 to 97 % of the variance of their outputs is kept."""
SIZE = 200
"""Width of a transformer layer."""
HEADS = 8
POSITIONS = 384
LAYERS = 3
"""Of DistillMOS's seven transformer layers."""
LOUDEST = 2.8
"""Compressed magnitude that the loudest bin of a window is brought to: the median where samples have a peak of 1."""


class SpecNet(nn.Module):
    """Compressed complex spectrum -> convolutions -> transformer layers -> statistics -> linear -> logits."""

    def __init__(self, contract: Contract, encoder: Encoder, context_layers: int) -> None:
        """Take the convolutions, and how many transformer layers follow."""
        super().__init__()
        self.encoder = encoder
        self.context = Context(encoder.n_outputs, context_layers)
        n_statistics = encoder.n_statistics + context_layers * 2 * SIZE
        self.normalise = nn.BatchNorm1d(n_statistics, affine=False)
        self.dropout = nn.Dropout(0.3)
        self.decide = nn.Linear(n_statistics, 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to logits ``(batch, 2)``."""
        return self.classify(*self.encoder(frames))

    def classify(self, statistics: Tensor, sequence: Tensor) -> Tensor:
        """Map what `Encoder` returns to logits ``(batch, 2)``."""
        described = torch.cat([statistics, *self.context(sequence)], 1)
        logits: Tensor = self.decide(self.dropout(self.normalise(described)))
        return logits


class Encoder(nn.Module):
    """Convolutions over frequency and time, and the statistics of what they find."""

    def __init__(
        self,
        contract: Contract,
        widths: Sequence[int],
        time_strides: Sequence[int],
        frequency_strides: Sequence[int],
        ranks: Sequence[int | None] = (),
        described_from: int = 0,
        normalised: bool = False,
    ) -> None:
        """Take channels and strides of each layer, and the first layer whose channels are described.

        A layer with a rank is made of two factors. Layers that are `normalised` over the batch learn from a random
        start; published ones are not.
        """
        super().__init__()
        rows = contract.features.n_features // 2
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(zip((2, *widths[:-1]), widths, strict=True)):
            strides = (frequency_strides[place], time_strides[place])
            rank = ranks[place] if ranks else None
            layer = nn.Conv2d(inputs, rank or outputs, 3, strides, padding=(0, 1), bias=not (rank or normalised))
            if rank:
                layers.append(nn.Sequential(layer, nn.Conv2d(rank, outputs, 1)))
            else:
                layers.append(nn.Sequential(layer, nn.BatchNorm2d(outputs)) if normalised else layer)
            rows = (rows - 3) // strides[0] + 1
        self.layers = nn.ModuleList(layers)
        self._described_from = described_from
        self.n_outputs = rows * widths[-1]
        self.n_statistics = 3 * sum(widths[described_from:]) + 2 * self.n_outputs

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to statistics, and to the last layer's outputs over time.

        Shapes: ``(batch, n_statistics)`` and ``(batch, frames, n_outputs)``; frames are as many as the strides leave.
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

    def __init__(self, n_inputs: int, n_layers: int) -> None:
        super().__init__()
        self.n_layers = n_layers
        if not n_layers:
            return
        self.normalise = nn.BatchNorm1d(n_inputs)
        self.project = nn.Linear(n_inputs, SIZE)
        self.register_buffer("positions", torch.zeros(POSITIONS, SIZE))
        self.layers = nn.ModuleList(_Layer() for _ in range(n_layers))

    def forward(self, sequence: Tensor) -> list[Tensor]:
        """Map ``(batch, frames, n_inputs)`` to two tensors ``(batch, SIZE)`` a layer."""
        if not self.n_layers:
            return []
        normal = self.normalise(sequence.transpose(1, 2)).transpose(1, 2)
        hidden = self.project(normal) + self.positions[: sequence.shape[1]]
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


def published_encoder() -> Encoder:
    """Return DistillMOS's convolutions as they were published, without weights: 7.2 G multiplications in 4 s."""
    return Encoder(CONTRACT, WIDTHS, (1, 1, 1, 1, 1, 2), (1, 2, 2, 2, 2, 2))


def verifier(contract: Contract = CONTRACT) -> SpecNet:
    """Return the verifier: 3 G multiplications a window of 3 s."""
    encoder = Encoder(contract, WIDTHS, (1, 1, 1, 1, 1, 2), (1, 2, 2, 2, 2, 2), RANKS, described_from=2)
    return SpecNet(contract, encoder, LAYERS)


def light(contract: Contract = LIGHT_CONTRACT) -> SpecNet:
    """Return the light network: 55 M multiplications a window of 3 s."""
    strides = (2, 2, 1, 2, 1)
    encoder = Encoder(contract, (16, 24, 48, 96, 96), strides, (2,) * 5, described_from=1, normalised=True)
    return SpecNet(contract, encoder, 0)


def levelled(frames: Tensor) -> Tensor:
    """Return frames as ``(batch, 2, n_bins, n_frames)``, their loudest bin brought to `LOUDEST`: level is no cue."""
    parts = frames.unflatten(2, (2, -1)).permute(0, 2, 3, 1)
    magnitude = (parts * parts).sum(1, keepdim=True).amax((2, 3), keepdim=True).clamp(min=1e-6).sqrt()
    return parts * (LOUDEST / magnitude)


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
