"""RawNet3 (Jung et al., "Pushing the limits of raw waveform speaker recognition", Interspeech 2022), with fewer
channels.

As in the paper: pre-emphasis; learnt analytic filters; log magnitude minus its mean over time; three Res2 blocks with
alpha feature map scaling (AFMS); their outputs concatenated; attentive statistics with context. Differences: 64 filters
at every 32nd sample instead of 256 at every 10th; 128 channels instead of 1,024; 4 scales in a Res2 convolution instead
of 8; an embedding of 96 instead of 256 (0.39 M parameters instead of 16 M); one cosine (`Direction`) instead of one for
each speaker.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.card import Contract
from detection.models.layers import AttentiveStatistics, Direction, Res2Convolution, at_unit_level
from detection.signal.features import Waveform
from detection.training.settings import Settings
from detection.types import SAMPLE_RATE_HZ

CONTRACT = Contract(window_s=3.0, hop_s=1.0, features=Waveform())
SETTINGS = Settings(epochs=12, anchors=6, ranking=0.5, learning_rate=2e-3)

_STRIDE_SAMPLES = 32
_LEAST_HZ = 10.0
"""Lowest cut-off frequency and smallest width of a filter."""


class RawNet3(nn.Module):
    """Samples -> 64 analytic filters -> log magnitude -> 3 Res2 blocks -> concatenated -> statistics -> logits."""

    def __init__(self, contract: Contract = CONTRACT, channels: int = 128, joined: int = 256) -> None:
        super().__init__()
        del contract  # works for any window length
        self.filters = AnalyticFilters(64)  # 3 s: (batch, 64, 1492)
        self.blocks = nn.ModuleList(
            [
                _AfmsRes2Block(64, channels, dilation=2, pool=5),  # (batch, 128, 298)
                _AfmsRes2Block(channels, channels, dilation=3, pool=3),  # (batch, 128, 99)
                _AfmsRes2Block(channels, channels, dilation=4, pool=1),  # (batch, 128, 99)
            ]
        )
        self.join = nn.Sequential(nn.Conv1d(3 * channels, joined, 1), nn.ReLU())  # (batch, 256, 99)
        self.pool = AttentiveStatistics(joined, hidden=64)  # (batch, 512)
        self.embed = nn.Sequential(
            nn.BatchNorm1d(2 * joined), nn.Dropout(0.2), nn.Linear(2 * joined, 96), nn.BatchNorm1d(96)
        )
        self.decide = Direction(96)

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples ``(batch, n_samples, 1)`` to logits ``(batch, 2)``."""
        with torch.autocast("cpu", enabled=False):  # bfloat16 would lose components 50 dB below the peak
            magnitudes = torch.log(self.filters(pre_emphasised(at_unit_level(samples))))
        first = self.blocks[0](magnitudes - magnitudes.mean(2, keepdim=True))
        second = self.blocks[1](first)
        first = functional.max_pool1d(first, 3)
        third = self.blocks[2](first + second)
        logits: Tensor = self.decide(self.embed(self.pool(self.join(torch.cat([first, second, third], dim=1)))))
        return logits


class AnalyticFilters(nn.Module):
    """Magnitudes of band-pass filters with learnt edges and their Hilbert transforms (Pariente et al., ICASSP 2020)."""

    taps: Tensor
    window: Tensor

    def __init__(self, n_filters: int, n_taps: int = 251) -> None:
        super().__init__()
        top_mel = 2595 * math.log10(1 + (SAMPLE_RATE_HZ / 2 - 100) / 700)
        edges_hz = 700 * (10 ** (torch.linspace(50, top_mel, n_filters + 1) / 2595) - 1)
        # In kHz, so that the scale suits the optimiser's step.
        self.low_khz = nn.Parameter((edges_hz[:-1] - _LEAST_HZ) / 1000)
        self.width_khz = nn.Parameter((edges_hz.diff() - _LEAST_HZ) / 1000)
        self.register_buffer("taps", (torch.arange(n_taps) - n_taps // 2).float())
        self.register_buffer("window", torch.hamming_window(n_taps, periodic=False))

    def forward(self, waves: Tensor) -> Tensor:
        """Map ``(batch, 1, n_samples)`` to magnitudes ``(batch, n_filters, n_frames)``."""
        even, odd = self.kernels()
        outputs = functional.conv1d(waves, torch.cat([even, odd]).unsqueeze(1), stride=_STRIDE_SAMPLES)
        real, imaginary = outputs.chunk(2, dim=1)
        return torch.sqrt(real**2 + imaginary**2 + 1e-7)  # without the constant, the gradient at 0 is infinite

    def kernels(self) -> tuple[Tensor, Tensor]:
        """Return the filters and their Hilbert transforms, each ``(n_filters, n_taps)``, with a peak gain of 1."""
        low_hz = (1000 * self.low_khz.abs() + _LEAST_HZ)[:, None]
        width_hz = (1000 * self.width_khz.abs() + _LEAST_HZ)[:, None]
        middle_hz = torch.clamp(low_hz + width_hz / 2, max=SAMPLE_RATE_HZ / 2)
        seconds = self.taps / SAMPLE_RATE_HZ
        envelope = torch.sinc(width_hz * seconds) * self.window * (2 * width_hz / SAMPLE_RATE_HZ)
        turn = 2 * math.pi * middle_hz * seconds
        return envelope * torch.cos(turn), envelope * torch.sin(turn)


def pre_emphasised(waves: Tensor) -> Tensor:
    """Subtract 0.97 times the previous sample; ``(batch, 1, n_samples)`` to ``(batch, 1, n_samples - 1)``."""
    return waves[:, :, 1:] - 0.97 * waves[:, :, :-1]


class _AfmsRes2Block(nn.Module):
    """Pointwise, Res2 and pointwise convolution, added to the input, pooling, then AFMS: ``(x + alpha) * s``."""

    def __init__(self, inputs: int, outputs: int, dilation: int, pool: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv1d(inputs, outputs, 1),
            nn.ReLU(),
            nn.BatchNorm1d(outputs),
            Res2Convolution(outputs, parts=4, size=3, dilation=dilation),
            nn.Conv1d(outputs, outputs, 1),
            nn.ReLU(),
            nn.BatchNorm1d(outputs),
        )
        self.around = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1, bias=False)
        self.pool = nn.Identity() if pool == 1 else nn.MaxPool1d(pool)
        self.alpha = nn.Parameter(torch.ones(outputs, 1))
        self.scale = nn.Sequential(nn.Linear(outputs, outputs), nn.Sigmoid())

    def forward(self, hidden: Tensor) -> Tensor:
        pooled = self.pool(self.convolve(hidden) + self.around(hidden))
        scales: Tensor = self.scale(pooled.mean(2))
        gated: Tensor = (pooled + self.alpha) * scales.unsqueeze(2)
        return gated
