"""Layers used by several networks. Shapes are ``(batch, channels, frames)`` unless stated otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DYNAMIC_RANGE_DB = 60.0
"""Values further below the window's maximum are raised to it, so that a page's noise floor is no cue."""


def audible(frames: Tensor) -> Tensor:
    """Return log-mel frames in dB, ``(batch, n_frames, bands)``, minus each band's mean, divided by 10."""
    raised = torch.maximum(frames, frames.amax((1, 2), keepdim=True) - DYNAMIC_RANGE_DB)
    return (raised - raised.mean(1, keepdim=True)) / 10


def at_unit_level(samples: Tensor) -> Tensor:
    """Return samples ``(batch, n_samples, 1)`` as ``(batch, 1, n_samples)``, with mean 0 and standard deviation 1."""
    waves = samples.transpose(1, 2)
    centred = waves - waves.mean(2, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(2, keepdim=True)).clamp(min=1e-4)


class Res2Convolution(nn.Module):
    """Res2 convolution: each group of channels is convolved after adding the previous group's output.

    Gao et al., Res2Net, 2021. Later groups have a larger receptive field, with few weights.
    """

    def __init__(self, channels: int, parts: int, size: int, dilation: int) -> None:
        super().__init__()
        width = channels // parts
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, size, dilation=dilation, padding=dilation * (size - 1) // 2),
                nn.ReLU(),
                nn.BatchNorm1d(width),
            )
            for _ in range(parts - 1)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the same shape."""
        first, *others = torch.chunk(hidden, len(self.convolutions) + 1, dim=1)
        done = [first]
        for number, (convolve, part) in enumerate(zip(self.convolutions, others, strict=True)):
            done.append(convolve(part if number == 0 else part + done[-1]))
        return torch.cat(done, dim=1)


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation over time, with attention by channel and context of the whole window.

    "Channel- and context-dependent statistics pooling" of ECAPA-TDNN (Desplanques et al., Interspeech 2020, 3.1).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(
            nn.Conv1d(3 * channels, hidden, 1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Tanh(),
            nn.Conv1d(hidden, channels, 1),
            nn.Softmax(dim=2),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(batch, channels, frames)`` to ``(batch, 2 * channels)``."""
        mean, deviation = _statistics(hidden, torch.full_like(hidden, 1 / hidden.shape[2]))
        context = torch.cat([hidden, mean.expand_as(hidden), deviation.expand_as(hidden)], dim=1)
        mean, deviation = _statistics(hidden, self.attend(context))
        return torch.cat([mean, deviation], dim=1).squeeze(2)


def _statistics(hidden: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    mean = (weights * hidden).sum(2, keepdim=True)
    variance = (weights * (hidden - mean) ** 2).sum(2, keepdim=True)
    return mean, torch.sqrt(variance + 1e-4)


class Direction(nn.Module):
    """Cosine between the embedding and a learnt direction of human voices, as logits of human and synthetic.

    The last layer of one-class softmax (Zhang, Jiang, Duan, "One-class learning towards synthetic voice spoofing
    detection", IEEE SPL 2021), which trains human voices to lie in one cone. The paper fixes the cosine of log-odds 0
    at 0.55; here it is learnt from 0, because moving all embeddings there takes hundreds of steps.
    """

    SCALE = 20.0
    MARGIN = 0.35
    """Margin on either side of the middle; the paper's 0.9 and 0.2 have the same distance from 0.55."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, features) / features**0.5)
        self.middle = nn.Parameter(torch.zeros(()))

    def forward(self, embedding: Tensor) -> Tensor:
        """Map ``(batch, features)`` to logits ``(batch, 2)``."""
        cosine = functional.linear(functional.normalize(embedding, dim=1), functional.normalize(self.weight, dim=1))
        human = self.SCALE * (cosine[:, 0] - self.middle)
        return torch.stack([human, torch.zeros_like(human)], dim=1)
