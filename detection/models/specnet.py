"""SpecNet: published convolutions on the compressed complex spectrum, and a linear classifier.

The convolutions are those of DistillMOS (Stahl and Gamper, "Distillation and pruning for scalable self-supervised
representation-based speech quality assessment", ICASSP 2025; weights under the MIT licence), which was distilled from
XLS-R. Each is factorised into two of lower rank, which halves the cost. The input has compressed magnitude and original
phase, because vocoders change both. The classifier uses, for each channel of the upper layers, mean, standard deviation
and mean step over time, and for the last layer also mean and deviation by frequency row. Only frames in and near speech
count, so that pauses do not change the score. Only the classifier is trained, by `regress`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.card import Contract
from detection.signal.features import ComplexSpectrum

CONTRACT = Contract(window_s=3.0, hop_s=3.0, features=ComplexSpectrum())

WIDTHS = (64, 64, 128, 256, 256, 256)
"""Channels of DistillMOS's convolutions."""
STRIDES = ((1, 1), (2, 1), (2, 1), (2, 1), (2, 1), (2, 2))
"""Over frequency and over time."""
NO_RANKS = (None,) * len(WIDTHS)
RANKS = (None, 32, 64, 96, 96, 96)
"""Ranks of the factorised convolutions; they keep 93 to 97 % of the variance of the outputs."""
FURTHEST = 6.0
"""Limit of a standardised statistic, in standard deviations: outliers must not decide alone."""
LOUDEST = 2.8
"""Compressed magnitude to which the loudest bin of a window is scaled: the median for samples with a peak of 1."""
ABOVE_QUIETEST = 0.25
"""Speech frames exceed the quietest tenth by this share of the range up to the loudest frame (compressed magnitude),"""
BELOW_LOUDEST = 0.25
"""and exceed this share of the loudest frame, which is 40 dB below it."""
NEAR_FRAMES = 25
"""Frames before and after speech that count too: transitions between syllables and words are informative."""


class SpecNet(nn.Module):
    """Compressed complex spectrum -> convolutions -> standardised statistics over time -> linear -> logits."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        super().__init__()
        self.encoder = Encoder(contract, RANKS, described_from=2, speech_only=True)
        self.normalise = nn.BatchNorm1d(self.encoder.n_statistics, eps=1e-12, affine=False)
        self.decide = nn.Linear(self.encoder.n_statistics, 2)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to logits of human and synthetic, ``(batch, 2)``."""
        return self.classify(self.encoder(frames))

    def classify(self, statistics: Tensor) -> Tensor:
        """Map the output of `Encoder` to logits ``(batch, 2)``."""
        logits: Tensor = self.decide(self.normalise(statistics).clamp(-FURTHEST, FURTHEST))
        return logits


class Encoder(nn.Module):
    """Convolutions over frequency and time, and statistics of their outputs."""

    def __init__(
        self,
        contract: Contract,
        ranks: Sequence[int | None] = NO_RANKS,
        described_from: int = 0,
        *,
        speech_only: bool = False,
    ) -> None:
        """Take the rank of each layer, the first layer whose statistics are used, and the frames that count.

        A layer with a rank is factorised; without ranks the layers are as published. With `speech_only`, the frames of
        `near_speech` count, otherwise all.
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
        self._speech_only = speech_only
        self.n_statistics = 3 * sum(WIDTHS[described_from:]) + 2 * rows * WIDTHS[-1]

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames ``(batch, n_frames, 2 * n_bins)`` to statistics ``(batch, n_statistics)``."""
        hidden = levelled(frames)
        counted = near_speech(hidden) if self._speech_only else torch.ones_like(hidden[:, 0, 0])
        statistics: list[Tensor] = []
        for place, (layer, (_, stride)) in enumerate(zip(self.layers, STRIDES, strict=True)):
            hidden = functional.leaky_relu(layer(hidden), 0.1)
            counted = counted[:, ::stride]
            if place >= self._described_from:
                statistics += describe(hidden, counted, by_row=False)
        statistics += describe(hidden, counted, by_row=True)[:2]
        return torch.cat(statistics, 1)


def levelled(frames: Tensor) -> Tensor:
    """Return frames as ``(batch, 2, n_bins, n_frames)``, scaled to a loudest bin of `LOUDEST`, so that level is no
    cue."""
    batch, n_frames, n_features = frames.shape
    parts = frames.view(batch, n_frames, 2, n_features // 2).permute(0, 2, 3, 1)
    magnitude = (parts * parts).sum(1, keepdim=True).amax((2, 3), keepdim=True).clamp(min=1e-6).sqrt()
    levelled: Tensor = parts * (LOUDEST / magnitude)
    return levelled


def near_speech(levelled: Tensor) -> Tensor:
    """Return 1 for frames in or near speech, else 0, ``(batch, n_frames)``, of ``(batch, 2, n_bins, n_frames)``."""
    magnitude = (levelled * levelled).sum(1).mean(1).sqrt()
    loudest = magnitude.amax(1, keepdim=True)
    tenth = max(1, magnitude.shape[1] // 10)
    background = torch.topk(magnitude, tenth, dim=1, largest=False).values[:, -1:]
    least = torch.maximum(BELOW_LOUDEST * loudest, background + ABOVE_QUIETEST * (loudest - background))
    speech = (magnitude >= least).to(levelled.dtype)
    return functional.max_pool1d(speech[:, None], 2 * NEAR_FRAMES + 1, stride=1, padding=NEAR_FRAMES)[:, 0]


def describe(hidden: Tensor, counted: Tensor, *, by_row: bool) -> list[Tensor]:
    """Return mean, standard deviation and mean step over time of ``(batch, channels, rows, frames)``, each ``(batch,
    n)``.

    Only frames with 1 in `counted`, ``(batch, frames)``, count, and steps between two such frames. `by_row`: for each
    channel and frequency row; otherwise for each channel.
    """

    def mean(values: Tensor, of: Tensor) -> Tensor:
        of = of[:, None, None, :]
        over_time = (values * of).sum(3, keepdim=True) / of.sum(3, keepdim=True).clamp(min=1)
        return over_time if by_row else over_time.mean(2, keepdim=True)

    centre = mean(hidden, counted)
    deviation = torch.sqrt(mean((hidden - centre) ** 2, counted) + 1e-8)
    step = mean((hidden[..., 1:] - hidden[..., :-1]).abs(), counted[:, 1:] * counted[:, :-1])
    return [centre.flatten(1), deviation.flatten(1), step.flatten(1)]
