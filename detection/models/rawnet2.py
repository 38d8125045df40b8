"""RawNet2 for anti-spoofing (Tak et al., "End-to-end anti-spoofing with RawNet2", ICASSP 2021), with fewer channels.

As in the paper: fixed sinc band-pass filters on a mel scale on the waveform, their magnitude pooled; residual blocks
with batch norm and LeakyReLU before each convolution and filter-wise feature map scaling (FMS) after; a GRU whose last
state is classified. Differences: 32 filters at every 4th sample instead of 128 at each; 4 blocks of 32 and 64 channels
instead of 6 of 128 and 512; one GRU layer of 128 instead of three of 1,024 (0.18 M parameters instead of 25 M); samples
are normalised to unit level; the first convolution of a block uses its activated input, which the authors' published
code computes and then overwrites.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.card import Contract
from detection.models.layers import at_unit_level
from detection.signal.features import Waveform
from detection.training.settings import Settings
from detection.types import SAMPLE_RATE_HZ

CONTRACT = Contract(window_s=3.0, hop_s=1.0, features=Waveform())
SETTINGS = Settings(epochs=12, anchors=6, ranking=0.5, learning_rate=2e-3)

_TAPS = 129
_STRIDE_SAMPLES = 4


class RawNet2(nn.Module):
    """Samples -> 32 sinc filters -> 4 residual blocks with FMS -> GRU -> fully connected -> logits."""

    filters: Tensor

    def __init__(self, contract: Contract = CONTRACT) -> None:
        super().__init__()
        del contract  # works for any window length
        self.register_buffer("filters", sinc_band_passes(32))
        self.after_filters = nn.BatchNorm1d(32)
        self.blocks = nn.Sequential(  # 3 s: (batch, 32, 4000)
            _ResidualBlock(32, 32),  # (batch, 32, 1333)
            _ResidualBlock(32, 64),  # (batch, 64, 444)
            _ResidualBlock(64, 64),  # (batch, 64, 148)
            _ResidualBlock(64, 64),  # (batch, 64, 49)
        )
        self.before_gru = nn.BatchNorm1d(64)
        self.gru = nn.GRU(64, 128, batch_first=True)
        self.embed = nn.Linear(128, 128)
        self.decide = nn.Linear(128, 2)

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples ``(batch, n_samples, 1)`` to logits ``(batch, 2)``."""
        with torch.autocast("cpu", enabled=False):  # bfloat16 would lose components 50 dB below the peak
            filtered = functional.conv1d(at_unit_level(samples), self.filters, stride=_STRIDE_SAMPLES)
        pooled = functional.max_pool1d(filtered.abs(), 3)
        hidden = self.blocks(functional.leaky_relu(self.after_filters(pooled), 0.3))
        hidden = functional.leaky_relu(self.before_gru(hidden), 0.3)
        states, _ = self.gru(hidden.transpose(1, 2))
        logits: Tensor = self.decide(functional.leaky_relu(self.embed(states[:, -1]), 0.3))
        return logits


class _ResidualBlock(nn.Module):
    """Two convolutions with a skip connection, pooling by 3, and FMS: ``x * s + s``, s by channel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.BatchNorm1d(inputs),
            nn.LeakyReLU(0.3),
            nn.Conv1d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm1d(outputs),
            nn.LeakyReLU(0.3),
            nn.Conv1d(outputs, outputs, 3, padding=1),
        )
        self.around = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)
        self.scale = nn.Sequential(nn.Linear(outputs, outputs), nn.Sigmoid())

    def forward(self, hidden: Tensor) -> Tensor:
        pooled = functional.max_pool1d(self.convolve(hidden) + self.around(hidden), 3)
        scales: Tensor = self.scale(pooled.mean(2)).unsqueeze(2)
        return pooled * scales + scales


def sinc_band_passes(n_filters: int) -> Tensor:
    """Return Hamming-windowed ideal band-pass filters, adjacent on the mel scale, ``(n_filters, 1, 129)`` float32.

    They are fixed, as in the paper, which reports overfitting with learnt ones.
    """
    top_mel = 2595 * math.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (torch.linspace(0, top_mel, n_filters + 1) / 2595) - 1)
    taps = torch.arange(_TAPS) - _TAPS // 2
    low_passes = 2 * edges_hz[:, None] / SAMPLE_RATE_HZ * torch.sinc(2 * edges_hz[:, None] * taps / SAMPLE_RATE_HZ)
    band_passes = low_passes.diff(dim=0) * torch.hamming_window(_TAPS, periodic=False)
    return band_passes.unsqueeze(1)
